"""The store: snapshots at any revision, a log of events, and units of work; SQLAlchemy Core, one code path for all.

A unit of work takes the write lock first and reads the newest event under it, so revisions have no gaps and become
visible in order. It decides events in memory; all rows are written at the commit. Readers never wait for writers.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, bindparam, func, select

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import GENESIS, Entry, Event, Kind, Operation, Replay, chain_faults
from horde_model_reference.domain.snapshots import CategoryMetadata, Snapshot, join_documents
from horde_model_reference.errors import (
    MalformedInput,
    RevisionUnknown,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
    WriteConflict,
)
from horde_model_reference.stores.dialects import Lookout, close_inherited, dialect_for
from horde_model_reference.stores.queue import QueueRows
from horde_model_reference.stores.schema import EVENTS, RECORDS, SCHEMA_VERSION, migrate, stored_version

__all__ = ["SqlStore", "UnitOfWork"]

_PORTION = 1_000
_NEWEST_POSSIBLE = 2**63 - 1
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_Key = tuple[Kind, str, str]
_Row = dict[str, object]

_EVENT, _FACTS = (tuple(field.name for field in fields(kind)) for kind in (Event, Entry))
_RECORD = ("kind", "category", "name", *_FACTS)
_key, _values, _facts = attrgetter("kind", "category", "name"), attrgetter(*_EVENT), attrgetter(*_FACTS)

_ENTRY = [RECORDS.c[name] for name in ("name", *_FACTS)]
_IN_CATEGORY = (RECORDS.c.kind == bindparam("k"), RECORDS.c.category == bindparam("c"))
_THIS_ROW = (*_IN_CATEGORY, RECORDS.c.name == bindparam("n"))
_HEAD = select(func.max(EVENTS.c.revision))
_LAST_EVENT = select(EVENTS.c.revision, EVENTS.c.hash, EVENTS.c.at).order_by(EVENTS.c.revision.desc()).limit(1)
_SELECT_ONE, _SELECT_CATEGORY = select(*_ENTRY).where(*_THIS_ROW), select(*_ENTRY).where(*_IN_CATEGORY)
_DELETE, _INSERT, _LOG = RECORDS.delete().where(*_THIS_ROW), RECORDS.insert(), EVENTS.insert()


class UnitOfWork:
    """Changes that commit together or not at all. Nobody sees them before the commit, and then all at once.

    The store makes it, and holds the write lock while this exists.
    """

    def __init__(self, connection: Connection, url: str, *, actor: str, at: int) -> None:
        self._connection = connection
        self._url = url
        self._actor = actor
        self._at = at
        self._newest: tuple[int, str, int] | None = None
        self._seen: dict[_Key, Entry | None] = {}
        self._whole: set[tuple[Kind, str]] = set()
        self.events: list[Event] = []
        self.queue = QueueRows(connection)

    @property
    def revision(self) -> int:
        """The newest one with its own changes."""
        return self._last()[0]

    def entry(self, category: Category, name: str, *, kind: Kind = Kind.RECORD) -> Entry | None:
        """The record as this unit of work sees it."""
        key = (kind, str(category), name)
        if key not in self._seen:
            known_absent = key[:2] in self._whole
            row = None if known_absent else self._connection.execute(_SELECT_ONE, _parameters(key)).one_or_none()
            self._seen[key] = Entry(*row[1:]) if row else None
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
        last, before, last_at = self._last()
        event = Event(
            revision=last + 1,
            at=max(self._at, last_at),  # a clock set back must not put events out of order in time
            actor=self._actor,
            kind=kind,
            category=category,
            name=name,
            operation=Operation.DELETE if document is None else Operation.UPDATE if held else Operation.CREATE,
            position=held.position if held else last + 1,
            previous=held.revision if held else None,
            document=document,
            origin=origin,
            note=note,
        )
        event = replace(event, hash=event.chained_to(before))
        self._newest = event.revision, event.hash, event.at
        self.events.append(event)
        kept = held.origin if held and origin is None else origin
        self._seen[key] = None if document is None else Entry(event.position, event.revision, document, kept)
        return event

    def _last(self) -> tuple[int, str, int]:
        """Revision, hash and time of the newest event; many units write to the queue alone and never ask."""
        if self._newest is None:
            self._newest = self._connection.execute(_LAST_EVENT).one_or_none() or (0, GENESIS, 0)
        return self._newest


def _parameters(key: Sequence[str]) -> _Row:
    return dict(zip("kcn", key, strict=False))


class SqlStore:
    """The reference on the side that owns it, in one database. Safe to use from many threads and processes at once.

    Created on first use; raises `StoreTooNew` where a later version of this package wrote it. `timeout` is how many
    seconds a write waits for those of others before it raises `StoreUnavailable`. `url` tells no secrets.
    """

    def __init__(self, address: str, *, timeout: float = 10) -> None:
        self._dialect = dialect_for(address, timeout=timeout)
        self.url = self._dialect.name
        self._engine: Engine | None = None
        self._opening, self._turn = threading.Lock(), threading.Lock()
        self._subscribers: list[Callable[[], object]] = []
        _STORES.add(self)

    def head(self) -> int:
        """The newest revision, 0 for an empty store."""
        with self._transaction() as connection:
            return _head(connection)

    def lookout(self) -> Lookout | None:
        """What tells the newest revision in microseconds, for one thread; None where the database is a server's."""
        self.head()  # so that the tables are there
        return self._dialect.lookout(str(_HEAD))

    def times(self, revisions: Collection[int]) -> dict[int, int]:
        """When each of those revisions was made, in milliseconds of Unix time."""
        found: dict[int, int] = {}
        wanted = sorted(revisions)
        with self._transaction() as connection:
            for first in range(0, len(wanted), _PORTION):
                portion = EVENTS.c.revision.in_(wanted[first : first + _PORTION])
                found |= dict(connection.execute(select(EVENTS.c.revision, EVENTS.c.at).where(portion)).all())
        return found

    def changed_at(self, category: Category, at: int | None = None) -> int | None:
        """When a record of the category changed last, up to revision `at`, in milliseconds of Unix time."""
        mine = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        query = select(func.max(EVENTS.c.at)).where(
            *mine, EVENTS.c.revision <= (_NEWEST_POSSIBLE if at is None else at)
        )
        with self._transaction() as connection:
            changed: int | None = connection.scalar(query)
            return changed

    def revision_at(self, time_ms: int) -> int:
        """The newest revision at that Unix time in milliseconds."""
        with self._transaction() as connection:
            return connection.scalar(_HEAD.where(EVENTS.c.at <= time_ms)) or 0

    def snapshot(self, category: Category, *, at: int | None = None, known: Snapshot | None = None) -> Snapshot:
        """The category now, or at revision `at`. `known` is given back, relabelled, where nothing changed since.

        Raises `RevisionUnknown` for a revision that is not there.
        """
        with self._transaction() as connection:
            head = _head(connection, at)
            if at is None and known is not None and _unchanged(connection, category, known, head):
                return known.still_current(head)
            rows = _stream(connection, _records(("name", "document"), Kind.RECORD, category, at))
            body = join_documents((to_json(row.name), row.document.encode()) for row in rows)
        return Snapshot(category, body, head if at is None else at, source=self.url)

    def entry(self, category: Category, name: str) -> Entry | None:
        """One record as it is."""
        with self._transaction() as connection:
            row = connection.execute(_SELECT_ONE, _parameters((Kind.RECORD, str(category), name))).one_or_none()
        return Entry(*row[1:]) if row else None

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD, at: int | None = None) -> dict[str, Entry]:
        """The rows behind a snapshot, with their origins, in order. Raises `RevisionUnknown`."""
        with self._transaction() as connection:
            if at is not None and at == _head(connection, at):
                at = None  # the present is cheaper to read
            found = connection.execute(_records(("name", *_FACTS), kind, category, at))
            entries = {name: Entry(*facts) for name, *facts in found}
            if at is None:
                return entries
            told = _records(("name", "position", "origin"), kind, category, at, EVENTS.c.origin.is_not(None))
            origins = {(name, position): origin for name, position, origin in connection.execute(told)}
        return {name: replace(entry, origin=origins.get((name, entry.position))) for name, entry in entries.items()}

    def counts(self) -> dict[Category, int]:
        """How many records each category has; categories without any are left out."""
        query = select(RECORDS.c.category, func.count()).where(RECORDS.c.kind == Kind.RECORD)
        with self._transaction() as connection:
            return dict(connection.execute(query.group_by(RECORDS.c.category)).all())

    def metadata(self, category: Category) -> CategoryMetadata | None:
        """How often and when the category changed; None where it never had a record."""
        mine = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        by_operation = select(EVENTS.c.operation, func.count(), func.min(EVENTS.c.at)).where(*mine)
        newest = select(EVENTS).where(*mine).order_by(EVENTS.c.revision.desc()).limit(1)
        with self._transaction() as connection:
            rows = connection.execute(by_operation.group_by(EVENTS.c.operation)).all()
            if not rows:
                return None
            last = self._event(connection.execute(newest).mappings().one())
        counts = {Operation(operation): count for operation, count, _ in rows}
        return CategoryMetadata.of(counts, min(first for _, _, first in rows), last, type(self).__name__)

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        """What happened after revision `since`, in order; read in portions, so it may be long."""
        since, left = min(since, _NEWEST_POSSIBLE), _NEWEST_POSSIBLE if limit is None else limit
        query = select(EVENTS).order_by(EVENTS.c.revision)
        if category is not None:
            query = query.where(EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        while left > 0:
            portion = query.where(EVENTS.c.revision > since).limit(min(left, _PORTION))
            with self._transaction() as connection:
                rows = connection.execute(portion).mappings().all()
            yield from map(self._event, rows)
            if len(rows) < _PORTION:
                return
            since, left = rows[-1]["revision"], left - _PORTION

    def _event(self, row: RowMapping) -> Event:
        try:
            return replace(Event(**row), kind=Kind(row["kind"]), operation=Operation(row["operation"]))
        except ValueError as error:
            raise StoreCorrupt(self.url, f"event {row['revision']} is not what was written: {error}") from error

    @contextmanager
    def queue(self) -> Iterator[QueueRows]:
        """The queue, to be read at one moment."""
        with self._transaction() as connection:
            yield QueueRows(connection)

    @contextmanager
    def begin(self, *, actor: str, at_ms: int | None = None) -> Iterator[UnitOfWork]:
        """A unit of work: commits when the block ends, durable when it returns; rolls back when the block raises.

        One at a time: a thread that begins a second one inside the first waits for itself, until `StoreUnavailable`.
        """
        # Writers of one process queue here, not at the database: there they would sleep, and each hold a connection.
        turn = self._turn
        if not turn.acquire(timeout=self._dialect.timeout):
            raise StoreUnavailable(self.url, "another write of this process has not ended for too long; try again")
        try:
            with self._transaction(writes=True) as connection:
                at = time.time_ns() // 1_000_000 if at_ms is None else at_ms
                unit = UnitOfWork(connection, self.url, actor=actor, at=at)
                yield unit
                unit.flush()
        finally:
            turn.release()
        if unit.events:
            for changed in reversed(self._subscribers):
                changed()

    def subscribe(self, changed: Callable[[], object]) -> None:
        """Call `changed` after each commit of this object, on the thread that wrote, before `begin` returns to it.

        Who came last is called first: readers, that only take note, before the mirror, that writes files.
        """
        self._subscribers = [*self._subscribers, changed]

    def verify(self) -> list[tuple[int, str]]:
        """Faults as (revision, what is wrong): in the chain of events, or between what it leads to and the records."""
        replay = Replay()

        def replayed() -> Iterator[Event]:
            for row in _stream(connection, select(EVENTS).order_by(EVENTS.c.revision)):
                event = Event(**row._mapping)  # noqa: SLF001  (SQLAlchemy's documented name)
                replay.apply(event)
                yield event

        with self._transaction() as connection:
            faults = [*chain_faults(replayed()), *_differences(connection, replay.entries)]
            queue = chain_faults(QueueRows(connection).events())
            return [*faults, *((number, f"log of the queue: {wrong}") for number, wrong in queue)]

    def close(self) -> None:
        """Give back connections. The store can be used again afterwards."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def forget_connections(self) -> None:
        """In a forked child: what is open is the parent's, so it is put aside; the locks are new."""
        _OF_PARENTS.append(self._engine)
        self._engine = None
        self._opening, self._turn = threading.Lock(), threading.Lock()

    def _transaction(self, *, writes: bool = False) -> AbstractContextManager[Connection]:
        return self._dialect.transaction(self._engine or self._open(), writes=writes)

    def _open(self) -> Engine:
        with self._opening, ExitStack() as undo:
            if self._engine is None:
                engine = self._dialect.engine()
                undo.callback(engine.dispose)
                self._bring_up_to_date(engine)
                undo.pop_all()
                self._engine = engine
            return self._engine

    def _bring_up_to_date(self, engine: Engine) -> None:
        with self._dialect.transaction(engine) as reader:
            version = stored_version(reader)
        if version > SCHEMA_VERSION:
            reason = f"has schema version {version}, this package knows {SCHEMA_VERSION}; install a newer one"
            raise StoreTooNew(self.url, reason)
        if version < SCHEMA_VERSION:
            with self._dialect.transaction(engine, writes=True) as writer:
                migrate(writer)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    """The rows of a long answer, fetched in portions."""
    return iter(connection.execute(query, execution_options={"yield_per": _PORTION}))


def _head(connection: Connection, at: int | None = None) -> int:
    """The newest revision. Raises `RevisionUnknown` where `at` is none of those up to it."""
    head: int = connection.scalar(_HEAD) or 0
    if at is not None and not 0 <= at <= head:
        raise RevisionUnknown(at, head)
    return head


def _unchanged(connection: Connection, category: Category, known: Snapshot, head: int) -> bool:
    if known.revision is None or known.revision > head:
        return False
    later = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category, EVENTS.c.revision > known.revision)
    return known.revision == head or connection.scalar(select(EVENTS.c.revision).where(*later).limit(1)) is None


