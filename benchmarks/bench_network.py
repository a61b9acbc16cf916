"""What a replica costs and how soon it knows: bytes on the wire, fetches, delays, over loopback with a real PRIMARY.

Bytes are counted by a relay between the two: everything that passes, headers and both directions included.

    python -m benchmarks.bench_network
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench_reading import ROOT, bodies, environment, in_turns, process
from benchmarks.rows import Row, table
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode, encode_pretty
from horde_model_reference.reference import Reference
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, Parts, assemble

__all__ = ["measure"]

REPLICAS, WHOLE_REPLICAS, CHANGES, PROCESSES = 200, 1, 60, 8
_START = """
import sys
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(base_path=sys.argv[1])
assert manager.get_all_model_references()["image_generation"]
"""
_DEAD = """
from horde_model_reference import ModelReferenceManager
assert ModelReferenceManager().get_all_model_references()["image_generation"]
"""


@dataclass
class Relay:
    """Passes bytes on to `port` and counts them."""

    port: int
    requests: int = 0
    size: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Relay:
        relay = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", relay.port)) as other:
                    relay.connections += 1
                    back = threading.Thread(target=relay.pump, args=(other, self.request), daemon=True)
                    back.start()
                    relay.pump(self.request, other)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Connection)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api"

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on until one of the two has closed."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self.lock:
                    self.size += len(data)
                    self.requests += len(re.findall(rb"GET \S+ HTTP/1\.1\r\n", data))
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def counted(self) -> tuple[int, int, int]:
        """Requests, bytes and connections since the last call."""
        with self.lock:
            counted = self.requests, self.size, self.connections
            self.requests = self.size = self.connections = 0
        return counted


@dataclass
class Other:
    """Another process. `apply` commits a change there and gives the Unix time of the commit."""

    process: subprocess.Popen[str]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def apply(self) -> float:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return float(self.line())

    def end(self) -> int:
        """Close its input; gives the last line that it prints then."""
        told, _ = self.process.communicate()
        return int(told)


@contextlib.contextmanager
def _primary(root: Path) -> Iterator[tuple[Other, int]]:
    root.mkdir(parents=True)
    data = root.parent / "data"
    for category, body in bodies():
        write_atomically(FolderSource(data).path_of(category), encode_pretty(decode(body)))
    store = SqlStore(f"sqlite:///{root / 'reference.sqlite3'}")
    import_records(store, read_path(data), actor="benchmark", note="benchmark")
    store.close()
    command = [sys.executable, "-m", "benchmarks.primary", str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    env = environment(root) | {"PYTHONPATH": path}
    with subprocess.Popen(command, env=env, cwd=ROOT, text=True, **pipes) as running:  # type: ignore[call-overload]
        primary = Other(running)
        try:
            yield primary, int(primary.line())
        finally:
            running.stdin.close()
            running.wait(20)


def _replica(url: str, root: Path, **options: object) -> Parts:
    settings = make_settings(primary_api_url=url, enable_github_fallback=False, **options)
    return assemble(Mode(ReplicateMode.REPLICA, False, root), settings)


def _wire_rows(primary: Other, port: int, folder: Path) -> Iterator[Row]:
    with Relay(port) as relay:
        parts = _replica(relay.url, folder / "wire", cache_ttl_seconds=3600, follow_changes=False)
        parts.reference.warm()
        _, size, connections = relay.counted()
        yield Row("cold start, everything, compressed", "", 0, size / 1024, 110, "KB", absolute=True)
        yield Row("the same, connections", "", 0, connections, 1, "connections", absolute=True)
        parts.reference.warm(fresh=True)
        requests, size, _ = relay.counted()
        yield Row("nothing changed, all categories", "", 0, size, 300, "bytes", absolute=True)
        yield Row("the same, requests", "", 0, requests, 1, "requests", absolute=True)
        primary.apply()
        parts.reference.warm(fresh=True)
        _, size, _ = relay.counted()
        yield Row("one record changed", "", 0, size / 1024, 2, "KB", absolute=True)
        parts.close()


def _together_row(port: int, folder: Path) -> Row:
    """Fetches of each category by processes that start at once on one empty folder."""
    with Relay(port) as relay:
        env = environment(folder) | {"HORDE_MODEL_REFERENCE_PRIMARY_API_URL": relay.url}
        command = [sys.executable, "-c", _START, str(folder / "together")]
        begun = [subprocess.Popen(command, env=env, cwd=folder) for _ in range(PROCESSES)]
        assert all(each.wait(60) == 0 for each in begun)
        requests, _, _ = relay.counted()
    return Row(f"{PROCESSES} processes start together, empty cache", "", 0, requests / 13, 1, "fetches", absolute=True)


def _delay_rows(primary: Other, port: int, folder: Path) -> Iterator[Row]:
    url = f"http://127.0.0.1:{port}/api"
    seen: list[tuple[int, float]] = []
    replicas = [_replica(url, folder / f"stream{number}") for number in range(WHOLE_REPLICAS)]
    for parts in replicas:
        parts.reference.read("image_generation")
        parts.reference.on_change(lambda change: seen.append((change.revision or 0, time.time())))
    command = [sys.executable, "-m", "benchmarks.holders", str(port), str(REPLICAS - WHOLE_REPLICAS)]
    holders = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    others = Other(holders)
    others.line()
    time.sleep(1.0)
    delays = []
    for _ in range(CHANGES):
        before = len(seen)
        committed = primary.apply()
        deadline = time.time() + 10
        while len(seen) < before + WHOLE_REPLICAS and time.time() < deadline:
            time.sleep(0.005)
        delays += [at - committed for _, at in seen[before:]]
        time.sleep(0.3)
    heard = others.end()
    for parts in replicas:
        parts.close()
    assert heard == CHANGES * (REPLICAS - WHOLE_REPLICAS), heard
    assert len(delays) == CHANGES * WHOLE_REPLICAS, f"{len(delays)} of {CHANGES * WHOLE_REPLICAS} were seen"
    delays.sort()
    what = f"committed -> visible, {REPLICAS} replicas hold the question"
    yield Row(f"{what}, p50", "", 0, delays[len(delays) // 2] * 1e3, 50, "ms", absolute=True)
    yield Row(f"{what}, p99", "", 0, delays[len(delays) * 99 // 100] * 1e3, 250, "ms", absolute=True)


def _latency_row(primary: Other, port: int, folder: Path) -> Row:
    """Reads while a thread does nothing but refresh, and a change comes with every refresh."""
    parts = _replica(f"http://127.0.0.1:{port}/api", folder / "latency", follow_changes=False)
    reference = parts.reference
    reference.warm()
    name = next(iter(reference.read("image_generation")))
    ends = threading.Event()

    def refresh() -> None:
        while not ends.is_set():
            primary.apply()
            reference.warm(fresh=True)

    refreshing = threading.Thread(target=refresh)
    refreshing.start()
    times = _read_times(reference, name, seconds=4.0)
    ends.set()
    refreshing.join(20)
    parts.close()
    return Row("`get_model` while a refresh runs, p99", "", 0, times[len(times) * 99 // 100] * 1e6, 20, absolute=True)


def _read_times(reference: Reference, name: str, seconds: float) -> list[float]:
    times, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        reference.model("image_generation", name)
        times.append(time.perf_counter() - began)
    return sorted(times)


def _dead_row(port: int, folder: Path) -> Row:
    """Every network dead (nobody listens), and on the disk what an earlier process remembered: the whole process."""
    parts = _replica(f"http://127.0.0.1:{port}/api", folder / "dead" / "horde_model_reference")
    parts.reference.warm()
    parts.close()
    more = {
        "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": "http://127.0.0.1:9/api",
        "GITHUB_PROXY_URL_BASE": "http://127.0.0.1:9",
    }
    floor, ours = in_turns(
        15, process("import pydantic_settings", folder / "dead"), process(_DEAD, folder / "dead", **more)
    )
    what = "cold start, every network dead, a cache, whole process"
    return Row(what, "`import pydantic_settings`", floor, ours, 1.5)


def measure() -> list[Row]:
    """All rows, with the data at hand."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _primary(folder / "primary") as (primary, port):
            rows = [*_wire_rows(primary, port, folder), _together_row(port, folder)]
            rows += _delay_rows(primary, port, folder)
            rows += [_latency_row(primary, port, folder), _dead_row(port, folder)]
        return rows


if __name__ == "__main__":
    print(table(measure()))
