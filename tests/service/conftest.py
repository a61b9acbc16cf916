"""The service over a filled store, on a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import HordeModelReferenceSettings, ReplicateMode
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, Parts, assemble
from tests.service.servers import ScriptedStore, running

LEGACY = Path(__file__).parents[1] / "fixtures" / "legacy"


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A PRIMARY that has taken in the invented reference."""
    root = tmp_path_factory.mktemp("primary")
    parts = assemble(Mode(ReplicateMode.PRIMARY, offline=False, base_path=root), HordeModelReferenceSettings())
    assert parts.store is not None
    import_records(parts.store, read_path(LEGACY), actor="tests")
    yield parts
    parts.close()


@pytest.fixture(scope="session")
def store(parts: Parts) -> SqlStore:
    """The store under the service."""
    assert parts.store is not None
    return parts.store


@pytest.fixture(scope="session")
def client(parts: Parts) -> Iterator[httpx.Client]:
    """An HTTP client of the running service."""
    with running(create_app(parts)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedStore]:
    """An empty store that does what the test says."""
    store = ScriptedStore(tmp_path)
    yield store
    store.close()
