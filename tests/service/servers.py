"""What the tests of the service share: an app on a real server, and stores that misbehave or count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Entry, Event, Kind
from horde_model_reference.errors import StoreUnavailable
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Parts, ReferenceBackend, reference_of_store

__all__ = ["ScriptedStore", "parts_over", "running", "within_deadline"]

_DEADLINE = 20.0


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of the app on a server of its own, as long as the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", server_header=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    within_deadline(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_DEADLINE)


def within_deadline(happened: Callable[[], object]) -> None:
    """Return as soon as it happened; fail if it does not."""
    deadline = time.monotonic() + _DEADLINE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def parts_over(store: SqlStore, root: Path) -> Parts:
    """A PRIMARY over that store, without a mirror."""
    reference = reference_of_store(store)
    return Parts(reference, ReferenceBackend(reference), root, store)


class ScriptedStore(SqlStore):
    """A store that counts, has forgotten its first events, fails, or is written to between two reads."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"sqlite:///{root / 'reference.sqlite3'}")
        self.reads_of_events = 0
        self.forgotten = 0
        self.broken = False
        self.after_entries: Callable[[], None] | None = None

    def head(self) -> int:
        if self.broken:
            raise StoreUnavailable(self.url, "as the test has it")
        return super().head()

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        self.reads_of_events += 1
        return super().events(since=max(since, self.forgotten), category=category, limit=limit)

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD, at: int | None = None) -> dict[str, Entry]:
        found = super().entries(category, kind=kind, at=at)
        then, self.after_entries = self.after_entries, None
        if then is not None:
            then()
        return found
