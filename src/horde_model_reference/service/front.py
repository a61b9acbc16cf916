"""In front of the framework: a table from path to prepared answer, and what holds for every request.

What is in the table is right as long as the present moment is the one it was prepared in. The moment is looked up once
in each turn of the event loop, by the first request of that turn: all requests of a turn had arrived before it, so no
request that was sent after a change was acknowledged is answered as if there had been none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from horde_model_reference.errors import StoreError
from horde_model_reference.service.answers import KEEP, SECURITY, Headers, Ready
from horde_model_reference.service.errors import problem
from horde_model_reference.service.meter import Meter
from horde_model_reference.service.renderings import Origin

__all__ = ["Front", "Limits", "access_log"]

access_log = logging.getLogger("horde_model_reference.access")
_READS, _METHODS = ("GET", "HEAD"), ("DELETE", "GET", "PATCH", "POST", "PUT")
_PREFIX, _HELD = "/api/", ("/changes", "/changes/stream")
_LOGGED, _MOST_KEPT = 1_000, 50_000


@dataclass(frozen=True)
class Limits:
    """What a request may be: lengths in bytes, and how many seconds it may take. Who waits for changes may wait."""

    target: int = 8_192
    headers: int = 32_768
    body: int = 10 * 2**20
    seconds: float = 30.0

    def refuse(self, scope: Scope) -> Response | None:
        """What a request is answered that goes beyond them, before it costs anything."""
        headers = dict(scope["headers"])
        if len(_path(scope)) + len(scope["query_string"]) > self.target:
            return problem(414, f"The address is longer than {self.target} bytes")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self.headers:
            return problem(431, f"The headers are longer than {self.headers} bytes")
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers:
            return problem(411, "Say how long the body is: send a Content-Length")
        if not length.isdigit() or int(length[:20]) > self.body:
            return problem(413, f"The body is longer than {self.body} bytes")
        return None


class _Table(dict[bytes, tuple[Ready, str]]):
    """Answers with the names of their operations, of so many bytes at most; begins anew where it would hold more."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes, self._bytes = most_bytes, 0

    def add(self, key: bytes, ready: Ready, operation: str) -> None:
        size = 2 * len(ready.answer.body.data) + len(key)  # with its compressed forms, about
        if self._bytes + size > self._most_bytes or len(self) >= _MOST_KEPT:
            self.clear()
        if size <= self._most_bytes:
            self._bytes += size
            self[key] = ready, operation

    def clear(self) -> None:
        super().clear()
        self._bytes = 0


