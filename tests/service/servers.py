"""What the tests of the service share: an app on a real server, and stores that misbehave or count."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import uvicorn
import zstandard
from fastapi import FastAPI

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Entry, Event, Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import StoreUnavailable
from horde_model_reference.service.protocol import BoundedProtocol
from horde_model_reference.stores.dialects import Lookout
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Parts, ReferenceBackend, reference_of_store

__all__ = ["ScriptedStore", "followed", "parts_over", "running", "unpacked", "within_deadline"]

_DEADLINE = 20.0


@contextmanager
def running(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The address of the app on a server of its own, as long as the block runs; on a free port where none is given."""
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedProtocol, port=port, log_level="warning", server_header=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    within_deadline(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.serving.feed.bell.close()  # as the signal does that ends a server
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


def followed(change: JsonObject, held: JsonObject) -> None:
    """Do to `held` what a change of the feed tells, as a replica does."""
    name, operation = str(change["name"]), change["operation"]
    assert (operation == "create", operation == "delete") == (name not in held, change["record"] is None)
    if operation == "delete":
        del held[name]
    else:
        held[name] = change["record"]


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


_UNPACKING: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": _zstd,
    "identity": bytes,
}


def unpacked(data: bytes, coding: str) -> bytes:
    """What was sent in that coding."""
    return _UNPACKING[coding](data)


class ScriptedStore(SqlStore):
    """A store that counts, has forgotten its first events, fails, or is written to between two reads.

    Like a server's database it has no lookout: whoever wants to know the newest revision asks `head`.
    """

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

    def lookout(self) -> Lookout | None:
        return None

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        self.reads_of_events += 1
        return super().events(since=max(since, self.forgotten), category=category, limit=limit)

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD, at: int | None = None) -> dict[str, Entry]:
        found = super().entries(category, kind=kind, at=at)
        then, self.after_entries = self.after_entries, None
        if then is not None:
            then()
        return found