def _records(
    columns: Sequence[str], kind: Kind, category: Category, at: int | None, *which: ColumnElement[bool]
) -> Select[Any]:
    """Those columns of the records, in order: as they are; or of each its last event up to `at`, among `which`."""
    table = RECORDS if at is None else EVENTS
    mine = [table.c.kind == kind, table.c.category == category]
    if at is not None:
        last = select(func.max(EVENTS.c.revision)).where(*mine, EVENTS.c.revision <= at, *which)
        mine = [EVENTS.c.revision.in_(last.group_by(EVENTS.c.name)), EVENTS.c.document.is_not(None)]
    return select(*(table.c[name] for name in columns)).where(*mine).order_by(table.c.position)


def _differences(connection: Connection, told: Mapping[tuple[Kind, str, str], Entry]) -> Iterator[tuple[int, str]]:
    """Where the records are not what the log tells; read at the same moment as the log."""
    missing = dict(told)
    for kind, category, name, *facts in _stream(connection, select(*(RECORDS.c[name] for name in _RECORD))):
        held, entry = Entry(*facts), missing.pop((kind, category, name), None)
        if entry is None:
            yield held.revision, f"{category}/{name} is among the records, but no event put it there"
        elif held != entry:
            yield held.revision, f"{category}/{name} is not what the log of events leads to"
    for (_, category, name), entry in missing.items():
        yield entry.revision, f"{category}/{name} is in the log of events but not among the records"


_STORES: weakref.WeakSet[SqlStore] = weakref.WeakSet()
_OF_PARENTS: list[Engine | None] = []


def _after_fork() -> None:
    close_inherited()
    for store in list(_STORES):
        store.forget_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
