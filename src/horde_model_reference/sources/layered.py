"""Policies of reading, each a source that holds other sources: who is asked, what is believed, whom to leave alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import validate_record
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.sources.base import Answer, Ask, Found, Source
from horde_model_reference.sources.local import StarterSource

__all__ = ["Breaker", "Checked", "Else", "FirstThatAnswers", "instead_of"]

_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_OBEYED = 1.0, 120.0, 3600.0
_EMPTY = b"{}"


def instead_of(answer: Answer, refusals: list[SourceUnavailable]) -> Answer:
    """The answer with what those said who should have given it; who merely has none of it says nothing."""
    if isinstance(answer, SourceUnavailable):
        return SourceUnavailable.after([*refusals, answer])
    faults = [refusal for refusal in refusals if not refusal.absent]
    if not faults:
        return answer
    instead = "; ".join(filter(None, (*map(str, faults), answer.instead)))
    return replace(answer, instead=instead, retry_after=SourceUnavailable.after(faults).retry_after)


@dataclass(frozen=True)
class FirstThatAnswers:
    """The first source able to answer decides; the order is the order of trust. What the reader has from one of them is
    never given up for what those further down have. An empty category from a source that counts no revisions is
    believed only where nobody else has anything."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        return ", then ".join(source.name for source in self.sources)

    def read(self, ask: Ask) -> Flow[Found]:
        found: Found = {}
        empty: Found = {}
        refusals: dict[Category, list[SourceUnavailable]] = {category: [] for category in ask.wanted}
        for source in self.sources:
            rest = ask.without(found)
            for category, answer in (yield from source.read(rest)).items() if rest.wanted else ():
                if isinstance(answer, SourceUnavailable):
                    refusals[category].append(answer)
                    known = ask.wanted[category]
                    if known is not None and known.source == source.name:
                        found[category] = SourceUnavailable.after(refusals[category])
                elif answer.body == _EMPTY and answer.revision is None:
                    empty.setdefault(category, answer)
                else:
                    found[category] = instead_of(answer, refusals[category])
        nothing = {c: SourceUnavailable.after(refused) for c, refused in refusals.items() if c not in empty | found}
        return nothing | empty | found


@dataclass(frozen=True)
class Else:
    """What `source` cannot give `other` gives, to a reader that has nothing or has what it has from `other`."""

    source: Source
    other: Source

    @property
    def name(self) -> str:
        return f"{self.source.name}, else {self.other.name}"

    def read(self, ask: Ask) -> Flow[Found]:
        found = yield from self.source.read(ask)
        refusals = {c: answer for c, answer in found.items() if isinstance(answer, SourceUnavailable)}
        known = {c: ask.wanted[c] for c in refusals}
        missing = {c: have for c, have in known.items() if have is None or have.source == self.other.name}
        if missing:
            for category, answer in (yield from self.other.read(ask.only(missing))).items():
                found[category] = instead_of(answer, [refusals[category]])
        return found


@dataclass(frozen=True)
class Checked:
    """What `source` answers, as far as it can be believed. At least one record must be readable (an error page in JSON
    is no category); a revision never goes back; and no more than `most_lost` of the records known (a share, 0 to 1) may
    be gone at once, unless a newer revision says so."""

    source: Source
    most_lost: float = 0.5

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, ask: Ask) -> Flow[Found]:
        found = yield from self.source.read(ask)
        new = {
            category: (answer, known)
            for category, known in ask.wanted.items()
            if isinstance(answer := found[category], Snapshot) and (known is None or answer.body is not known.body)
        }
        if not new:
            return found
        faults: dict[Category, str] = yield Call(lambda: {c: self._fault(*pair) for c, pair in new.items()})
        return found | {c: SourceUnavailable(self.name, fault) for c, fault in faults.items() if fault}

    def _fault(self, answer: Snapshot, known: Snapshot | None) -> str:
        if known is not None and answer.delta is not None and answer.delta.base is known.body:
            return ""  # what follows from the known is not a document that could be something else
        documents = decode_object(answer.body, where=answer.category)
        readable = (validate_record(answer.category, name, document)[0] for name, document in documents.items())
        if documents and not any(readable):
            return f"answered no record of {answer.category} that can be read"
        if known is None or known.source == StarterSource.name:
            return ""
        now, before = answer.revision, known.revision or 0
        if answer.source == known.source and now is not None and now < before:
            return f"is at revision {now}, behind {before} that it gave before"
        if now is not None and now > before:  # somebody counted what happened in between
            return ""
        names = decode_object(known.body, where=known.category).keys()
        lost = len(names - documents.keys())
        if lost > self.most_lost * len(names):
            return f"lost {lost} of the {len(names)} records of {answer.category} at once, which is not believed"
        return ""


@dataclass
class Breaker:
    """`source`, left alone for a while after a failure: longer each time, never in step with others, and as long as it
    asked for. Meanwhile the question is answered at once, with the reason."""

    source: Source
    clock: Callable[[], float] = time.monotonic
    answers: int = field(default=0, init=False)  # how many snapshots it has given
    _failures: int = field(default=0, init=False)
    _until: float = field(default=0.0, init=False)
    _reason: str = field(default="", init=False)

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, ask: Ask) -> Flow[Found]:
        left = self._until - self.clock()
        if left > 0:
            return ask.refused(SourceUnavailable(self.name, self._reason, retry_after=left))
        found = yield from self.source.read(ask)
        given = sum(isinstance(answer, Snapshot) for answer in found.values())
        faults = [a for a in found.values() if isinstance(a, SourceUnavailable) and not a.absent]
        self.answers += given
        if given or not faults:
            self._failures = 0 if given else self._failures
            return found
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 10)) * random.uniform(0.8, 1.2)
        pause = max(pause, min(max(fault.retry_after or 0.0 for fault in faults), _LONGEST_OBEYED))
        self._failures += 1
        self._until, self._reason = self.clock() + pause, faults[0].reason
        for fault in faults:
            fault.retry_after = pause
        return found
