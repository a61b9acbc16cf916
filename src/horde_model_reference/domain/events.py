"""The history of the reference: one event per applied change, numbered without gaps and chained by hash.

An event is the revision it makes. Its hash covers the hash before it, so an edited, missing or reordered event shows:
`replay` walks the chain, checks it, and gives back the records that it leads to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from pydantic_core import to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["GENESIS", "Chained", "Entry", "Event", "Kind", "Operation", "Replay", "chain_faults", "chained"]

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
        return chained(self, before)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the store holds it: the document, where it came from, and the revision it was last changed at."""

    position: int
    revision: int
    document: str
    origin: str | None = None


class Chained(Protocol):
    """A line of a log that is chained by hash: `hash` covers the line and the hash of the one before."""

    @property
    def revision(self) -> int:
        """Its place in the chain, from 1."""

    @property
    def hash(self) -> str:
        """What it carries."""

    def chained_to(self, before: str) -> str:
        """What it must carry where `before` is the hash of the one before it."""


def chained(line: DataclassInstance, before: str) -> str:
    """The hash over all fields of a line but its own hash, and the hash before it."""
    values = [getattr(line, field.name) for field in fields(line) if field.name != "hash"]
    return hashlib.sha256(before.encode() + to_json(values)).hexdigest()


def chain_faults(events: Iterable[Chained]) -> Iterator[tuple[int, str]]:
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
