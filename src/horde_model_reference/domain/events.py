"""The history of the reference: one event per applied change, numbered without gaps and chained by hash.

An event is the revision it makes. Its hash covers the hash before it, so an edited, missing or reordered event shows:
`replay` walks the chain, checks it, and gives back the records that it leads to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic_core import to_json

__all__ = ["GENESIS", "Entry", "Event", "Kind", "Operation", "Replay", "chain_faults"]

GENESIS = "0" * 64
"""The hash that the first event is chained to."""


Operation = StrEnum("Operation", "CREATE UPDATE DELETE")
"""What happened to a record."""
Kind = StrEnum("Kind", "RECORD DOCUMENT")
"""What an event is about: a model's record, or a document beside them (aliases, licences, ...)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change that was applied.

    `at` is Unix time in milliseconds. `position` orders the records of a category: the revision that created them.
    `previous` is the revision of the same record's event before this one, None where it is created. `document` is the
    record afterwards as compact JSON, None where it is deleted. `origin` is the entry it was imported from, given only
    where the import changed it; a record keeps its origin until it is deleted.
    """

    revision: int
    at: int
    actor: str
    kind: Kind
    category: str
    name: str
    operation: Operation
    position: int
    previous: int | None
    document: str | None
    origin: str | None
    note: str
    hash: str = ""

    def chained_to(self, before: str) -> str:
        """The hash this event must have when `before` is the hash of the one before it."""
        values = [getattr(self, name) for name in self.__slots__ if name != "hash"]
        return hashlib.sha256(before.encode() + to_json(values)).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the store holds it: the document, where it came from, and the revision it was last changed at."""

    position: int
    revision: int
    document: str
    origin: str | None = None


def chain_faults(events: Iterable[Event]) -> Iterator[tuple[int, str]]:
    """(revision, what is wrong) for every event that is out of sequence or does not carry the hash it must."""
    expected, before = 1, GENESIS
    for event in events:
        if event.revision != expected:
            yield event.revision, f"expected revision {expected}: the log has a gap or is out of order"
        elif event.hash != event.chained_to(before):
            yield event.revision, "the event is not what was written: its hash does not match"
        expected, before = event.revision + 1, event.hash


class Replay:
    """The records that a sequence of events leads to, by (kind, category, name)."""

    def __init__(self) -> None:
        self.entries: dict[tuple[Kind, str, str], Entry] = {}

    def apply(self, event: Event) -> None:
        """Take one event into account; they must come in order."""
        key = (event.kind, event.category, event.name)
        held = self.entries.pop(key, None)
        if event.document is not None:
            origin = held.origin if held and event.origin is None else event.origin
            self.entries[key] = Entry(event.position, event.revision, event.document, origin)
