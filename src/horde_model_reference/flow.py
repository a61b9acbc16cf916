"""One implementation of every read for sync and async callers.

A *flow* is a generator that yields what it wants done and gets the result back; it never waits itself. Two drivers run
it: `run` on the caller's thread, `run_async` inside an event loop. Everything between a public method and the network
is written once, as flows, and composed with `yield from`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from horde_model_reference.errors import SourceUnavailable

__all__ = [
    "All",
    "AsyncFetcher",
    "Call",
    "Effect",
    "Fetch",
    "Flow",
    "Network",
    "NoNetwork",
    "Request",
    "Response",
    "run",
    "run_async",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. `deadline` is for the whole answer in seconds, `max_bytes` bounds its decoded body."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 10.0
    max_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: any status, header names in lower case, the decoded body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Wants an HTTP answer. The driver raises `SourceUnavailable` into the flow where there is none."""

    request: Request


@dataclass(frozen=True, slots=True)
class Call:
    """Wants a blocking function called; what it raises is raised into the flow."""

    function: Callable[[], object]


@dataclass(frozen=True, slots=True)
class All:
    """Wants several flows run: at once in a loop, one after the other on a thread.

    Gives their results. Where some fail, the failure of the first of them in order is raised into the flow.
    """

    flows: Sequence[Flow[Any]]


Effect: TypeAlias = "Fetch | Call | All"
Flow: TypeAlias = Generator[Effect, Any, T]


class AsyncFetcher(Protocol):
    """Sends requests inside an event loop."""

    async def send(self, request: Request) -> Response:
        """The answer; raises `SourceUnavailable`."""


class Network(Protocol):
    """The way out of this process, in both colours."""

    def send(self, request: Request) -> Response:
        """The answer, waited for on the calling thread; raises `SourceUnavailable`."""

    def open_async(self) -> AbstractAsyncContextManager[AsyncFetcher]:
        """A fetcher for the running loop, closed when the block ends."""


class NoNetwork:
    """The network of a reader that must not have one: every request is refused, and nothing is ever opened."""

    def send(self, request: Request) -> Response:
        raise SourceUnavailable(request.url, "this reader is offline")

    @asynccontextmanager
    async def open_async(self) -> AsyncIterator[AsyncFetcher]:
        yield _Refusing()


class _Refusing(AsyncFetcher):
    async def send(self, request: Request) -> Response:
        return NoNetwork().send(request)


def run(flow: Flow[T], network: Network) -> T:
    """Drive a flow to its end on this thread."""

    def do(effect: Effect) -> object:
        if isinstance(effect, Fetch):
            return network.send(effect.request)
        if isinstance(effect, All):
            return [run(part, network) for part in effect.flows]
        return _call(effect.function)

    try:
        effect = next(flow)
        while True:
            try:
                result = do(effect)
            except Exception as error:  # noqa: BLE001  (the flow decides what to do about it)
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


async def run_async(flow: Flow[T], network: Network) -> T:
    """Drive a flow to its end inside the running loop; what blocks runs in a thread, so the loop never waits."""
    async with network.open_async() as fetcher:
        return await _drive(flow, fetcher)


async def _drive(flow: Flow[T], fetcher: AsyncFetcher) -> T:
    async def do(effect: Effect) -> object:
        if isinstance(effect, Fetch):
            return await fetcher.send(effect.request)
        if isinstance(effect, All):
            ends = await asyncio.gather(*(_drive(part, fetcher) for part in effect.flows), return_exceptions=True)
            for failure in (end for end in ends if isinstance(end, BaseException)):
                raise failure
            return ends
        return await asyncio.to_thread(_call, effect.function)

    try:
        effect = next(flow)
        while True:
            try:
                result = await do(effect)
            except Exception as error:  # noqa: BLE001  (the flow decides what to do about it)
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


def _call(function: Callable[[], object]) -> object:
    try:
        return function()
    except StopIteration as leak:  # no future can hold one: whoever awaits it would wait for ever
        raise RuntimeError(f"{function} raised StopIteration") from leak
