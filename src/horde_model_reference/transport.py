"""HTTP, behind one module: the only place that knows which library speaks it.

One TLS context and one synchronous client per process, kept, because building them is what costs. Every answer has a
limit on its decoded size and a deadline for the whole of it. Inside a loop the deadline is exact; a thread notices it
between two pieces of the body.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx

from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import AsyncFetcher, Request, Response
from horde_model_reference.forks import ForkLock

__all__ = ["HttpNetwork"]

_HEADERS = {"user-agent": "horde-model-reference/8.90 (+https://aihorde.net)"}


class HttpNetwork:
    """The network by httpx. Nothing is opened before the first request; safe across threads, loops and forks."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[int, httpx.Client] = {}
        """By process: after a fork the sockets are the parent's, who goes on using them."""
        weakref.finalize(self, _close, self._clients)

    def send(self, request: Request) -> Response:
        body = _Body(request)
        with (
            _failures(request),
            self._client().stream("GET", request.url, headers=request.headers, timeout=request.deadline) as answer,
        ):
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
            _close(self._clients)

    def tls(self) -> ssl.SSLContext:
        """The one TLS context of this process."""
        with self._lock:
            self._tls = self._tls or httpx.create_ssl_context()
            return self._tls

    def _client(self) -> httpx.Client:
        with self._lock:
            found = self._clients.get(os.getpid())
            if found is None:
                found = httpx.Client(verify=self.tls(), follow_redirects=True, headers=_HEADERS)
                self._clients[os.getpid()] = found
            return found


class _LoopFetcher(AsyncFetcher):
    """The client of one event loop, made at the first request and closed with the flow that used it."""

    def __init__(self, network: HttpNetwork) -> None:
        self._network = network
        self._client: httpx.AsyncClient | None = None

    async def send(self, request: Request) -> Response:
        body = _Body(request)
        with _failures(request):
            client = await self._opened()
            async with (
                asyncio.timeout(request.deadline),
                client.stream("GET", request.url, headers=request.headers, timeout=None) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    body.add(chunk)
                return body.response(answer)

    async def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            tls = await asyncio.to_thread(self._network.tls)
            if self._client is None:  # nobody else made it meanwhile
                self._client = httpx.AsyncClient(verify=tls, follow_redirects=True, headers=_HEADERS)
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()


@dataclass
class _Body:
    """Collects the chunks of one answer and stops it at its limits."""

    request: Request
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.ends = time.monotonic() + self.request.deadline

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.chunks.append(chunk)
        if self.size > self.request.max_bytes:
            raise SourceUnavailable(self.request.url, f"the answer is larger than {self.request.max_bytes} bytes")
        if time.monotonic() > self.ends:
            raise TimeoutError

    def response(self, answer: httpx.Response) -> Response:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, b"".join(self.chunks))


@contextmanager
def _failures(request: Request) -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise SourceUnavailable(request.url, f"no whole answer within {request.deadline:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        # The last two: a proxy in the environment that httpx does not know, or has no package for.
        raise SourceUnavailable(request.url, str(error) or type(error).__name__) from error


def _close(clients: dict[int, httpx.Client]) -> None:
    client = clients.pop(os.getpid(), None)
    if client is not None:
        client.close()
