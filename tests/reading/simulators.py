"""A server that speaks HTTP on loopback, as well or as badly as a test wants, and a PRIMARY made of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType


class Reset(Exception):
    """Raised by an answer: the connection is reset at this point."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]


Answer = Callable[[Asked], Iterator[bytes]]


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; underscores in header names stand for dashes."""
    fields = {"content_length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Loopback:
    """Answers each request with the pieces that `answer` yields. `requests` is what was asked, in order."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[Asked] = []
        self.answer = answer
        outer = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while asked := _read(self.rfile):
                        outer.requests.append(asked)
                        try:
                            for piece in outer.answer(asked):
                                self.wfile.write(piece)
                        except Reset:
                            linger = struct.pack("ii", 1, 0)
                            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                            return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Connection)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _read(stream: object) -> Asked | None:
    first = stream.readline()  # type: ignore[attr-defined]
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := stream.readline().strip():  # type: ignore[attr-defined]
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Asked(first.decode("latin-1").split()[1], headers)


@dataclass
class Primary:
    """A PRIMARY: the categories it has as v2 documents, entity tags, a revision. `broken` replaces every answer."""

    records: dict[str, object] = field(default_factory=dict)
    broken: bytes | None = None
    revision: int = 7

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        category = asked.path.rpartition("/")[2]
        if self.broken is not None:
            yield self.broken
        elif category not in self.records:
            yield http(404, b'{"detail": "unknown"}')
        else:
            body = json.dumps(self.records[category]).encode()
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            same = asked.headers.get("if-none-match") == tag
            yield http(304 if same else 200, b"" if same else body, etag=tag, x_reference_revision=str(self.revision))


@dataclass
class FeedingPrimary(Primary):
    """A PRIMARY that also tells what changed. `feed` replaces the answer of the feed, `whole` that of a category."""

    changes: list[dict[str, object]] = field(default_factory=list)
    feed: bytes | None = None
    whole: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        name = asked.path.rpartition("/")[2]
        if self.broken is not None:
            yield self.broken
        elif name.startswith("changes?"):
            yield self.feed or self._told(int(name.partition("since=")[2].partition("&")[0]))
        elif name in self.whole:
            yield self.whole[name]
        else:
            yield from super().__call__(asked)

    def put(self, category: str, name: str, record: object) -> None:
        """Create or update a record; an update keeps its place."""
        documents = self.records.setdefault(category, {})
        assert isinstance(documents, dict)
        self._happened(category, name, "update" if name in documents else "create", record)
        documents[name] = record

    def delete(self, category: str, name: str) -> None:
        """Delete a record."""
        documents = self.records[category]
        assert isinstance(documents, dict)
        self._happened(category, name, "delete", None)
        del documents[name]

    def _happened(self, category: str, name: str, operation: str, record: object) -> None:
        self.revision += 1
        facts = {"revision": self.revision, "at": 1_700_000_000_000, "category": category, "name": name}
        self.changes.append({**facts, "operation": operation, "record": record})

    def _told(self, since: int) -> bytes:
        later = [change for change in self.changes if change["revision"] > since]  # type: ignore[operator]
        if not later:
            return http(204, x_reference_revision=str(self.revision))
        return http(200, json.dumps({"revision": self.revision, "changes": later, "more": False}).encode())


@dataclass
class Relay:
    """The two repositories behind a relay: files by path, told apart by `etag` or by `last_modified`."""

    files: dict[str, bytes] = field(default_factory=dict)
    validator: str = "etag"
    status: int | None = None

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        body = self.files.get(asked.path)
        if self.status is not None:
            yield http(self.status)
        elif body is None:
            yield http(404, b"404: Not Found")
        else:
            digest = hashlib.sha256(body).hexdigest()
            tag = (
                f'W/"{digest}"' if self.validator == "etag" else f"Mon, 23 Nov 2026 10:00:{int(digest, 16) % 60:02} GMT"
            )
            condition = "if-none-match" if self.validator == "etag" else "if-modified-since"
            same = asked.headers.get(condition) == tag
            yield http(304 if same else 200, b"" if same else body, **{self.validator: tag})
