"""Many callers, one load: whoever comes while a key is being loaded gets the result of that load.

Safe in any mix of threads, event loops and forked processes. A synchronous caller never waits for a load that a
coroutine leads: it may be standing on that coroutine's own loop. It loads for itself instead.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from horde_model_reference.process import ForkLock

__all__ = ["SingleFlight"]

T = TypeVar("T")


class _LeaderGoneError(Exception):
    """The one who was loading was cancelled or killed; somebody else must."""


class _Flight(Future[T]):
    def __init__(self, leader: int | None) -> None:
        super().__init__()
        self.leader = leader  # a thread, or None for a coroutine
        self.landed: T
        self.set_running_or_notify_cancel()  # so that a waiter who is cancelled cannot cancel it for the others


class SingleFlight(Generic[T]):
    """Loads in progress, by key. `anew`: one that had begun before the caller came, and may have read what has changed
    since, does not count; it is waited for, and then another is begun or joined."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._flights: dict[tuple[int, Hashable], _Flight[T]] = {}

    def do(self, key: Hashable, work: Callable[[], T], *, anew: bool = False) -> T:
        """The result of `work`, or of the same load that another thread has begun."""
        while True:
            flight, leads = self._join(key, threading.get_ident())
            if leads:
                with self._leading(key, flight):
                    flight.landed = work()
                return flight.landed
            if flight.leader in (None, threading.get_ident()):
                return work()
            error = flight.exception()
            if not anew and not isinstance(error, _LeaderGoneError):
                return flight.result()
            anew = False

    async def do_async(self, key: Hashable, work: Callable[[], Awaitable[T]], *, anew: bool = False) -> T:
        """The same for a coroutine, which waits for loads led by threads and by coroutines alike."""
        while True:
            flight, leads = self._join(key, None)
            if leads:
                with self._leading(key, flight):
                    flight.landed = await work()
                return flight.landed
            with suppress(Exception):
                await asyncio.wrap_future(flight)
            error = flight.exception()
            if not anew and not isinstance(error, _LeaderGoneError):
                return flight.result()
            anew = False

    def _join(self, key: Hashable, leader: int | None) -> tuple[_Flight[T], bool]:
        mine = (os.getpid(), key)  # after a fork the parent's loads are nobody's
        with self._lock:
            flight = self._flights.get(mine)
            if flight is not None:
                return flight, False
            return self._flights.setdefault(mine, _Flight(leader)), True

    @contextmanager
    def _leading(self, key: Hashable, flight: _Flight[T]) -> Iterator[None]:
        fault: BaseException | None = None
        try:
            yield
        except BaseException as error:
            fault = error if isinstance(error, Exception) else _LeaderGoneError()
            raise
        finally:
            with self._lock:  # before the result is there: who comes later shall not take it for a load of its own time
                self._flights.pop((os.getpid(), key), None)
            if fault is None:
                flight.set_result(flight.landed)
            else:
                flight.set_exception(fault)
