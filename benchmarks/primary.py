"""A PRIMARY to measure against, in a process of its own: serves a data root, applies a change for each line it reads.

    python -m benchmarks.primary ROOT

It prints its port, then after each line on its standard input the Unix time at which a change was committed.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn

from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, assemble

__all__ = ["main"]


def _apply(store: SqlStore, number: int) -> None:
    """Change the description of one image model."""
    name, entry = next(iter(store.entries("image_generation").items()))
    document = decode_object(entry.document) | {"description": f"as of change {number}"}
    with store.begin(actor="benchmark") as unit:
        unit.put("image_generation", name, encode(document).decode())


def main(root: Path) -> None:
    """Serve until the standard input ends."""
    settings = make_settings(replicate_mode="PRIMARY")
    parts = assemble(Mode(ReplicateMode.PRIMARY, False, root), settings)
    assert parts.store is not None
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    app = create_app(parts, settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", server_header=False, timeout_keep_alive=75))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    serving.start()
    while not server.started:
        time.sleep(0.01)
    print(listener.getsockname()[1], flush=True)
    commits: list[float] = []
    parts.store.subscribe(lambda: commits.append(time.time()))  # the last to subscribe, so the first to be told
    for number, _ in enumerate(sys.stdin):
        _apply(parts.store, number)
        print(commits[-1], flush=True)
    server.should_exit = True
    serving.join(10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
