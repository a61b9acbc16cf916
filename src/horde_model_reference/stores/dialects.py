"""All that differs between SQLite and PostgreSQL: how to connect, how to take the write lock, what errors mean."""

from __future__ import annotations

import mmap
import sqlite3
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from horde_model_reference.errors import MissingExtra, SettingsInvalid, StoreCorrupt, StoreError, StoreUnavailable

__all__ = ["Dialect", "close_inherited", "dialect_for"]

_WAIT_FOR_WRITERS = f"SELECT pg_advisory_xact_lock({0x686D72})"  # "hmr": orders writers and migrations
_LOCKED = "another process has held the write lock for too long; try again"
_RESTORE = "restore a backup, or import an export into a new database"


@dataclass(frozen=True)
class Dialect(ABC):
    """One database. `timeout` is how many seconds to wait for a connection or for the write lock."""

    url: URL
    timeout: float

    @property
    def name(self) -> str:
        """The address without secrets: those may be in its query, too."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    @abstractmethod
    def engine(self) -> Engine:
        """A new engine; nothing is connected yet."""

    @contextmanager
    def transaction(self, engine: Engine, *, writes: bool = False) -> Iterator[Connection]:
        """Read one moment of the database; or write, alone, once all others have ended. What fails is a StoreError."""
        try:
            with engine.connect() as connection, connection.begin():
                self._begin(connection, writes=writes)
                yield connection
        except DBAPIError as error:
            raise self._translate(error) from error

    def lookout(self, _query: str) -> Lookout | None:
        """What answers that query for one number again and again in microseconds; None for a server's database."""
        return None

    @abstractmethod
    def _begin(self, connection: Connection, *, writes: bool) -> None: ...

    @abstractmethod
    def _translate(self, error: DBAPIError) -> StoreError: ...


class _Sqlite(Dialect):
    """One file in WAL mode; a commit is on the disk before it returns (`synchronous=FULL`)."""

    def engine(self) -> Engine:
        try:
            Path(self.url.database or "").parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(self.name, f"its folder cannot be made: {error.strerror}") from error
        if self.url.database in _ENTANGLED:
            raise StoreUnavailable(self.name, "was in use when this process was forked; fork before, or start it anew")
        arguments = {"timeout": self.timeout, "check_same_thread": False, "factory": _Connection}
        engine = create_engine(self.url, connect_args=arguments, max_overflow=-1, pool_reset_on_return=None)
        event.listen(engine, "connect", self._configure)
        return engine

    def lookout(self, query: str) -> Lookout:
        return Lookout(self, query)

    def _configure(self, connection: _Connection, _entry: ConnectionPoolEntry) -> None:
        connection.file = self.url.database or ""
        _OPEN.add(connection)
        connection.isolation_level = None  # the driver must not begin transactions by itself
        deadline = time.monotonic() + self.timeout
        while not _in_wal_mode(connection):
            if time.monotonic() > deadline:
                raise StoreUnavailable(self.name, _LOCKED)
            time.sleep(0.005)
        for pragma in ("synchronous=FULL", "journal_size_limit=67108864", "cache_size=-16384"):
            connection.execute(f"PRAGMA {pragma}").close()

    def _begin(self, connection: Connection, *, writes: bool) -> None:
        # A transaction that will write takes the lock at once: upgrading a reader's later can fail with SQLITE_BUSY.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def _translate(self, error: DBAPIError) -> StoreError:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        kind, advice = _SQLITE_FAULTS.get(code, (StoreError, "the database refused"))
        return kind(self.name, f"{advice} ({error.orig})")


class _Connection(sqlite3.Connection):
    file = ""


_HEADER_BYTES = 96
"""Two copies of 48 bytes; they differ for a moment, while somebody writes them."""


class Lookout:
    """One connection to a SQLite file, for one thread, that asks again only when anybody has committed.

    Each commit writes the header of the index that all processes share, before it is acknowledged (walformat.html in
    SQLite's documentation, 2.1). It lies in memory, so to look at it costs next to nothing, and it stays where it is as
    long as a connection is open: this one is.
    """

    def __init__(self, dialect: Dialect, query: str) -> None:
        self._dialect, self._query = dialect, query
        file = dialect.url.database or ""
        self._connection = sqlite3.connect(file, 0.05, isolation_level=None, factory=_Connection)
        _OPEN.add(self._connection)
        self._seen, self._number = b"", self._ask()
        with Path(f"{file}-shm").open("rb") as index:
            self._header = mmap.mmap(index.fileno(), _HEADER_BYTES, access=mmap.ACCESS_READ)

    def __call__(self) -> int:
        """The number that the query has now. Raises `StoreError`."""
        header = self._header[:_HEADER_BYTES]
        if header != self._seen:
            self._number = self._ask()
            self._seen = header  # as it was before: what was committed meanwhile is asked for the next time
        return self._number

    def _ask(self) -> int:
        try:
            number: int | None = self._connection.execute(self._query).fetchone()[0]
        except sqlite3.Error as error:
            raise StoreUnavailable(self._dialect.name, f"cannot be read ({error})") from error
        return number or 0

    def close(self) -> None:
        """Give the connection back."""
        self._header.close()
        self._connection.close()


