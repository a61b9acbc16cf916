"""The servers that are measured, each a process of its own: ours, a bare application, nginx; and a process that writes.

Ours and the bare one are run by the same words, as operators run ours with uvicorn.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench_reading import ROOT, environment

__all__ = ["API", "Answer", "Writer", "bare", "fetch", "model_path", "nginx", "ours", "resident", "writer"]

API = "/api/model_references/v2"
_UVICORN = "--loop uvloop --http httptools --no-access-log --no-proxy-headers --no-server-header --log-level warning"
_OF_THE_SERVER = ("date", "server", "connection")
_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit; {user}
events {{ worker_connections 2048; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=100;
    default_type application/json; gzip_static on; {temporary}
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


@dataclass(frozen=True)
class Answer:
    """What a server answered; `seconds` from the question to the last byte."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """The value of a header that must be there."""
        return next(value for each, value in self.headers if each.lower() == name)


def fetch(port: int, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": "identity", **(headers or {})})
    response = connection.getresponse()
    body = response.read()
    seconds = time.perf_counter() - began
    connection.close()
    told = [each for each in response.getheaders() if each[0].lower() not in _OF_THE_SERVER]
    return Answer(response.status, told, body, seconds)


def model_path(category: str, name: str) -> str:
    """Where a record is read."""
    return f"{API}/{category}/model/{quote(name, safe='')}"


@contextlib.contextmanager
def ours(database: str, home: Path) -> Iterator[tuple[int, int]]:
    """The port and the process of one worker of the read service over that database."""
    own = {"HORDE_MODEL_REFERENCE_REPLICATE_MODE": "PRIMARY", "HORDE_MODEL_REFERENCE_DATABASE_URL": database}
    port = _free_port()
    command = [sys.executable, "-m", "horde_model_reference", "serve", "--port", str(port)]
    with _running(command, environment(home) | own, port, "/api/heartbeat") as process:
        yield port, process


@contextlib.contextmanager
def bare(answer: Answer, folder: Path) -> Iterator[int]:
    """The port of an application that gives that answer, and does nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"status": answer.status, "headers": answer.headers, "body": str(folder / "body")}
    (folder / "body").write_bytes(answer.body)
    (folder / "answer.json").write_text(json.dumps(told))
    own = {"PYTHONPATH": str(ROOT), "BARE_ANSWER": str(folder / "answer.json")}
    with _uvicorn(["--lifespan", "off", "benchmarks.service_bare:app"], environment(folder) | own, "/") as running:
        yield running[0]


@contextlib.contextmanager
def nginx(files: Mapping[str, bytes], folder: Path) -> Iterator[int | None]:
    """The port of one worker of nginx that serves those files; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        yield None
        return
    for name, data in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    port = _free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    words = _NGINX.format(folder=folder, port=port, temporary=temporary, user=user)
    (folder / "nginx.conf").write_text(words)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
    with _running(command, dict(os.environ), port, f"/{next(iter(files))}"):
        yield port


@dataclass(frozen=True)
class Writer:
    """Another process, which writes. `apply` changes a record of that category there."""

    process: subprocess.Popen[str]

    def apply(self, category: str) -> float:
        """Gives the Unix time of the commit."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(category, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


@contextlib.contextmanager
def writer(database: str, home: Path) -> Iterator[Writer]:
    """A process that writes to that database."""
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    command = [sys.executable, "-m", "benchmarks.service_writer", database]
    env = environment(home) | {"PYTHONPATH": path}
    with subprocess.Popen(
        command, env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            yield Writer(running)
        finally:
            assert running.stdin is not None
            running.stdin.close()
            running.wait(20)


def resident(process: int) -> float | None:
    """How much memory a process holds, in megabytes; None where the system does not tell."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/status").read_text().split()
        return int(words[words.index("VmRSS:") + 1]) / 1024
    return None


@contextlib.contextmanager
def _uvicorn(words: list[str], env: dict[str, str], path: str) -> Iterator[tuple[int, int]]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), *_UVICORN.split(), *words]
    with _running(command, env, port, path) as process:
        yield port, process


@contextlib.contextmanager
def _running(command: list[str], env: dict[str, str], port: int, path: str) -> Iterator[int]:
    """The process, from its first answer until the block ends."""
    with subprocess.Popen(command, env=env) as process:
        try:
            deadline = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError):
                    fetch(port, path)
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"it did not start: {' '.join(command)}")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
