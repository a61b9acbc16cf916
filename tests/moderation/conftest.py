"""A queue over an empty store: on SQLite and, for what asks for `queue`, on PostgreSQL as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from horde_model_reference.moderation.queue import Queue
from horde_model_reference.stores.sql import SqlStore
from tests.moderation.samples import queue_over
from tests.stores.conftest import postgres_address, postgres_server

__all__ = ["postgres_address", "postgres_server"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite database may be."""
    return tmp_path / "reference.sqlite3"


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, path: Path) -> str:
    """The URL of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("postgres_address"))


@pytest.fixture
def store(address: str) -> Iterator[SqlStore]:
    """An empty store."""
    store = SqlStore(address)
    yield store
    store.close()


@pytest.fixture
def queue(store: SqlStore) -> Queue:
    """An empty queue; its clock tells one second more at each look."""
    return queue_over(store)
