"""A database that the version before the queue wrote: it gets the queue's tables, and keeps all that is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from horde_model_reference.errors import ChangeNotFound
from horde_model_reference.stores.queue import ChangeFilter
from horde_model_reference.stores.schema import SCHEMA_VERSION
from horde_model_reference.stores.sql import SqlStore
from tests.stores.contract import put, run_sql

OF_VERSION_2 = (
    "DROP TABLE changes",
    "DROP TABLE queue_events",
    "UPDATE meta SET value = '1' WHERE key = 'schema_version'",
)


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database of version 1 with two records."""
    sqlite = request.param == "sqlite"
    address = f"sqlite:///{tmp_path / 'old.sqlite3'}" if sqlite else str(request.getfixturevalue("postgres_address"))
    store = SqlStore(address)
    put(store, "a")
    put(store, "b")
    run_sql(store, *OF_VERSION_2)
    store.close()
    return address


def test_a_database_of_version_one_gets_the_queue_and_keeps_its_records(old: str) -> None:
    """On first use, by whoever comes first; the version is told."""
    store = SqlStore(old)
    assert json.loads(store.snapshot("lora").body) == {"a": 1, "b": 1}
    with store.queue() as rows:
        assert rows.page(ChangeFilter()) == ([], 0)
        assert (rows.events(), rows.next_change(), rows.open_batch()) == ([], 1, 1)
        assert (rows.past(1)["name"], rows.past(9), rows.past(None), rows.origin(1)) == ("a", {}, {}, None)
        with pytest.raises(ChangeNotFound):
            rows.change(1)
    with store._transaction() as connection:
        assert connection.exec_driver_sql("SELECT value FROM meta").scalar() == str(SCHEMA_VERSION)
    assert put(store, "c") == 3
    assert store.verify() == []
    store.close()


def test_two_that_migrate_at_once_agree(old: str) -> None:
    """The second waits and finds it done."""
    first, second = SqlStore(old), SqlStore(old)
    assert (put(first, "c"), put(second, "d")) == (3, 4)
    assert first.verify() == second.verify() == []
    first.close()
    second.close()
