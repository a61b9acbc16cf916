"""The tables, and how a database of an earlier version becomes one of today: migrations, in order, forward only.

A migration that was released is never edited; a new version of the schema is one more entry in `MIGRATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table, Text, cast, inspect, select

__all__ = ["CHANGES", "EVENTS", "META", "MIGRATIONS", "QUEUE_EVENTS", "RECORDS", "SCHEMA_VERSION", "migrate"]
__all__ += ["stored_version"]

_METADATA = MetaData()
_ROWID = BigInteger().with_variant(Integer(), "sqlite")  # SQLite keeps a table in the order of an INTEGER key

META = Table("meta", _METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

RECORDS = Table(
    "records",
    _METADATA,
    *(Column(name, Text, primary_key=True) for name in ("kind", "category", "name")),
    *(Column(name, BigInteger, nullable=False) for name in ("position", "revision")),
    Column("document", Text, nullable=False),
    Column("origin", Text),
)
Index("records_in_order", RECORDS.c.kind, RECORDS.c.category, RECORDS.c.position)

EVENTS = Table(
    "events",
    _METADATA,
    Column("revision", _ROWID, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ("at", "position")),
    *(Column(name, Text, nullable=False) for name in "actor kind category name operation note hash".split()),
    Column("previous", BigInteger),
    *(Column(name, Text) for name in ("document", "origin")),
)
# Grows at its end only, so it costs a write next to nothing, and answers without reading a document. The history of one
# record needs no index: each event names the one before it.
Index("events_in_category", *(EVENTS.c[name] for name in ("kind", "category", "revision", "operation", "at", "name")))

CHANGES = Table(
    "changes",
    _METADATA,
    Column("change_id", _ROWID, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("status", "category", "model_name", "requested_by", "document")),
    Column("batch_id", BigInteger),
    Column("applied_job_id", Text),
)
for _name in ("status", "requested_by"):
    Index(f"changes_by_{_name}", CHANGES.c[_name], CHANGES.c.change_id)

QUEUE_EVENTS = Table(
    "queue_events",
    _METADATA,
    Column("event_id", _ROWID, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ("at", "change_id")),
    Column("batch_id", BigInteger),
    *(Column(name, Text, nullable=False) for name in ("actor", "action", "payload", "hash")),
)
Index("queue_events_by_change", QUEUE_EVENTS.c.change_id, QUEUE_EVENTS.c.event_id)
for _column in (CHANGES.c.batch_id, CHANGES.c.applied_job_id, QUEUE_EVENTS.c.batch_id):  # a proposal has none of these
    _given = _column.is_not(None)
    Index(f"{_column.table.name}_by_{_column.name}", _column, sqlite_where=_given, postgresql_where=_given)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    lambda connection: _METADATA.create_all(connection, tables=[META, RECORDS, EVENTS]),
    lambda connection: _METADATA.create_all(connection, tables=[CHANGES, QUEUE_EVENTS]),
)
"""Entry N brings a database from version N to N + 1."""

SCHEMA_VERSION = len(MIGRATIONS)
_IS_VERSION = META.c.key == "schema_version"


def stored_version(connection: Connection) -> int:
    """The version of the schema in this database; 0 for an empty one."""
    if not inspect(connection).has_table(META.name):
        return 0
    return connection.scalar(select(cast(META.c.value, Integer)).where(_IS_VERSION)) or 0


def migrate(connection: Connection) -> None:
    """Bring the database to today's version, inside the transaction of `connection`."""
    version = stored_version(connection)
    for step in MIGRATIONS[version:]:
        step(connection)
    connection.execute(META.delete().where(_IS_VERSION, META.c.value == str(version)))  # an edited one collides
    connection.execute(META.insert().values(key="schema_version", value=str(SCHEMA_VERSION)))