_OPEN: weakref.WeakSet[_Connection] = weakref.WeakSet()
_ENTANGLED: dict[str, _Connection] = {}


def close_inherited() -> None:
    """In a forked child: close the SQLite connections that were the parent's.

    SQLite remembers per process and file which locks it holds, and a child inherits the memory without the locks: its
    writes went into a log that the parent had deleted. In the middle of a transaction not even closing is safe.
    """
    for connection in list(_OPEN):
        if connection.in_transaction:
            _ENTANGLED[connection.file] = connection
        else:
            connection.close()


def _in_wal_mode(connection: sqlite3.Connection) -> bool:
    """Switch the file to WAL mode; False while another process is doing the same, which SQLite does not wait for."""
    try:
        connection.execute("PRAGMA journal_mode=WAL").close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


_SQLITE_FAULTS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreUnavailable, _LOCKED),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, "is read-only for this user; check the rights of file and folder"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "the disk reports an error; check it and the rights of the folder"),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "the disk is full; nothing was changed, make room and try again"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "cannot be opened; check that the folder exists and may be written"),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, f"is damaged; {_RESTORE}"),
    sqlite3.SQLITE_CONSTRAINT: (StoreCorrupt, f"contradicts itself; {_RESTORE}"),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, f"is no SQLite database; {_RESTORE}"),
    sqlite3.SQLITE_ERROR: (StoreCorrupt, f"is no database of this package; {_RESTORE}"),
}


class _Postgres(Dialect):
    """A PostgreSQL database, by psycopg 3. A write is on the server's disk before it returns, as its default is."""

    def engine(self) -> Engine:
        given = self.url.query.get("options", "")
        options = f"-c lock_timeout={int(self.timeout * 1000)} -c statement_timeout=60000 {given}"
        try:
            return create_engine(
                self.url.set(drivername="postgresql+psycopg"),
                connect_args={"connect_timeout": max(int(self.timeout), 2), "options": options},
                pool_pre_ping=True,
                max_overflow=-1,
                isolation_level="REPEATABLE READ",
            )
        except ImportError:
            raise MissingExtra("a PostgreSQL store", "postgres") from None

    def _begin(self, connection: Connection, *, writes: bool) -> None:
        if writes:  # what the writer before commits while this one waits must be seen, so each statement reads afresh
            connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {_WAIT_FOR_WRITERS}")

    def _translate(self, error: DBAPIError) -> StoreError:
        kind = StoreUnavailable if isinstance(error, OperationalError) else StoreError
        reason = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        advice = _POSTGRES_ADVICE.get(getattr(error.orig, "sqlstate", None), "the database refused")
        return kind(self.name, f"{advice} ({reason[0]})")


_POSTGRES_ADVICE = {
    None: "cannot be reached; check that the server runs and HORDE_MODEL_REFERENCE_DATABASE_URL is right",
    "55P03": _LOCKED,
    "53100": "the server's disk is full; nothing was changed, make room and try again",
    "53300": "the server has no connection left; allow more, or start fewer processes",
}
_DIALECTS: dict[str, type[Dialect]] = {"sqlite": _Sqlite, "postgresql": _Postgres, "postgres": _Postgres}


def dialect_for(address: str, *, timeout: float) -> Dialect:
    """The dialect a database URL asks for: `sqlite:///path`, `postgresql://user:password@host/name`.

    Raises `SettingsInvalid`, without repeating the address: it may hold a password.
    """
    try:
        url = make_url(address)
        dialect = _DIALECTS[url.get_backend_name()](url, timeout)
        if url.database not in (None, "", ":memory:"):
            return dialect
    except (ArgumentError, KeyError, ValueError):
        pass
    reason = "is no sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME address"
    raise SettingsInvalid((("HORDE_MODEL_REFERENCE_DATABASE_URL", reason),))
