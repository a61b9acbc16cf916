"""HTTP, behind one module: the only place that knows which library speaks it.

One TLS context and one synchronous client per process, kept, because building them is what costs. Every answer has a
deadline for the whole of it and a limit on its decoded size, whatever the peer does.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import AsyncFetcher, Request, Response

__all__ = ["HttpNetwork"]

_USER_AGENT = "horde-model-reference/8.90 (+https://aihorde.net)"


class HttpNetwork:
    """The network by httpx. Nothing is opened before the first request; safe across threads, loops and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._tls: ssl.SSLContext | None = None
        self._owner = os.getpid()

    def send(self, request: Request) -> Response:
        ends = time.monotonic() + request.deadline
        with (
            _failures(request),
            self._sync_client().stream("GET", request.url, headers=request.headers, timeout=request.deadline) as answer,
        ):
            body = _Body(request, ends)
            for chunk in answer.iter_bytes():
                body.add(chunk)
            return body.response(answer)

    @asynccontextmanager
    async def open_async(self) -> AsyncIterator[AsyncFetcher]:
        fetcher = _LoopFetcher(self)
        try:
            yield fetcher
        finally:
            await fetcher.aclose()

    def close(self) -> None:
        """Close the connections that are kept; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._owner == os.getpid():
            client.close()

    def tls(self) -> ssl.SSLContext:
        """The one TLS context of this process."""
        with self._lock:
            self._tls = self._tls or httpx.create_ssl_context()
            return self._tls

    def _sync_client(self) -> httpx.Client:
        tls = self.tls()
        with self._lock:
            if self._client is None or self._owner != os.getpid():  # after a fork the sockets are the parent's
                self._owner = os.getpid()
                self._client = httpx.Client(verify=tls, follow_redirects=True, headers={"user-agent": _USER_AGENT})
            return self._client


class _LoopFetcher:
    """The client of one event loop, made at the first request and closed with the flow that used it."""

    def __init__(self, network: HttpNetwork) -> None:
        self._network = network
        self._client: httpx.AsyncClient | None = None

    async def send(self, request: Request) -> Response:
        if self._client is None:
            headers = {"user-agent": _USER_AGENT}
            self._client = httpx.AsyncClient(verify=self._network.tls(), follow_redirects=True, headers=headers)
        ends = time.monotonic() + request.deadline
        with _failures(request):
            async with self._client.stream(
                "GET", request.url, headers=request.headers, timeout=request.deadline
            ) as answer:
                body = _Body(request, ends)
                async for chunk in answer.aiter_bytes():
                    body.add(chunk)
                return body.response(answer)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()


class _Body:
    """Collects the chunks of one answer and stops it at its limits."""

    def __init__(self, request: Request, ends: float) -> None:
        self._request = request
        self._ends = ends
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > self._request.max_bytes:
            raise SourceUnavailable(self._request.url, f"the answer is larger than {self._request.max_bytes} bytes")
        if time.monotonic() > self._ends:
            raise SourceUnavailable(self._request.url, f"no whole answer within {self._request.deadline:g} s")

    def response(self, answer: httpx.Response) -> Response:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, b"".join(self._chunks))


@contextmanager
def _failures(request: Request) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        reason = f"no answer within {request.deadline:g} s ({type(error).__name__})"
        raise SourceUnavailable(request.url, reason) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise SourceUnavailable(request.url, str(error) or type(error).__name__) from error
