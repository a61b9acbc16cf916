"""The store: SQLAlchemy Core over SQLite or PostgreSQL, one code path for both.

A unit of work takes the write lock first and reads the newest event under it, so revisions have no gaps and become
visible in order. Its rows are written at the commit, many at a time. Readers never wait for writers.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, replace
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, func, select

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Entry, Event, Kind, Operation, Replay, chain_faults
from horde_model_reference.domain.metadata import CategoryHistory, CategoryMetadata
from horde_model_reference.domain.snapshots import Snapshot, join_documents
from horde_model_reference.errors import RevisionUnknown, StoreCorrupt, StoreTooNew, StoreUnavailable
from horde_model_reference.stores.dialects import close_inherited, dialect_for
from horde_model_reference.stores.schema import EVENTS, RECORDS, SCHEMA_VERSION, migrate, stored_version
from horde_model_reference.stores.unit import UnitOfWork

__all__ = ["SqlStore"]

_PORTION = 1_000
_NEWEST_POSSIBLE = 2**63 - 1
_HEAD = select(func.max(EVENTS.c.revision))
_ENTRY = ("name", *(field.name for field in fields(Entry)))


class SqlStore:
    """One database. Created on first use; raises `StoreTooNew` where a later version of this package wrote it.

    `timeout` is how many seconds a write waits for those of others before it raises `StoreUnavailable`.
    """

    def __init__(self, address: str, *, timeout: float = 10) -> None:
        self._dialect = dialect_for(address, timeout=timeout)
        self.url = self._dialect.name
        self._engine: Engine | None = None
        self._opening, self._turn = threading.Lock(), threading.Lock()
        self._subscribers: list[Callable[[], object]] = []
        _STORES.add(self)

    def head(self) -> int:
        with self._transaction() as connection:
            return _head(connection)

    def revision_at(self, time_ms: int) -> int:
        with self._transaction() as connection:
            return connection.scalar(_HEAD.where(EVENTS.c.at <= time_ms)) or 0

    def snapshot(self, category: Category, *, at: int | None = None, known: Snapshot | None = None) -> Snapshot:
        with self._transaction() as connection:
            head = _head(connection, at)
            if at is None and known is not None and _unchanged(connection, category, known, head):
                return known.still_current(head)
            rows = _stream(connection, _records(("name", "document"), Kind.RECORD, category, at))
            body = join_documents((to_json(row.name), row.document.encode()) for row in rows)
        return Snapshot(category, body, head if at is None else at, source=self.url)

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD, at: int | None = None) -> dict[str, Entry]:
        with self._transaction() as connection:
            if at is not None and at == _head(connection, at):
                at = None  # the present is cheaper to read
            found = connection.execute(_records(_ENTRY, kind, category, at))
            entries = {name: Entry(*facts) for name, *facts in found}
            if at is None:
                return entries
            told = _records(("name", "position", "origin"), kind, category, at, EVENTS.c.origin.is_not(None))
            origins = {(name, position): origin for name, position, origin in connection.execute(told)}
        return {name: replace(entry, origin=origins.get((name, entry.position))) for name, entry in entries.items()}

    def counts(self) -> dict[Category, int]:
        query = select(RECORDS.c.category, func.count()).where(RECORDS.c.kind == Kind.RECORD)
        with self._transaction() as connection:
            return dict(connection.execute(query.group_by(RECORDS.c.category)).all())

    def metadata(self, category: Category) -> CategoryMetadata | None:
        mine = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        by_operation = select(EVENTS.c.operation, func.count(), func.min(EVENTS.c.at)).where(*mine)
        newest = select(EVENTS).where(*mine).order_by(EVENTS.c.revision.desc()).limit(1)
        with self._transaction() as connection:
            rows = connection.execute(by_operation.group_by(EVENTS.c.operation)).all()
            if not rows:
                return None
            last = self._event(connection.execute(newest).mappings().one())
        counts = {Operation(operation): count for operation, count, _ in rows}
        history = CategoryHistory(counts, min(first for _, _, first in rows), last)
        models = counts.get(Operation.CREATE, 0) - counts.get(Operation.DELETE, 0)
        return CategoryMetadata.of(category, history, models=models, backend=type(self).__name__)

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        since, left = min(since, _NEWEST_POSSIBLE), _NEWEST_POSSIBLE if limit is None else limit
        while left > 0:
            portion = self._portion(since, category, min(left, _PORTION))
            yield from portion
            if len(portion) < _PORTION:
                return
            since, left = portion[-1].revision, left - _PORTION

    def _portion(self, since: int, category: Category | None, size: int) -> list[Event]:
        query = select(EVENTS).where(EVENTS.c.revision > since).order_by(EVENTS.c.revision).limit(size)
        if category is not None:
            query = query.where(EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        with self._transaction() as connection:
            return [self._event(row) for row in connection.execute(query).mappings()]

    def _event(self, row: RowMapping) -> Event:
        try:
            return replace(Event(**row), kind=Kind(row["kind"]), operation=Operation(row["operation"]))
        except ValueError as error:
            raise StoreCorrupt(self.url, f"event {row['revision']} is not what was written: {error}") from error

    @contextmanager
    def begin(self, *, actor: str, at_ms: int | None = None) -> Iterator[UnitOfWork]:
        # Writers of one process queue here, not at the database: there they would sleep, and each hold a connection.
        turn = self._turn
        if not turn.acquire(timeout=self._dialect.timeout):
            raise StoreUnavailable(self.url, "another write of this process has not ended for too long; try again")
        try:
            with self._transaction(writes=True) as connection:
                unit = UnitOfWork(connection, self.url, actor=actor, at=_now_ms() if at_ms is None else at_ms)
                yield unit
                unit.flush()
        finally:
            turn.release()
        if unit.events:
            for changed in reversed(self._subscribers):
                changed()

    def subscribe(self, changed: Callable[[], object]) -> None:
        self._subscribers = [*self._subscribers, changed]

    def verify(self) -> list[tuple[int, str]]:
        replay = Replay()

        def replayed() -> Iterator[Event]:
            for row in _stream(connection, select(EVENTS).order_by(EVENTS.c.revision)):
                event = Event(**row._mapping)  # noqa: SLF001  (SQLAlchemy's documented name)
                replay.apply(event)
                yield event

        with self._transaction() as connection:
            return [*chain_faults(replayed()), *_differences(connection, replay.entries)]

    def close(self) -> None:
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
                migrate(writer, now_ms=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
    columns = [RECORDS.c[name] for name in ("kind", "category", *_ENTRY)]
    for kind, category, name, *facts in _stream(connection, select(*columns)):
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
