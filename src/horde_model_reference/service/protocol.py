"""How `hmr serve` reads requests: with an end to how long the head of one may be, and how long it may take to come.

An ASGI application sees a request when its head is complete; one that never completes must not cost memory either.
"""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle
from collections.abc import Mapping
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["BoundedProtocol"]

_ANSWER = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LONG = {False: _ANSWER % b"414 URI Too Long", True: _ANSWER % b"431 Request Header Fields Too Large"}


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is too long (414, 431), or does not come (408)."""

    most_bytes, most_seconds = 65_536, 15.0
    url = b""
    _head_bytes = 0
    _has_ended = False
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.most_seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def on_message_complete(self) -> None:
        self._has_ended = True
        super().on_message_complete()

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
