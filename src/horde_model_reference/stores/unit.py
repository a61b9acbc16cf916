"""A unit of work over one open transaction: it decides events in memory and writes all rows at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter

from sqlalchemy import Connection, bindparam, select

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import GENESIS, Entry, Event, Kind, Operation
from horde_model_reference.errors import MalformedInput, WriteConflict
from horde_model_reference.stores.schema import EVENTS, RECORDS

__all__ = ["UnitOfWork"]

_Key = tuple[Kind, str, str]
_Row = dict[str, object]


class UnitOfWork:
    """Changes that commit together or not at all. Nobody sees them before the commit, and then all at once.

    The store makes it, and holds the write lock while this exists. `revision` is the newest one with its own changes.
    """

    def __init__(self, connection: Connection, url: str, *, actor: str, at: int) -> None:
        self._connection = connection
        self._url = url
        self._actor = actor
        last: tuple[int, str, int] = connection.execute(_LAST_EVENT).one_or_none() or (0, GENESIS, at)
        self.revision, self._hash, last_at = last
        self._at = max(at, last_at)  # a clock set back must not put events out of order in time
        self._seen: dict[_Key, Entry | None] = {}
        self._whole: set[tuple[Kind, str]] = set()
        self.events: list[Event] = []

    def entry(self, category: Category, name: str, *, kind: Kind = Kind.RECORD) -> Entry | None:
        """The record as this unit of work sees it."""
        key = (kind, str(category), name)
        if key not in self._seen:
            known_absent = key[:2] in self._whole
            row = None if known_absent else self._connection.execute(_SELECT_ONE, _parameters(key)).one_or_none()
            self._seen[key] = Entry(*row) if row else None
        return self._seen[key]

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD) -> dict[str, Entry]:
        """All of a category, in order; read at once, so that many `put`s cost no query each."""
        mine = (kind, str(category))
        if mine not in self._whole:
            for name, *facts in self._connection.execute(_SELECT_CATEGORY, _parameters(mine)):
                self._seen.setdefault((*mine, name), Entry(*facts))
            self._whole.add(mine)
        found = [(key[2], entry) for key, entry in self._seen.items() if entry is not None and key[:2] == mine]
        return dict(sorted(found, key=lambda item: item[1].position))

    def put(
        self,
        category: Category,
        name: str,
        document: str,
        *,
        origin: str | None = None,
        expected: int | None = None,
        note: str = "",
        kind: Kind = Kind.RECORD,
    ) -> Event | None:
        """Create or update a record: `document` is compact JSON in valid UTF-8. None where nothing would change.

        `expected` is the revision at which the record was read (0 for "there was none"); raises `WriteConflict` where
        it has moved since, and `MalformedInput` for a name or note that cannot be stored.
        """
        key = (kind, str(category), name)
        held = self._held(key, expected, note)
        if held is not None and origin == held.origin:
            origin = None  # it is told only where it changes
        if held is not None and origin is None and document == held.document:
            return None
        return self._append(key, held, document, origin, note)

    def delete(
        self, category: Category, name: str, *, expected: int | None = None, note: str = "", kind: Kind = Kind.RECORD
    ) -> Event | None:
        """Delete a record; None where there is none."""
        key = (kind, str(category), name)
        held = self._held(key, expected, note)
        return None if held is None else self._append(key, held, None, None, note)

    def flush(self) -> None:
        """Write what was decided; the store commits."""
        changed = dict.fromkeys(map(_key, self.events))
        gone = [_parameters(key) for key in dict.fromkeys(_key(e) for e in self.events if e.previous is not None)]
        left = [(*key, *_facts(entry)) for key in changed if (entry := self._seen[key]) is not None]
        rows: list[_Row] = [dict(zip(_RECORD, row, strict=True)) for row in left]
        logged = [dict(zip(_EVENT, _values(event), strict=True)) for event in self.events]
        for statement, parameters in ((_DELETE, gone), (_INSERT, rows), (_LOG, logged)):
            if parameters:
                self._connection.execute(statement, parameters)

    def _held(self, key: _Key, expected: int | None, note: str) -> Entry | None:
        """The record as it is, once it is clear that it may be changed: that is what the change was made against."""
        kind, category, name = key
        if _UNSTORABLE.search(f"{category}{name}{note}{self._actor}"):
            raise MalformedInput("holds a NUL or half a character, which cannot be stored", where=category, record=name)
        held = self.entry(category, name, kind=kind)
        actual = held.revision if held else 0
        if expected is not None and expected != actual:
            raise WriteConflict(self._url, category, name, expected, actual)
        return held

    def _append(self, key: _Key, held: Entry | None, document: str | None, origin: str | None, note: str) -> Event:
        kind, category, name = key
        self.revision += 1
        event = Event(
            revision=self.revision,
            at=self._at,
            actor=self._actor,
            kind=kind,
            category=category,
            name=name,
            operation=Operation.DELETE if document is None else Operation.UPDATE if held else Operation.CREATE,
            position=held.position if held else self.revision,
            previous=held.revision if held else None,
            document=document,
            origin=origin,
            note=note,
        )
        event = replace(event, hash=event.chained_to(self._hash))
        self._hash = event.hash
        self.events.append(event)
        kept = held.origin if held and origin is None else origin
        self._seen[key] = None if document is None else Entry(event.position, event.revision, document, kept)
        return event


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_EVENT = tuple(field.name for field in fields(Event))
_FACTS = tuple(field.name for field in fields(Entry))
_RECORD = ("kind", "category", "name", *_FACTS)
_key, _values, _facts = attrgetter("kind", "category", "name"), attrgetter(*_EVENT), attrgetter(*_FACTS)

_ENTRY = [RECORDS.c[name] for name in _FACTS]
_IN_CATEGORY = (RECORDS.c.kind == bindparam("k"), RECORDS.c.category == bindparam("c"))
_THIS_ROW = (*_IN_CATEGORY, RECORDS.c.name == bindparam("n"))
_LAST_EVENT = select(EVENTS.c.revision, EVENTS.c.hash, EVENTS.c.at).order_by(EVENTS.c.revision.desc()).limit(1)
_SELECT_ONE = select(*_ENTRY).where(*_THIS_ROW)
_SELECT_CATEGORY = select(RECORDS.c.name, *_ENTRY).where(*_IN_CATEGORY)
_DELETE, _INSERT, _LOG = RECORDS.delete().where(*_THIS_ROW), RECORDS.insert(), EVENTS.insert()


def _parameters(key: Sequence[str]) -> _Row:
    return dict(zip("kcn", key, strict=False))
