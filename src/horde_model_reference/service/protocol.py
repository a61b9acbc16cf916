"""How `hmr serve` speaks HTTP: prepared answers at once, and an end to how long the head of a request may be or take.

An ASGI application sees a request when its head is complete; one that never completes must not cost memory either. And
what lies ready needs no application: the objects that a server makes for it cost twice what the answer does.
"""

from __future__ import annotations

import time
from asyncio import Transport
from asyncio.events import TimerHandle
from collections.abc import Mapping
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from horde_model_reference.service.front import Front

__all__ = ["BoundedProtocol"]

_LARGE = 65_536
_ANSWER = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LONG = {False: _ANSWER % b"414 URI Too Long", True: _ANSWER % b"431 Request Header Fields Too Large"}


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is too long (414, 431), or does not come (408)."""

    most_bytes, most_seconds = 65_536, 15.0
    url = b""
    _head_bytes = 0
    _has_ended = _is_answered = False
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.most_seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        if not self._is_answered_at_once():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_ended = True
        if not self._is_answered:
            super().on_message_complete()
            return
        self._is_answered = False
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _is_answered_at_once(self) -> bool:
        """Answer where the answer lies ready, nothing else is under way and the reader takes what it is sent."""
        front, cycle = self._front(), cast("RequestResponseCycle | None", self.cycle)
        is_busy = self.flow.write_paused or (cycle is not None and not cycle.response_complete)
        if front is None or is_busy or self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1":
            return False
        if self.parser.should_upgrade() or self.expect_100_continue or self.transport.is_closing():
            return False
        began = time.perf_counter()
        if not front.look():  # each time: what has just arrived may know of a change that this turn has not seen
            return False
        path, _, query = self.url.partition(b"?")
        found = front.find_read(path, query, self.headers)
        if found is None or (answer := found[0].at_once(self.headers)) is None:
            return False
        status, lines, data = answer
        self._send(status, lines, data)
        front.meter.count(found[1], status, time.perf_counter() - began)
        self.scope["method"], self._is_answered = "GET", True
        self.server_state.total_requests += 1
        return True

    def _front(self) -> Front | None:
        """The table, where it may be read from here: a log wants to know who asked."""
        front: Front | None = getattr(self.app, "front", None)
        return None if front is None or front.logs_access or self.root_path else front

    def _send(self, status: int, lines: bytes, data: bytes) -> None:
        own = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        last = b"\r\n" if self.parser.should_keep_alive() else b"connection: close\r\n\r\n"
        head = b"".join((STATUS_LINE[status], own, lines, last))
        if len(data) < _LARGE:
            self.transport.write(head + data)
        else:
            self.transport.writelines((head, data))
        if not self.parser.should_keep_alive():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._has_ended = False
        super().data_received(data)
        scope = cast("Mapping[str, object] | None", self.scope)
        if scope is not None and "method" in scope:  # the head is complete
            if self._deadline is not None:
                self._end_deadline()
            return
        # A piece in which a request ended may have been most of that: the next head counts from the next piece on.
        self._head_bytes = 0 if self._has_ended else self._head_bytes + len(data)
        if self._head_bytes > self.most_bytes:
            self._end(_TOO_LONG[2 * len(self.url) < self._head_bytes])  # a header is told of when it is complete
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.most_seconds, self._too_late)

    def _too_late(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:  # the next request may wait for the answer to this one
            self._deadline = self.loop.call_later(self.most_seconds, self._too_late)
            return
        self._end(_ANSWER % b"408 Request Timeout")

    def _end(self, answer: bytes) -> None:
        self._end_deadline()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _end_deadline(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
