"""What differs between SQLite and PostgreSQL, all of it: how to connect, how to take the write lock, what errors mean."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from horde_model_reference.errors import MissingExtra, SettingsInvalid, StoreCorrupt, StoreError, StoreUnavailable

__all__ = ["Dialect", "PostgresDialect", "SqliteDialect", "dialect_for"]

_WRITE_LOCK = 0x686D72  # "hmr": the PostgreSQL advisory lock that orders writers and migrations
_TIMEOUT_SECONDS = 10


class Dialect(Protocol):
    """One database product. `writing` are the execution options of a connection that will write."""

    writing: ClassVar[dict[str, Any]]

    def engine(self) -> Engine:
        """A new engine; nothing is connected yet."""

    def lock_for_writing(self, connection: Connection) -> None:
        """Wait until this transaction is the only one that writes; the lock goes with the transaction."""

    def translate(self, error: DBAPIError, url: str) -> StoreError:
        """The driver's error as one of ours."""


@dataclass(frozen=True)
class SqliteDialect:
    """One file in WAL mode; a commit is on the disk before it returns (`synchronous=FULL`)."""

    url: URL
    writing: ClassVar[dict[str, Any]] = {"writes": True}

    def engine(self) -> Engine:
        if self.url.database and self.url.database != ":memory:":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.url, connect_args={"timeout": _TIMEOUT_SECONDS, "check_same_thread": False})
        event.listen(engine, "connect", self._configure)
        event.listen(engine, "begin", self._begin)
        return engine

    @staticmethod
    def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself: `_begin` does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "journal_size_limit=67108864"):
            connection.execute(f"PRAGMA {pragma}").close()

    @staticmethod
    def _begin(connection: Connection) -> None:
        # A transaction that will write takes the lock at once: upgrading a reader's later can fail with SQLITE_BUSY.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def lock_for_writing(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE took it."""

    def translate(self, error: DBAPIError, url: str) -> StoreError:
        reason = str(error.orig)
        if isinstance(error, OperationalError):
            return StoreUnavailable(url, _SQLITE_ADVICE.get(reason, reason))
        return StoreCorrupt(url, reason) if isinstance(error, DatabaseError) else StoreError(url, reason)


_SQLITE_ADVICE = {
    "database is locked": f"another process holds the write lock for more than {_TIMEOUT_SECONDS} s; try again",
    "unable to open database file": "cannot be opened; check that the folder exists and may be written",
    "attempt to write a readonly database": "is read-only for this user",
    "database or disk is full": "the disk is full; nothing was changed",
}


@dataclass(frozen=True)
class PostgresDialect:
    """A PostgreSQL database, by psycopg 3.

    A reader sees one moment of the database for the whole of its transaction. A writer waits for the lock first and
    must then see what the one before it committed, so each of its statements reads afresh.
    """

    url: URL
    writing: ClassVar[dict[str, Any]] = {"isolation_level": "READ COMMITTED"}

    def engine(self) -> Engine:
        options = f"-c lock_timeout={_TIMEOUT_SECONDS * 1000} -c statement_timeout=60000"
        arguments: dict[str, Any] = {"connect_timeout": _TIMEOUT_SECONDS, "options": options}
        try:
            return create_engine(
                self.url.set(drivername="postgresql+psycopg"),
                connect_args=arguments,
                pool_pre_ping=True,
                isolation_level="REPEATABLE READ",
            )
        except ImportError:
            raise MissingExtra("a PostgreSQL store", "postgres") from None

    def lock_for_writing(self, connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))

    def translate(self, error: DBAPIError, url: str) -> StoreError:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig) else type(error.orig).__name__
        return StoreUnavailable(url, reason) if isinstance(error, OperationalError) else StoreError(url, reason)


_DIALECTS: dict[str, type[SqliteDialect] | type[PostgresDialect]] = {
    "sqlite": SqliteDialect,
    "postgresql": PostgresDialect,
    "postgres": PostgresDialect,
}


def dialect_for(address: str) -> SqliteDialect | PostgresDialect:
    """The dialect a database URL asks for, for example `sqlite:///path` or `postgresql://user:password@host/name`."""
    try:
        url = make_url(address)
        return _DIALECTS[url.get_backend_name()](url)
    except (ArgumentError, KeyError, NoSuchModuleError):
        reason = "is no sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME address"
        raise SettingsInvalid((("HORDE_MODEL_REFERENCE_DATABASE_URL", reason),)) from None
