"""A unit of work over one open transaction: it decides events in memory and writes all rows at the end."""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import Connection, bindparam, select

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import GENESIS, Entry, Event, Kind, Operation
from horde_model_reference.errors import WriteConflict
from horde_model_reference.stores.schema import EVENTS, RECORDS

__all__ = ["SqlUnitOfWork"]

_Key = tuple[Kind, str, str]


class SqlUnitOfWork:
    """See `stores.base.UnitOfWork`. Made by the store, which holds the write lock while this exists."""

    def __init__(self, connection: Connection, url: str, *, actor: str, at: int) -> None:
        self._connection = connection
        self._url = url
        self._actor = actor
        last = connection.execute(
            select(EVENTS.c.revision, EVENTS.c.hash, EVENTS.c.at).order_by(EVENTS.c.revision.desc()).limit(1)
        ).one_or_none()
        self._revision: int = last.revision if last else 0
        self._hash: str = last.hash if last else GENESIS
        self._at = max(at, last.at) if last else at  # a clock set back must not put events out of order in time
        self._seen: dict[_Key, Entry | None] = {}
        self._whole: set[tuple[Kind, str]] = set()
        self._found: dict[_Key, bool] = {}
        self.events: list[Event] = []

    def entry(self, category: Category, name: str, *, kind: Kind = Kind.RECORD) -> Entry | None:
        key = (kind, str(category), name)
        if key not in self._seen:
            known_absent = (kind, str(category)) in self._whole
            self._seen[key] = None if known_absent else self._read(key)
            self._found[key] = self._seen[key] is not None
        return self._seen[key]

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD) -> dict[str, Entry]:
        category = str(category)
        if (kind, category) not in self._whole:
            for name, *facts in self._connection.execute(_SELECT_CATEGORY, {"k": kind, "c": category}).tuples():
                self._seen.setdefault((kind, category, name), Entry(*facts))
                self._found.setdefault((kind, category, name), True)
            self._whole.add((kind, category))
        mine = [(k[2], e) for k, e in self._seen.items() if e is not None and k[:2] == (kind, category)]
        return dict(sorted(mine, key=lambda item: item[1].position))

    def put(  # noqa: PLR0913  (one record has this many facts)
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
        held = self._guarded(kind, category, name, expected)
        if held is not None and held.document == document and origin in (None, held.origin):
            return None
        position = held.position if held else self._revision + 1
        new_origin = origin if held is None or origin != held.origin else None
        operation = Operation.UPDATE if held else Operation.CREATE
        event = self._append(kind, category, name, operation, position, held, document, new_origin, note)
        kept = origin if origin is not None or held is None else held.origin
        self._seen[(kind, str(category), name)] = Entry(position, event.revision, document, kept)
        return event

    def delete(
        self, category: Category, name: str, *, expected: int | None = None, note: str = "", kind: Kind = Kind.RECORD
    ) -> Event | None:
        held = self._guarded(kind, category, name, expected)
        if held is None:
            return None
        event = self._append(kind, category, name, Operation.DELETE, held.position, held, None, None, note)
        self._seen[(kind, str(category), name)] = None
        return event

    def flush(self) -> None:
        """Write what was decided; the store commits."""
        changed = {(e.kind, e.category, e.name) for e in self.events}
        rows = [(key, self._seen[key], self._found[key]) for key in changed]
        created = [_row(key, entry) for key, entry, found in rows if entry is not None and not found]
        updated = [_row(key, entry) | _parameters(key) for key, entry, found in rows if entry is not None and found]
        deleted = [_parameters(key) for key, entry, found in rows if entry is None and found]
        work = ((_DELETE, deleted), (_UPDATE, updated), (RECORDS.insert(), created))
        for statement, parameters in (*work, (EVENTS.insert(), [asdict(event) for event in self.events])):
            if parameters:
                self._connection.execute(statement, parameters)

    def _guarded(self, kind: Kind, category: Category, name: str, expected: int | None) -> Entry | None:
        held = self.entry(category, name, kind=kind)
        actual = held.revision if held else 0
        if expected is not None and expected != actual:
            raise WriteConflict(self._url, str(category), name, expected, actual)
        return held

    def _append(  # noqa: PLR0913  (the facts of an event)
        self,
        kind: Kind,
        category: Category,
        name: str,
        operation: Operation,
        position: int,
        held: Entry | None,
        document: str | None,
        origin: str | None,
        note: str,
    ) -> Event:
        event = Event(
            revision=self._revision + 1,
            at=self._at,
            actor=self._actor,
            kind=kind,
            category=str(category),
            name=name,
            operation=operation,
            position=position,
            previous=held.revision if held else None,
            document=document,
            origin=origin,
            note=note,
        )
        event = replace(event, hash=event.chained_to(self._hash))
        self._revision, self._hash = event.revision, event.hash
        self.events.append(event)
        return event

    def _read(self, key: _Key) -> Entry | None:
        row = self._connection.execute(_SELECT_ONE, _parameters(key)).one_or_none()
        return Entry(*row) if row else None


_FACTS = (RECORDS.c.position, RECORDS.c.revision, RECORDS.c.document, RECORDS.c.origin)
_IN_CATEGORY = (RECORDS.c.kind == bindparam("k"), RECORDS.c.category == bindparam("c"))
_THIS_ROW = (*_IN_CATEGORY, RECORDS.c.name == bindparam("n"))
_SELECT_ONE = select(*_FACTS).where(*_THIS_ROW)
_SELECT_CATEGORY = select(RECORDS.c.name, *_FACTS).where(*_IN_CATEGORY)
_DELETE = RECORDS.delete().where(*_THIS_ROW)
_UPDATE = RECORDS.update().where(*_THIS_ROW)


def _parameters(key: _Key) -> dict[str, object]:
    return dict(zip(("k", "c", "n"), key, strict=True))


def _row(key: _Key, entry: Entry) -> dict[str, object]:
    return {**dict(zip(("kind", "category", "name"), key, strict=True)), **asdict(entry)}
