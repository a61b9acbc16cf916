"""The tables, and how a database of an earlier version becomes one of today: migrations, applied in order, forward only.

A migration that was released is never edited; a new version of the schema is one more entry in `MIGRATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import BigInteger, Column, Connection, Index, MetaData, Table, Text, inspect, select

__all__ = ["EVENTS", "META", "MIGRATIONS", "RECORDS", "SCHEMA_VERSION", "migrate", "stored_version"]

_METADATA = MetaData()

META = Table("meta", _METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

RECORDS = Table(
    "records",
    _METADATA,
    Column("kind", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("origin", Text),
)
Index("records_in_order", RECORDS.c.kind, RECORDS.c.category, RECORDS.c.position)

EVENTS = Table(
    "events",
    _METADATA,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("previous", BigInteger),
    Column("document", Text),
    Column("origin", Text),
    Column("note", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
Index("events_of_record", EVENTS.c.kind, EVENTS.c.category, EVENTS.c.name, EVENTS.c.revision)
Index("events_in_category", EVENTS.c.kind, EVENTS.c.category, EVENTS.c.revision)


def _first_tables(connection: Connection) -> None:
    _METADATA.create_all(connection, tables=[META, RECORDS, EVENTS])


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first_tables,)
"""Entry N brings a database from version N to N + 1."""

SCHEMA_VERSION = len(MIGRATIONS)


def stored_version(connection: Connection) -> int:
    """The version of the schema in this database; 0 for an empty one."""
    if not inspect(connection).has_table(META.name):
        return 0
    value = connection.scalar(select(META.c.value).where(META.c.key == "schema_version"))
    return int(value) if value is not None else 0


def migrate(connection: Connection, *, now_ms: int) -> None:
    """Bring the database to today's version, inside the transaction of `connection`."""
    version = stored_version(connection)
    for step in MIGRATIONS[version:]:
        step(connection)
    if version == 0:
        connection.execute(META.insert(), [{"key": "created_at", "value": str(now_ms)}])
        connection.execute(META.insert(), [{"key": "schema_version", "value": str(SCHEMA_VERSION)}])
    elif version < SCHEMA_VERSION:
        row = META.c.key == "schema_version"
        connection.execute(META.update().where(row).values(value=str(SCHEMA_VERSION)))
