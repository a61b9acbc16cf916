"""Many callers, one load: whoever comes while a key is being loaded gets the result of that load.

Safe in any mix of threads and event loops. A synchronous caller never waits for a load that a coroutine leads, because
it may be standing on that coroutine's own loop; it loads for itself instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["SingleFlight"]

T = TypeVar("T")


class _LeaderGoneError(Exception):
    """The one who was loading was cancelled or killed; somebody else must."""


@dataclass
class _Flight(Generic[T]):
    leader: int | None
    """The leading thread, None for a coroutine."""
    future: Future[T] = field(default_factory=Future)


class SingleFlight(Generic[T]):
    """Loads in progress, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight[T]] = {}

    def do(self, key: Hashable, work: Callable[[], T]) -> T:
        """The result of `work`, or of the same load that another thread has begun."""
        while True:
            flight, leads = self._join(key, threading.get_ident())
            if not leads and flight.leader in (None, threading.get_ident()):
                return work()
            try:
                if not leads:
                    return flight.future.result()
                with self._leading(key, flight):
                    flight.future.set_result(work())
                    return flight.future.result()
            except _LeaderGoneError:
                continue

    async def do_async(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The same for a coroutine, which waits for loads led by threads and by coroutines alike."""
        while True:
            flight, leads = self._join(key, None)
            try:
                if not leads:  # shielded: one waiter that is cancelled must not cancel the load of the others
                    return await asyncio.shield(asyncio.wrap_future(flight.future))
                with self._leading(key, flight):
                    flight.future.set_result(await work())
                    return flight.future.result()
            except _LeaderGoneError:
                continue

    def _join(self, key: Hashable, leader: int | None) -> tuple[_Flight[T], bool]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            return self._flights.setdefault(key, _Flight(leader)), True

    @contextmanager
    def _leading(self, key: Hashable, flight: _Flight[T]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            flight.future.set_exception(error)
            raise
        except BaseException:
            flight.future.set_exception(_LeaderGoneError())
            raise
        finally:
            with self._lock:
                del self._flights[key]
