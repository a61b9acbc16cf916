"""HTTP, behind one module: the only place that knows which library speaks it.

All requests of a process run in one event loop on a daemon thread: there a deadline is exact, also for a name that does
not resolve and an answer that drips, connections are shared by threads and loops alike, and the end of the process
interrupts what is under way. The library is imported there too: who reads what is on the disk does not wait for that.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
import zlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from importlib import import_module
from socket import SOCK_STREAM
from typing import TYPE_CHECKING, Any, cast

from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Request, Response, refused
from horde_model_reference.process import ForkLock

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpNetwork"]

_HEADERS = {"user-agent": "horde-model-reference/8.90", "accept-encoding": "gzip"}
_REDIRECTS, _CONNECTIONS, _KEPT_SECONDS = 5, 8, 70.0
_CHUNK = 1 << 20
_CLOSING_SECONDS = 1.0


class HttpNetwork:
    """The network by httpx. Nothing is opened before the first request; safe across threads, loops and forks."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._closed = False
        self._lines: dict[int, _Line] = {}  # by process: after a fork the sockets are the parent's, who uses them
        weakref.finalize(self, _hang_up, self._lines)

    def begin(self, request: Request) -> Future[Response]:
        with self._lock:
            if self._closed:
                return refused(request, "the network was closed")
            try:
                line = self._lines.get(os.getpid()) or _Line()
            except (RuntimeError, OSError) as error:  # no thread, or no more files, can be had
                return refused(request, str(error))
            self._lines[os.getpid()] = line
            return line.begin(request)

    def close(self) -> None:
        """Close the connections, and refuse what is under way and whatever comes later."""
        with self._lock:
            self._closed = True
        for future in _hang_up(self._lines):
            if not future.done():
                future.set_exception(SourceUnavailable("the network", "it was closed"))


def _hang_up(lines: dict[int, _Line]) -> list[Future[Response]]:
    """Gives what was never answered; at exit nobody is told: only daemon threads still wait, and would only log it."""
    line = lines.pop(os.getpid(), None)
    return line.close() if line is not None else []


