"""A store in a folder of its own, and the invented legacy reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.stores.sql import SqlStore


@pytest.fixture
def legacy() -> Path:
    """The invented reference in the legacy format, laid out like the two repositories."""
    return Path(__file__).parents[1] / "fixtures" / "legacy"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """An empty SQLite store."""
    store = SqlStore(f"sqlite:///{tmp_path / 'data' / 'reference.sqlite3'}")
    yield store
    store.close()


@pytest.fixture
def filled(store: SqlStore, legacy: Path) -> SqlStore:
    """A store that has taken in the invented reference."""
    import_records(store, read_path(legacy), actor="tests")
    return store
