"""One implementation of every read for sync and async callers.

A *flow* is a generator that yields what it wants done and gets the result back; it never waits itself. Two drivers run
it: `run` on the caller's thread, `run_async` inside an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from horde_model_reference.errors import SourceUnavailable

__all__ = ["All", "Call", "Effect", "Fetch", "Flow", "Hurried", "Network", "NoNetwork", "Pause", "Request", "Response"]
__all__ += ["refused", "run", "run_async"]

_SHARE_OF_ONE = 0.6
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A question over HTTP. `deadline` is for the whole answer in seconds, `max_bytes` bounds its decoded body.

    One with an `apikey` among its headers, which are never shown, follows no redirect. Nor does one with `reachable`,
    and it is connected only to an IP address of which that is true.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline: float = 10.0
    max_bytes: int = 64 * 1024 * 1024
    method: str = "GET"
    content: bytes = field(default=b"", repr=False)
    reachable: Callable[[str], bool] | None = None


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
class Pause:
    """Wants to go on after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class All:
    """Wants several flows run: at once in a loop, else one after the other. The first failure in order is raised."""

    flows: Sequence[Flow[Any]]


Effect: TypeAlias = "Fetch | Call | Pause | All"
Flow: TypeAlias = Generator[Effect, Any, T]


class Network(Protocol):
    """The way out of this process, for callers of both colours."""

    def begin(self, request: Request) -> Future[Response]:
        """Send it; never blocks. Within its deadline the future has the answer or `SourceUnavailable`."""

    def close(self) -> None:
        """Give back connections; what is under way and whatever comes later is refused."""


class NoNetwork:
    """The network of a reader that must not have one: every request is refused, and nothing is ever opened."""

    def begin(self, request: Request) -> Future[Response]:
        return refused(request, "this reader is offline")

    def close(self) -> None:
        """Nothing is open."""


def refused(request: Request, reason: str) -> Future[Response]:
    """The answer of a network that does not send it."""
    future: Future[Response] = Future()
    future.set_exception(SourceUnavailable(request.url, reason))
    return future


class Hurried:
    """A network for so many seconds from now, of which no request gets more than three fifths of what is left, so that
    something is left for who is asked next. What is asked of it later is refused."""

    def __init__(self, network: Network, seconds: float) -> None:
        self._network, self._seconds = network, seconds
        self._ends = time.monotonic() + seconds

    def begin(self, request: Request) -> Future[Response]:
        left = self._ends - time.monotonic()
        if left <= 0:
            return refused(request, f"no answer within {self._seconds:g} s")
        return self._network.begin(replace(request, deadline=min(request.deadline, left * _SHARE_OF_ONE)))

    def close(self) -> None:
        self._network.close()


def run(flow: Flow[T], network: Network) -> T:
    """Drive a flow to its end on this thread."""

    async def do(effect: Effect) -> object:
        if isinstance(effect, All):
            return [run(part, network) for part in effect.flows]
        if isinstance(effect, Fetch):
            future = network.begin(effect.request)
            try:
                return future.result()
            except BaseException:
                future.cancel()  # who was interrupted does not want the answer any more
                raise
        return _call(effect.function if isinstance(effect, Call) else partial(time.sleep, effect.seconds))

    try:
        _driven(flow, do).send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise AssertionError("what `do` does never waits for a loop")


async def run_async(flow: Flow[T], network: Network) -> T:
    """Drive a flow to its end inside the running loop; what blocks runs in a thread, so the loop never waits."""

    async def do(effect: Effect) -> object:
        if isinstance(effect, Fetch):
            return await asyncio.wrap_future(network.begin(effect.request))
        if isinstance(effect, All):
            parts = [asyncio.ensure_future(run_async(part, network)) for part in effect.flows]
            await asyncio.gather(*parts, return_exceptions=True)
            return [part.result() for part in parts]
        if isinstance(effect, Call):
            return await asyncio.to_thread(_call, effect.function)
        await asyncio.sleep(effect.seconds)
        return None

    return await _driven(flow, do)


async def _driven(flow: Flow[T], do: Callable[[Effect], Awaitable[object]]) -> T:
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