class _Line:
    """An event loop on a thread of its own, and the one client in it."""

    def __init__(self) -> None:
        self._waiting: set[Future[Response]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)  # its timings are not what a program in development mode wants to read
        self._loop.set_default_executor(_DaemonThreads())
        self._thread = threading.Thread(target=self._serve, name="horde-http", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def begin(self, request: Request) -> Future[Response]:
        future: Future[Response] = Future()
        self._waiting.add(future)
        ends = self._loop.time() + request.deadline
        self._loop.call_soon_threadsafe(self._start, request, ends, future)
        return future

    def _start(self, request: Request, ends: float, future: Future[Response]) -> None:
        task = self._loop.create_task(self._answer(request, ends, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> list[Future[Response]]:
        """End the thread; gives what was never answered."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._end()))
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_SECONDS)
        return list(self._waiting)

    def _serve(self) -> None:
        with suppress(ImportError):  # whoever asks is told
            import_module("httpx")  # before the loop runs: it takes as long as several requests
        self._loop.run_forever()
        self._loop.close()

    async def _end(self) -> None:
        for task in self._tasks:  # only these: they know how to end what they have begun
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
        await self._loop.shutdown_asyncgens()  # those of answers that were given up half-way
        self._loop.stop()

    async def _answer(self, request: Request, ends: float, future: Future[Response]) -> None:
        task = asyncio.current_task()

        def over(_: object) -> None:
            self._waiting.discard(future)
            if future.cancelled() and task is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(over)
        try:
            answer = await self._send(request, ends)
        except SourceUnavailable as refusal:
            if future.set_running_or_notify_cancel():
                future.set_exception(refusal)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(answer)

    async def _send(self, request: Request, ends: float) -> Response:
        try:
            async with asyncio.timeout_at(ends):
                client = self._opened()
                client.cookies.clear()  # nobody here has a session, and what servers hang on us would only grow
                async with client.stream(request.method, **await self._aimed(request)) as answer:
                    plain = [str(each.url) for each in (*answer.history, answer) if each.url.scheme != "https"]
                    if plain and request.url.startswith("https:"):
                        raise SourceUnavailable(request.url, f"redirected to {plain[0]}, which is not encrypted")
                    told = {name.lower(): value for name, value in answer.headers.items()}
                    return Response(answer.status_code, told, await _body(answer, request))
        except TimeoutError as error:
            raise SourceUnavailable(request.url, f"no whole answer within {request.deadline:.3g} s") from error
        except SourceUnavailable:
            raise
        except Exception as error:  # a driver: what got away would leave its caller waiting for ever
            raise SourceUnavailable(request.url, _reason(error)) from error

    async def _aimed(self, request: Request) -> dict[str, Any]:
        """Where to: the address itself where it was looked at, lest the name resolve to another one a moment later."""
        aim: dict[str, Any] = {"url": request.url, "headers": request.headers, "content": request.content or None}
        if request.reachable is None:
            return aim | {"follow_redirects": "apikey" not in request.headers}  # a key is for who it was addressed to
        import httpx

        url = httpx.URL(request.url)
        host = url.raw_host.decode()
        found = [str(each[4][0]) for each in await self._loop.getaddrinfo(host, url.port or 443, type=SOCK_STREAM)]
        if not all(map(request.reachable, found)):
            raise SourceUnavailable(request.url, f"is at {', '.join(found)}, which may not be reached from here")
        # Connections are kept by address, and another name at the same one has another certificate.
        headers = {**request.headers, "host": url.netloc.decode(), "connection": "close"}
        aim |= {"url": url.copy_with(host=found[0]), "headers": headers, "follow_redirects": False}
        return aim | {"extensions": {"sni_hostname": host}}

    def _opened(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_KEPT_SECONDS)
            off = httpx.Timeout(None)  # the deadline is over the whole answer, not over each step of it
            try:
                client = httpx.AsyncClient(timeout=off, follow_redirects=True, max_redirects=_REDIRECTS, limits=limits)
            except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
                raise SourceUnavailable("HTTP", f"the proxy or TLS variables cannot be used: {error}") from error
            for name in ("accept", "connection"):  # they say nothing, and a poll of ours is all headers
                del client.headers[name]
            client.headers.update(_HEADERS)
            self._client = client
        return self._client


def _reason(error: BaseException) -> str:
    """What the operating system said, below what the libraries made of it."""
    below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if below is not None:
        return _reason(below)
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _DaemonThreads(ThreadPoolExecutor):
    """For what asyncio does in threads (resolving names): no such thread ever keeps the interpreter from exiting."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args, **options))
                except Exception as error:  # noqa: BLE001  (a driver: whoever waits for the future has it)
                    future.set_exception(error)

        threading.Thread(target=work, name="horde-http-lookup", daemon=True).start()
        return future


async def _body(answer: httpx.Response, request: Request) -> bytes:
    """The whole body, decompressed piece by piece so that a small answer cannot become a huge one unnoticed."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise SourceUnavailable(request.url, f"the answer is encoded as {encoding!r}, which nobody asked for")
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    pieces, size = [], 0
    async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_raw())) as raw:
        async for rest in raw:
            while rest:
                piece = unzip.decompress(rest, _CHUNK) if unzip else rest
                rest = unzip.unconsumed_tail if unzip else b""  # noqa: PLW2901  (what is left of this piece)
                if unzip and unzip.unused_data:
                    raise SourceUnavailable(request.url, "there is more after the end of the compressed answer")
                pieces.append(piece)
                size += len(piece)
                if size > request.max_bytes:
                    raise SourceUnavailable(request.url, f"the answer is larger than {request.max_bytes} bytes")
    if unzip is not None and size:
        pieces.append(unzip.flush())
        if not unzip.eof:
            raise SourceUnavailable(request.url, "the compressed answer breaks off")
    return b"".join(pieces)
