"""The two drivers of flows: whatever a flow does, a thread and an event loop see the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import (
    All,
    Call,
    Fetch,
    Flow,
    Hurried,
    NoNetwork,
    Pause,
    Request,
    Response,
    run,
    run_async,
)

Drive = Callable[..., Any]


class Echo:
    """A network that answers with the address it was asked for, from another thread, and the deadline it was given."""

    def begin(self, request: Request) -> Future[Response]:
        future: Future[Response] = Future()
        answer = Response(200, {"deadline": str(request.deadline)}, request.url.encode())
        threading.Timer(0.001, future.set_result, [answer]).start()
        return future

    def close(self) -> None:
        """Nothing is open."""


NETWORK = Echo()


@pytest.fixture(params=["thread", "loop"])
def drive(request: pytest.FixtureRequest) -> Iterator[Drive]:
    """Each of the two drivers."""
    if request.param == "thread":
        yield lambda flow, network=NETWORK: run(flow, network)
    else:
        yield lambda flow, network=NETWORK: asyncio.run(run_async(flow, network))


def fetching(*urls: str) -> Flow[list[bytes]]:
    bodies = []
    for url in urls:
        response: Response = yield Fetch(Request(url))
        bodies.append(response.body)
    return bodies


def calling(function: Callable[[], object]) -> Flow[object]:
    result: object = yield Call(function)
    return result


def failing(after: Callable[[], object]) -> Flow[object]:
    yield Call(after)
    raise LookupError("end")


def test_results_come_back_into_the_flow(drive: Drive) -> None:
    """Fetches and calls give their results, in order, and the flow's return value comes out."""
    assert drive(fetching("a", "b")) == [b"a", b"b"]
    assert drive(calling(lambda: 42)) == 42


def test_a_flow_that_wants_nothing_just_ends(drive: Drive) -> None:
    """No effect at all is a flow too."""
    assert drive(fetching()) == []


def test_what_a_call_raises_is_raised_into_the_flow(drive: Drive) -> None:
    """The flow may answer for it and go on."""

    def divide() -> object:
        return 1 / 0

    def careful() -> Flow[str]:
        try:
            yield Call(divide)
        except ZeroDivisionError:
            result: Response = yield Fetch(Request("instead"))
            return result.body.decode()
        return "not reached"

    assert drive(careful()) == "instead"
    with pytest.raises(ZeroDivisionError):
        drive(calling(divide))


def test_what_the_flow_raises_comes_out(drive: Drive) -> None:
    """After an effect as well as before any."""
    with pytest.raises(LookupError, match="end"):
        drive(failing(lambda: None))


def test_a_stop_iteration_of_a_call_does_not_end_the_flow(drive: Drive) -> None:
    """A blocking function that leaks `StopIteration` is an error, not a result."""

    def leak() -> object:
        return next(iter(()))

    with pytest.raises(RuntimeError):
        drive(calling(leak))


def test_all_gives_the_results_in_order(drive: Drive) -> None:
    """However long each of them takes."""

    def slowly(number: int) -> Flow[object]:
        def work() -> object:
            time.sleep(0.02 * (2 - number))
            return number

        return calling(work)

    def several() -> Flow[object]:
        results: object = yield All([*map(slowly, range(3)), fetching("x")])
        return results

    assert drive(several()) == [0, 1, 2, [b"x"]]


def test_all_raises_the_first_failure_in_order(drive: Drive) -> None:
    """Not the first in time: both colours agree, and no flow is left running."""
    closed: list[str] = []

    def noting(name: str, wait: float) -> Flow[object]:
        try:
            yield Call(lambda: time.sleep(wait))
            raise LookupError(name)
        finally:
            closed.append(name)

    def several() -> Flow[object]:
        results: object = yield All([noting("slow", 0.05), noting("quick", 0)])
        return results

    with pytest.raises(LookupError, match="slow"):
        drive(several())
    assert "slow" in closed


def test_the_flow_is_closed_when_its_driver_is_stopped() -> None:
    """A cancelled coroutine and an interrupted thread both run the flow's `finally`."""
    closed: list[str] = []

    def waiting(function: Callable[[], object]) -> Flow[None]:
        try:
            yield Call(function)
        finally:
            closed.append("closed")

    def interrupt() -> object:
        raise KeyboardInterrupt

    async def cancelled() -> None:
        release = threading.Event()
        task = asyncio.create_task(run_async(waiting(release.wait), NETWORK))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()

    with pytest.raises(KeyboardInterrupt):
        run(waiting(interrupt), NETWORK)
    asyncio.run(cancelled())
    assert closed == ["closed", "closed"]


def test_blocking_calls_do_not_stop_the_loop() -> None:
    """Another coroutine runs while a flow waits for a blocking function."""

    async def both() -> list[str]:
        order: list[str] = []
        release = threading.Event()

        def work() -> object:
            release.wait(5)
            order.append("call")
            return None

        task = asyncio.create_task(run_async(calling(work), NETWORK))
        await asyncio.sleep(0.01)
        order.append("loop")
        release.set()
        await task
        return order

    assert asyncio.run(both()) == ["loop", "call"]


def test_without_a_network_every_fetch_is_refused() -> None:
    """In both colours, naming the address."""
    none = NoNetwork()
    attempts: list[Drive] = [lambda flow: run(flow, none), lambda flow: asyncio.run(run_async(flow, none))]
    for attempt in attempts:
        with pytest.raises(SourceUnavailable, match="offline") as caught:
            attempt(fetching("http://x/"))
        assert caught.value.source == "http://x/"


def test_a_deadline_over_a_flow_leaves_something_for_who_is_asked_next(drive: Drive) -> None:
    """No request gets more than three fifths of what is left, and never more than it asked for itself."""

    def asking() -> Flow[list[float]]:
        deadlines = []
        for own in (100.0, 100.0, 0.5):
            response: Response = yield Fetch(Request("x", deadline=own))
            deadlines.append(float(response.headers["deadline"]))
        return deadlines

    first, second, own = drive(asking(), Hurried(NETWORK, 10.0))
    assert 5 < first <= 6
    assert second <= first
    assert own == 0.5


def test_after_the_deadline_there_are_no_answers_but_what_needs_none_is_done(drive: Drive) -> None:
    """Inside `All` too, whose parts share the deadline."""

    def late() -> Flow[list[str]]:
        refused = []
        for effect in (Fetch(Request("x")), All([fetching("y")])):
            try:
                yield effect
            except SourceUnavailable as refusal:
                refused.append(refusal.reason)
        yield Pause(0.001)
        done: str = yield Call(lambda: "done")
        return [*refused, done]

    assert drive(late(), Hurried(NETWORK, 0.0)) == ["no answer within 0 s"] * 2 + ["done"]
