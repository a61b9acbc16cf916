"""One load a key, whoever asks: threads, coroutines, both at once, and what happens when the leader goes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from horde_model_reference.single_flight import SingleFlight


class Load:
    """Work that counts how often it began and waits to be released."""

    def __init__(self) -> None:
        self.began = 0
        self.begun = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> int:
        self.began += 1
        self.begun.set()
        assert self.release.wait(10)
        return self.began

    async def from_loop(self) -> int:
        self.began += 1
        self.begun.set()
        while not self.release.is_set():
            await asyncio.sleep(0.001)
        return self.began


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_threads_share_one_load() -> None:
    """Eight threads, one call of the work, one result."""
    flights: SingleFlight[int] = SingleFlight()
    load = Load()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(flights.do, "k", load) for _ in range(8)]
        load.begun.wait(10)
        time.sleep(0.02)
        load.release.set()
        assert [each.result(10) for each in waiting] == [1] * 8


def test_coroutines_share_one_load() -> None:
    """The same in one loop."""

    async def main() -> list[int]:
        flights: SingleFlight[int] = SingleFlight()
        load = Load()
        tasks = [asyncio.create_task(flights.do_async("k", load.from_loop)) for _ in range(8)]
        await _until(load.begun.is_set)
        load.release.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [1] * 8


def test_a_coroutine_waits_for_a_load_that_a_thread_leads() -> None:
    """Without blocking its loop: it is this loop that lets the thread go on."""

    async def main() -> tuple[int, int]:
        flights: SingleFlight[int] = SingleFlight()
        load = Load()
        thread = asyncio.create_task(asyncio.to_thread(flights.do, "k", load))
        await _until(load.begun.is_set)
        task = asyncio.create_task(flights.do_async("k", load.from_loop))
        await asyncio.sleep(0.01)
        load.release.set()
        return await task, await thread

    assert asyncio.run(main()) == (1, 1)


def test_a_synchronous_caller_never_waits_for_a_coroutine_of_its_own_loop() -> None:
    """It would wait for ever, because the loop cannot run meanwhile; it loads for itself."""

    async def main() -> tuple[int, int]:
        flights: SingleFlight[int] = SingleFlight()
        load = Load()
        task = asyncio.create_task(flights.do_async("k", load.from_loop))
        await _until(load.begun.is_set)
        own = flights.do("k", lambda: 99)
        load.release.set()
        return own, await task

    assert asyncio.run(main()) == (99, 1)


def test_work_that_asks_for_its_own_key_does_not_wait_for_itself() -> None:
    """Re-entrancy on one thread loads again."""
    flights: SingleFlight[int] = SingleFlight()
    assert flights.do("k", lambda: flights.do("k", lambda: 5) + 1) == 6


def test_the_waiters_of_a_cancelled_leader_load_for_themselves() -> None:
    """Cancelling one coroutine costs nobody else."""

    async def main() -> int:
        flights: SingleFlight[int] = SingleFlight()
        load = Load()
        leader = asyncio.create_task(flights.do_async("k", load.from_loop))
        await _until(load.begun.is_set)
        waiter = asyncio.create_task(flights.do_async("k", load.from_loop))
        await asyncio.sleep(0.01)
        leader.cancel()
        await _until(lambda: load.began == 2)
        load.release.set()
        return await waiter

    assert asyncio.run(main()) == 2


def test_a_cancelled_waiter_does_not_cancel_the_load() -> None:
    """Nor does it leave anything behind when its loop is closed before the load ends."""
    flights: SingleFlight[int] = SingleFlight()
    load = Load()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(flights.do, "k", load)
        load.begun.wait(10)

        async def impatient() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flights.do_async("k", load.from_loop), 0.01)

        asyncio.run(impatient())
        load.release.set()
        assert leader.result(10) == 1


def test_a_failure_goes_to_all_who_wait_and_the_next_caller_tries_again() -> None:
    """An error is not remembered."""
    flights: SingleFlight[int] = SingleFlight()
    begun, release = threading.Event(), threading.Event()

    def fail() -> int:
        begun.set()
        release.wait(10)
        raise LookupError("no")

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(flights.do, "k", fail) for _ in range(3)]
        begun.wait(10)
        time.sleep(0.02)
        release.set()
        assert [type(each.exception(10)) for each in waiting] == [LookupError] * 3
    assert flights.do("k", lambda: 3) == 3


def test_keys_do_not_wait_for_each_other() -> None:
    """A load of one category never delays another."""
    flights: SingleFlight[int] = SingleFlight()
    load = Load()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(flights.do, "a", load)
        load.begun.wait(10)
        assert flights.do("b", lambda: 7) == 7
        load.release.set()
        slow.result(10)


@pytest.mark.parametrize("colour", ["thread", "coroutine"])
def test_anew_does_not_take_a_load_that_had_begun_before(colour: str) -> None:
    """Who must see a write that was just acknowledged cannot use what was read before it; later joiners still can."""
    flights: SingleFlight[str] = SingleFlight()
    begun, release = threading.Event(), threading.Event()

    def old() -> str:
        begun.set()
        release.wait(10)
        return "old"

    async def new() -> str:
        return "new"

    ask: Callable[[], str] = lambda: flights.do("k", lambda: "new", anew=True)  # noqa: E731
    if colour == "coroutine":
        ask = lambda: asyncio.run(flights.do_async("k", new, anew=True))  # noqa: E731
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(flights.do, "k", old)
        begun.wait(10)
        joined = pool.submit(flights.do, "k", old)
        later = [pool.submit(ask) for _ in range(3)]
        time.sleep(0.02)
        release.set()
        assert (first.result(10), joined.result(10)) == ("old", "old")
        assert [each.result(10) for each in later] == ["new"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_waits_for_nobody() -> None:
    """The thread that was loading in the parent does not exist in the child."""
    flights: SingleFlight[int] = SingleFlight()
    load = Load()
    with ThreadPoolExecutor(1) as pool:
        parent = pool.submit(flights.do, "k", load)
        load.begun.wait(10)
        child = os.fork()
        if child == 0:
            os._exit(flights.do("k", lambda: 11))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
        load.release.set()
        assert parent.result(10) == 1


def test_threads_and_loops_in_any_mix_agree() -> None:
    """Many callers of both colours, many keys: everybody gets a result of their own key."""
    flights: SingleFlight[str] = SingleFlight()

    def thread(number: int) -> bool:
        key = str(number % 3)

        def work() -> str:
            time.sleep(0.001)
            return key

        return flights.do(key, work) == key

    def loop(number: int) -> bool:
        def work(key: str) -> Callable[[], Awaitable[str]]:
            async def load() -> str:
                await asyncio.sleep(0.001)
                return key

            return load

        async def main() -> bool:
            keys = [str(n % 3) for n in range(6)]
            return await asyncio.gather(*(flights.do_async(key, work(key)) for key in keys)) == keys

        return asyncio.run(main())

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(loop if n % 4 == 0 else thread, n) for n in range(80)]
        assert all(each.result(20) for each in results)
