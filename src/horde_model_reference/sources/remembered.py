"""What came over the network, remembered on the disk and shared by all processes of a host.

Who wants something of the network takes its turn, a file lock in the folder: the process before it may have brought it
meanwhile, so that eight workers that start together cause one fetch. Of those that would hold a question until
something changes one does, and the others watch the folder. Where there can be no lock everybody asks for itself.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from horde_model_reference._log import logger
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow, Pause
from horde_model_reference.process import ForkLock
from horde_model_reference.sources.base import CLOCK_SLACK, Ask, Found, Source
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.layered import instead_of

__all__ = ["Remembered"]

_log = logger("sources")
_FETCH, _FOLLOW = ".fetch.lock", ".follow.lock"
_LOOK_SECONDS, _WATCH_SECONDS, _HEIR_SECONDS = 0.02, 0.1, 2.0


@dataclass
class Remembered:
    """What `source` answers, kept in `folder`; a copy there that is new enough saves asking. `patience` is for how many
    seconds to wait for the turn before asking without it."""

    source: Source
    folder: FolderSource
    patience: float = 5.0
    fault: str = field(default="", init=False)  # why the folder could not be written the last time
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
        ask = ask.without(found)
        if not ask.wanted:
            return found
        yield from self._save()
        with (yield from self._turn(_FETCH, self.patience)) or nullcontext():
            if self.folder.stamp() != before:  # who had the turn before may have brought it
                copies = yield from self.folder.read(ask)
            found |= _new_enough(ask, copies)
            rest = ask.without(found)
            # Ask with what the reader has, else with the copy, so that an unchanged category costs no body.
            held = {category: copy for category, copy in copies.items() if isinstance(copy, Snapshot)}
            best = {category: known or held.get(category) for category, known in rest.wanted.items()}
            answers = (yield from self.source.read(ask.only(best))) if best else {}
            yield Call(partial(self._keep, answers))
            found |= answers
            for category, answer in answers.items():
                if rest.wanted[category] is None and isinstance(answer, SourceUnavailable):
                    found[category] = instead_of(copies[category], [answer])
        return found

    def _follow(self, ask: Ask) -> Flow[Found]:
        yield from self._save()
        turn = (yield from self._turn(_FOLLOW, 0.0)) or (yield from self._watch(ask))
        if isinstance(turn, dict):
            return turn
        with turn:
            answers = yield from self.source.read(ask)
        self._unsaved |= answers
        return answers

    def _save(self) -> Flow[None]:
        """Write what was heard; done with the next question, so that readers need not wait for the disk."""
        answers, self._unsaved = self._unsaved, {}
        if answers:
            with (yield from self._turn(_FETCH, self.patience)) or nullcontext():
                yield Call(partial(self._keep, answers))

    def _watch(self, ask: Ask) -> Flow[Found | ExitStack]:
        """Another process holds the question; it writes here what it hears. Where it is gone, its turn is ours."""
        began, seen, news = time.monotonic(), -1, False
        ends, next_try = began + ask.wait, began + _HEIR_SECONDS
        found = ask.refused(SourceUnavailable(self.name, "who follows it has heard nothing", absent=True))
        while True:
            if (now := self.folder.stamp()) != seen:
                seen, copies = now, (yield from self.folder.read(ask))
                for category, copy in copies.items():
                    known, was = ask.wanted[category], found[category]
                    if isinstance(copy, Snapshot) and not _is_behind(copy, known):
                        news |= known is not None and copy.body is not known.body
                        changed = known is None or copy.body is not known.body or copy.checked > known.checked
                        found[category] = copy if changed else was
            if news or time.monotonic() >= ends:
                return found
            yield Pause(_WATCH_SECONDS)
            if time.monotonic() >= next_try:  # not at once: between two questions the turn is free for a moment
                next_try += _HEIR_SECONDS
                if (turn := (yield from self._turn(_FOLLOW, 0.0))) is not None:
                    return turn

    def _turn(self, name: str, patience: float) -> Flow[ExitStack | None]:
        """The turn, given back at the end of a `with`; None where somebody else has it."""
        ends = time.monotonic() + patience
        take = partial(_take, self.folder.root / name)
        while True:
            turn: ExitStack | None = yield Call(take)
            if turn is not None or time.monotonic() >= ends:
                return turn
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


def _take(path: Path) -> ExitStack | None:
    from filelock import FileLock, Timeout  # not needed by a start that reads what is there

    turn, lock = ExitStack(), FileLock(path, timeout=0, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError):  # the second: a file system that knows no locks
        return turn  # where nothing can be locked nothing is shared either
    turn.callback(lock.release, force=True)
    return turn


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
    return known is not None and (copy.source != known.source or (copy.revision or 0) < (known.revision or 0))
