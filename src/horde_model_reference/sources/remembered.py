"""What came over the network, remembered on the disk and shared by all processes of a host.

Whoever wants something of the network takes its turn: a file lock in the folder. By the time it has it, the process
before it may have brought what is wanted, and then the network is not asked at all: eight workers that start together
cause one fetch. Of those that would hold a question until something changes one does, and the others watch the folder.
Locks save work and nothing else; where there can be none, or one is not given back, everybody asks for itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from horde_model_reference._log import logger
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow, Pause
from horde_model_reference.forks import ForkLock
from horde_model_reference.sources.base import CLOCK_SLACK, Answer, Ask, Found, Source, Wanted
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.layered import instead_of

__all__ = ["Remembered"]

_log = logger("sources")
_FETCH, _FOLLOW = ".fetch.lock", ".follow.lock"
_LOOK_SECONDS, _WATCH_SECONDS, _HEIR_SECONDS = 0.02, 0.1, 2.0
_Release = Callable[[], None]


@dataclass
class Remembered:
    """What `source` answers, kept in `folder`; a copy there that is new enough saves asking. `patience` is for how many
    seconds to wait for the turn before asking without it."""

    source: Source
    folder: FolderSource
    patience: float = 5.0
    fault: str = field(default="", init=False)
    """Why the folder could not be written the last time."""
    _lock: ForkLock = field(default_factory=ForkLock, init=False)
    _unsaved: Found = field(default_factory=dict, init=False)

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, ask: Ask) -> Flow[Found]:
        if ask.wait:
            return (yield from self._follow(ask))
        before = self.folder.stamp()
        copies = yield from self.folder.read(ask)
        found = _new_enough(ask, copies)
        rest = ask.without(found)
        if rest.wanted:
            found |= yield from self._fetch(rest, copies, before)
        return found

    def _fetch(self, ask: Ask, copies: Found, before: int) -> Flow[Found]:
        yield from self._save()
        release = (yield from self._turn(_FETCH, self.patience)) or _nothing
        try:
            if self.folder.stamp() != before:  # who had the turn before may have brought it
                copies = yield from self.folder.read(ask)
            found = _new_enough(ask, copies)
            rest = ask.without(found)
            if rest.wanted:
                answers = yield from self.source.read(ask.only(_best_known(rest.wanted, copies)))
                yield Call(partial(self._keep, answers))
                found |= {c: a if rest.wanted[c] else _or_copy(a, copies[c]) for c, a in answers.items()}
        finally:
            release()
        return found

    def _follow(self, ask: Ask) -> Flow[Found]:
        yield from self._save()
        release = yield from self._turn(_FOLLOW, 0.0)
        if release is None:
            heard = yield from self._watch(ask)
            if isinstance(heard, dict):
                return heard
            release = heard
        try:
            answers = yield from self.source.read(ask)
        finally:
            release()
        self._unsaved |= answers
        return answers

    def _save(self) -> Flow[None]:
        """Write what was heard; done with the next question, so that readers need not wait for the disk."""
        answers, self._unsaved = self._unsaved, {}
        if answers:
            release = (yield from self._turn(_FETCH, self.patience)) or _nothing
            try:
                yield Call(partial(self._keep, answers))
            finally:
                release()

    def _watch(self, ask: Ask) -> Flow[Found | _Release]:
        """Another process holds the question; it writes here what it hears. Where it is gone, its turn is ours."""
        began, seen = time.monotonic(), -1
        ends, next_try = began + ask.wait, began + _HEIR_SECONDS
        found = ask.refused(SourceUnavailable(self.name, "who follows it has heard nothing", absent=True))
        while True:
            if (now := self.folder.stamp()) != seen:
                seen, copies = now, (yield from self.folder.read(ask))
                heard = ((c, each) for c, each in copies.items() if isinstance(each, Snapshot))
                found |= {category: copy for category, copy in heard if _is_later(copy, ask.wanted[category])}
            if _has_news(ask, found) or time.monotonic() >= ends:
                return found
            yield Pause(_WATCH_SECONDS)
            if time.monotonic() >= next_try:  # not at once: between two questions the turn is free for a moment
                next_try += _HEIR_SECONDS
                if (release := (yield from self._turn(_FOLLOW, 0.0))) is not None:
                    return release

    def _turn(self, name: str, patience: float) -> Flow[_Release | None]:
        """How to give the turn back, or None where somebody else has it."""
        ends = time.monotonic() + patience
        take = partial(_take, self.folder.root / name)
        while True:
            release: _Release | None = yield Call(take)
            if release is not None or time.monotonic() >= ends:
                return release
            yield Pause(_LOOK_SECONDS)

    def _keep(self, answers: Found) -> None:
        try:
            if self.folder.keep(answers):
                self.fault = ""
        except OSError as error:  # a full disk must not cost the reader what the network gave
            with self._lock:
                before, self.fault = self.fault, str(error)
            if not before:
                lost = "the next start without a network will not have what came now: make room, or let this user write"
                _log.warning("%s cannot be written: %s; %s", self.folder.root, error, lost)


def _take(path: Path) -> _Release | None:
    from filelock import FileLock, Timeout  # not needed by a start that reads what is there

    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError):  # the second: a file system that knows no locks
        return _nothing  # where nothing can be locked nothing is shared either
    return partial(lock.release, force=True)


def _nothing() -> None:
    """The turn of who needs none."""


def _new_enough(ask: Ask, copies: Found) -> Found:
    """The copies that answer the question; one from the future tells of a clock, not of the data."""
    latest = time.time() + CLOCK_SLACK if ask.since > -math.inf else math.inf
    found: Found = {}
    for category, known in ask.wanted.items():
        copy = copies[category]
        if isinstance(copy, Snapshot) and ask.since <= copy.checked <= latest and not _is_behind(copy, known):
            found[category] = copy
    return found


def _is_behind(copy: Snapshot, known: Snapshot | None) -> bool:
    if known is None:
        return False
    return copy.source != known.source or (copy.revision or 0) < (known.revision or 0)


def _is_later(copy: Snapshot, known: Snapshot | None) -> bool:
    """Whether somebody heard something since: a change, or that there is none."""
    other = known is None or copy.body is not known.body or copy.checked > known.checked
    return other and not _is_behind(copy, known)


def _best_known(wanted: Wanted, copies: Found) -> Wanted:
    """What to ask with: what the reader has, else the copy, so that an unchanged category costs no body."""
    have = {category: copy for category, copy in copies.items() if isinstance(copy, Snapshot)}
    return {category: known or have.get(category) for category, known in wanted.items()}


def _or_copy(answer: Answer, copy: Answer) -> Answer:
    return answer if isinstance(answer, Snapshot) else instead_of(copy, [answer])


def _has_news(ask: Ask, found: Found) -> bool:
    return any(
        isinstance(s, Snapshot) and (k := ask.wanted[c]) is not None and s.body is not k.body for c, s in found.items()
    )
