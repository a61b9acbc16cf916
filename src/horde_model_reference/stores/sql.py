"""The store: SQLAlchemy Core over SQLite or PostgreSQL, one code path for both.

A unit of work takes the write lock first and reads the newest event under it, so revisions have no gaps and become
visible in order. Its rows are written at the commit, many at a time. Readers never wait for writers.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, RowMapping, Select, func, select
from sqlalchemy.exc import DBAPIError

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Entry, Event, Kind, Operation, Replay, chain_faults
from horde_model_reference.domain.metadata import CategoryHistory, CategoryMetadata
from horde_model_reference.domain.snapshots import Snapshot, join_documents
from horde_model_reference.errors import RevisionUnknown, StoreTooNew
from horde_model_reference.stores.dialects import dialect_for
from horde_model_reference.stores.schema import EVENTS, RECORDS, SCHEMA_VERSION, migrate, stored_version
from horde_model_reference.stores.unit import SqlUnitOfWork

__all__ = ["SqlStore"]

_PORTION = 1_000
_ENTRY = (RECORDS.c.name, RECORDS.c.position, RECORDS.c.revision, RECORDS.c.document, RECORDS.c.origin)


class SqlStore:
    """One database. Created on first use; raises `StoreTooNew` where a later version of this package wrote it."""

    def __init__(self, address: str) -> None:
        self._dialect = dialect_for(address)
        self.url = self._dialect.url.render_as_string(hide_password=True)
        self._ready: Engine | None = None
        self._opening = threading.Lock()
        _STORES.add(self)

    def head(self) -> int:
        with self._reading() as connection:
            return _head(connection)

    def revision_at(self, time_ms: int) -> int:
        with self._reading() as connection:
            return connection.scalar(select(func.max(EVENTS.c.revision)).where(EVENTS.c.at <= time_ms)) or 0

    def snapshot(self, category: Category, *, at: int | None = None, known: Snapshot | None = None) -> Snapshot:
        with self._reading() as connection:
            head = _head(connection)
            if at is not None and not 0 <= at <= head:
                raise RevisionUnknown(at, head)
            if at is None and known is not None and _unchanged(connection, category, known, head):
                return known.still_current(head)
            query = _records_of(category) if at is None else _records_at(category, at)
            rows = connection.execute(query).tuples().all()
            body = join_documents((to_json(name), document.encode()) for name, document in rows)
        return Snapshot(category, body, head if at is None else at, source=self.url)

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD) -> dict[str, Entry]:
        with self._reading() as connection:
            return _entries(connection, category, kind)

    def counts(self) -> dict[Category, int]:
        query = select(RECORDS.c.category, func.count()).where(RECORDS.c.kind == Kind.RECORD).group_by("category")
        with self._reading() as connection:
            return dict(connection.execute(query).tuples().all())

    def metadata(self, category: Category) -> CategoryMetadata | None:
        mine = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        by_operation = select(EVENTS.c.operation, func.count(), func.min(EVENTS.c.at)).where(*mine)
        models = select(func.count()).where(RECORDS.c.kind == Kind.RECORD, RECORDS.c.category == category)
        with self._reading() as connection:
            rows = connection.execute(by_operation.group_by(EVENTS.c.operation)).tuples().all()
            if not rows:
                return None
            last = select(EVENTS).where(*mine).order_by(EVENTS.c.revision.desc()).limit(1)
            history = CategoryHistory(
                counts={Operation(operation): count for operation, count, _ in rows},
                first_at=min(first for _, _, first in rows),
                last=_event(connection.execute(last).mappings().one()),
            )
            count = connection.scalar(models) or 0
        return CategoryMetadata.of(category, history, models=count, backend=type(self).__name__)

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        left = limit
        while left is None or left > 0:
            portion = self._portion(since, category, _PORTION if left is None else min(left, _PORTION))
            yield from portion
            if len(portion) < _PORTION:
                return
            since = portion[-1].revision
            left = None if left is None else left - len(portion)

    def _portion(self, since: int, category: Category | None, size: int) -> list[Event]:
        query = select(EVENTS).where(EVENTS.c.revision > since).order_by(EVENTS.c.revision).limit(size)
        if category is not None:
            query = query.where(EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category)
        with self._reading() as connection:
            return [_event(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def begin(self, *, actor: str, at_ms: int | None = None) -> Iterator[SqlUnitOfWork]:
        now = at_ms if at_ms is not None else time.time_ns() // 1_000_000
        with self._connection(writes=True) as connection, connection.begin():
            self._dialect.lock_for_writing(connection)
            unit = SqlUnitOfWork(connection, self.url, actor=actor, at=now)
            yield unit
            unit.flush()

    def verify(self) -> list[tuple[int, str]]:
        replay = Replay()

        def replayed() -> Iterator[Event]:
            for event in self.events():
                replay.apply(event)
                yield event

        faults = list(chain_faults(replayed()))
        return faults + self._differences(replay)

    def _differences(self, replay: Replay) -> list[tuple[int, str]]:
        # Only what had happened when the replay ended is compared: writers may have gone on since.
        faults: list[tuple[int, str]] = []
        expected = dict(replay.entries)
        with self._reading() as connection:
            head = max((entry.revision for entry in expected.values()), default=0)
            for row in connection.execute(select(RECORDS.c.kind, RECORDS.c.category, *_ENTRY)).tuples():
                kind, category, name, *facts = row
                held, told = Entry(*facts), expected.pop((Kind(kind), category, name), None)
                if held != told and held.revision <= head:
                    faults.append((held.revision, f"{category}/{name} is not what the log of events leads to"))
        gone = [
            (e.revision, f"{c}/{n} is in the log of events but not among the records")
            for (_, c, n), e in expected.items()
        ]
        return faults + gone

    def close(self) -> None:
        with self._opening:
            if self._ready is not None:
                self._ready.dispose()
                self._ready = None

    def forget_connections(self) -> None:
        """In a forked child: the connections are the parent's, so they are dropped and not closed."""
        self._opening = threading.Lock()
        if self._ready is not None:
            self._ready.dispose(close=False)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._connection() as connection, connection.begin():
            yield connection

    @contextmanager
    def _connection(self, *, writes: bool = False) -> Iterator[Connection]:
        try:
            engine = self._ready or self._open()
            with engine.connect() as connection:
                yield connection.execution_options(**self._dialect.writing) if writes else connection
        except DBAPIError as error:
            raise self._dialect.translate(error, self.url) from error

    def _open(self) -> Engine:
        with self._opening:
            if self._ready is not None:
                return self._ready
            engine = self._dialect.engine()
            with engine.connect() as reader, reader.begin():
                version = stored_version(reader)
            if version > SCHEMA_VERSION:
                reason = f"has schema version {version}, this package knows {SCHEMA_VERSION}; install a newer one"
                raise StoreTooNew(self.url, reason)
            if version < SCHEMA_VERSION:
                with engine.connect() as plain:
                    writer = plain.execution_options(**self._dialect.writing)
                    with writer.begin():
                        self._dialect.lock_for_writing(writer)
                        migrate(writer, now_ms=time.time_ns() // 1_000_000)
            self._ready = engine
            return engine


def _event(row: RowMapping) -> Event:
    values = {**row, "kind": Kind(row["kind"]), "operation": Operation(row["operation"])}
    return Event(**values)


def _entries(connection: Connection, category: Category, kind: Kind) -> dict[str, Entry]:
    query = select(*_ENTRY).where(RECORDS.c.kind == kind, RECORDS.c.category == category).order_by(RECORDS.c.position)
    return {name: Entry(*facts) for name, *facts in connection.execute(query).tuples()}


def _head(connection: Connection) -> int:
    return connection.scalar(select(func.max(EVENTS.c.revision))) or 0


def _unchanged(connection: Connection, category: Category, known: Snapshot, head: int) -> bool:
    if known.revision is None or known.revision > head:
        return False
    later = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category, EVENTS.c.revision > known.revision)
    return known.revision == head or connection.scalar(select(EVENTS.c.revision).where(*later).limit(1)) is None


def _records_of(category: Category) -> Select[tuple[str, str]]:
    mine = (RECORDS.c.kind == Kind.RECORD, RECORDS.c.category == category)
    return select(RECORDS.c.name, RECORDS.c.document).where(*mine).order_by(RECORDS.c.position)


def _records_at(category: Category, revision: int) -> Select[tuple[str, str]]:
    mine = (EVENTS.c.kind == Kind.RECORD, EVENTS.c.category == category, EVENTS.c.revision <= revision)
    last = select(func.max(EVENTS.c.revision)).where(*mine).group_by(EVENTS.c.name)
    query = select(EVENTS.c.name, EVENTS.c.document).where(EVENTS.c.revision.in_(last), EVENTS.c.document.is_not(None))
    return query.order_by(EVENTS.c.position)


_STORES: weakref.WeakSet[SqlStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_STORES):
        store.forget_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