@dataclass
class Front:
    """One ASGI application in front of `app`, in one event loop."""

    app: ASGIApp
    origin: Origin
    meter: Meter
    routes: Callable[[], Sequence[BaseRoute]]
    has_cors: bool
    logs_access: bool
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moment: object = None
        self._is_looked_up = False
        self._table, self._searches = _Table(256 * 2**20), _Table(2 * 2**20)
        self._known: frozenset[bytes] = frozenset()  # what was prepared before the last change,
        self._making = dict[bytes, asyncio.Event]()  # and is made again now: once for all who ask meanwhile

    def find(self, scope: Scope) -> tuple[Ready, str] | None:
        """The prepared answer and the name of its operation; None where somebody has to be asked."""
        if scope["method"] not in _READS or not (self._is_looked_up or self._glance()):
            return None
        path: bytes = scope.get("raw_path") or _path(scope)
        return self.find_read(path, scope["query_string"], scope["headers"])

    def find_read(self, path: bytes, query: bytes, headers: Headers) -> tuple[Ready, str] | None:
        """The same for a read, by what travelled, right at the moment that was looked at last."""
        if self.has_cors and any(name == b"origin" for name, _ in headers):
            return None
        return self._searches.get(path + b"?" + query) if query else self._table.get(path)

    def done(self, scope: Scope, route: str, status: int, began: float) -> None:
        """Count a request that was answered."""
        seconds = time.perf_counter() - began
        self.meter.count(route, status, seconds)
        if self.logs_access:
            path, query = scope["path"][:_LOGGED], scope["query_string"].decode("latin-1")[:_LOGGED]
            facts = {"client": (scope.get("client") or ("",))[0], "method": scope["method"], "path": path}
            facts |= {"query": query, "status": status, "ms": round(seconds * 1000, 3)}
            access_log.info("%s", json.dumps(facts))

    def look(self) -> bool:
        """Whether a glance shows the present moment; then the table is right now."""
        try:
            moment = self.origin.glance()
        except StoreError:
            return False
        if moment is not None and moment != self._moment:
            self._is_now(moment)
        return moment is not None

    def _glance(self) -> bool:
        """The same for the whole turn of the loop."""
        if self.look():
            self._is_looked_up = True
            self._loop.call_soon(setattr, self, "_is_looked_up", False)
        return self._is_looked_up

    def _is_now(self, moment: object) -> None:
        self._moment, self._known = moment, frozenset(self._table)
        self._table.clear()
        self._searches.clear()

    async def ask(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        """Let the framework answer, within the limits, and keep the answer where it may be given again."""
        if not self._is_looked_up:  # it takes more than a glance
            moment = None
            with suppress(StoreError):
                moment = await self.origin.now()
            if moment is None or moment != self._moment:
                self._is_now(moment)
            facts = _path(scope), scope["query_string"], scope["headers"]
            if scope["method"] in _READS and (found := self.find_read(*facts)):
                return self.done(scope, found[1], await found[0].tell(scope, send), began)
        key = _path(scope) if scope["method"] in _READS and not scope["query_string"] else b""
        if (making := self._making.get(key)) is not None:
            await making.wait()
            if self.look() and (found := self.find_read(key, b"", scope["headers"])):
                return self.done(scope, found[1], await found[0].tell(scope, send), began)
        made = (
            self._making.setdefault(key, asyncio.Event()) if key in self._known and making is None else asyncio.Event()
        )
        try:
            await self._asked(scope, receive, send, began)
        finally:
            made.set()
            if self._making.get(key) is made:
                del self._making[key]

    async def _asked(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        asked = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        if f"{scope['path']}/".startswith(_PREFIX):  # every route is there with it, too
            asked["root_path"] = scope.get("root_path", "") + _PREFIX[:-1]
        told = _Told(send, scope["method"], self.origin, partial(self._allowed, asked))
        asked[KEEP] = partial(self._keep, self._moment, asked)
        is_held = scope["path"].endswith(_HELD) and scope["method"] == "GET"
        try:
            async with asyncio.timeout(None if is_held else self.limits.seconds):
                await (self.limits.refuse(asked) or self._options(asked) or self.app)(asked, receive, told)
        except TimeoutError:
            if not told.status:
                await problem(503, f"It took longer than {self.limits.seconds:g} seconds")(scope, receive, told)
        finally:
            self.done(scope, _operation(asked), told.status or 500, began)

    def _options(self, scope: Scope) -> ASGIApp | None:
        said = {name for name, _ in scope["headers"]}
        if scope["method"] != "OPTIONS" or (self.has_cors and said >= {b"origin", b"access-control-request-method"}):
            return None
        return Response(status_code=204) if self._allowed(scope) else problem(404, "Not Found")

    def _keep(self, moment: object, asked: Scope, ready: Ready) -> None:
        if moment is not self._moment or moment is None:
            return
        if query := asked["query_string"]:  # there are as many as anybody thinks of
            self._searches.add(_path(asked) + b"?" + query, ready, _operation(asked))
        else:
            self._table.add(_path(asked), ready, _operation(asked))

    def _allowed(self, scope: Scope) -> str:
        """The methods that the path has, as `Allow` lists them; empty where there is no such path."""

        def has(method: str) -> bool:
            return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in self.routes())

        methods = [method for method in _METHODS if has(method)]
        return ", ".join(sorted([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])) if methods else ""


@dataclass
class _Told:
    """What the framework says, on its way out: the headers that every answer has are added, `HEAD` gets no body."""

    send: Send
    method: str
    origin: Origin
    allowed: Callable[[], str]
    status: int = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = dict(self._own(message.get("headers", [])))
            headers = [each for each in message.get("headers", []) if each[0] != b"allow" or b"allow" not in own]
            there = {name for name, _ in headers}
            message = {**message, "headers": headers + [each for each in own.items() if each[0] not in there]}
        elif self.method == "HEAD":
            return
        await self.send(message)
        if self.method == "HEAD":
            await self.send({"type": "http.response.body", "body": b""})  # a stream would never come to its end

    def _own(self, headers: Headers) -> Headers:
        is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)
        own = [each for each in SECURITY if not (is_page and each[0] == b"content-security-policy")]
        if self.status == 204:  # there is nothing that they could protect from, and replicas get it all day
            own = []
        if (revision := self.origin.revision) is not None:
            own.append((b"x-reference-revision", b"%d" % revision))
        if (self.status == 405 or self.method == "OPTIONS") and (allowed := self.allowed()):
            own.append((b"allow", allowed.encode()))
        return own


def _path(scope: Scope) -> bytes:
    return scope.get("raw_path") or cast("str", scope["path"]).encode()


def _operation(scope: Scope) -> str:
    route = scope.get("route")
    named = scope.get("operation"), getattr(route, "operation_id", None), getattr(route, "name", None)
    return next(filter(None, named), "none")
