"""The bell: wakes requests that wait for the next revision, whichever process commits it.

A commit of this process rings it. For those of others one task looks at the newest revision, as long as anybody waits.
Whoever waits is on the list before the next look begins, so no revision is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from horde_model_reference.errors import StoreError

__all__ = ["Bell"]

_LOOK_SECONDS, _BREATH_SECONDS, _MOST_WAITING = 0.02, 0.2, 20_000


class Bell:
    """`look` tells the newest revision; it may raise `StoreError`. Made in the loop whose requests wait."""

    def __init__(self, look: Callable[[], Awaitable[int]]) -> None:
        self.look = look
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._waiting: dict[asyncio.Future[int], int] = {}
        self._watch: asyncio.Task[None] | None = None
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def other_than(self, seen: int, seconds: float) -> int:
        """The newest revision as soon as it is another than `seen`, or `seen` after `seconds`. Raises `StoreError`.

        A bell that is closed lets everybody go, and holds nobody for long: who asks again at once must not keep the
        server busy while it ends.
        """
        if len(self._waiting) >= _MOST_WAITING:
            return await self.look()
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiting[waiter] = seen
        self._rung.set()
        self._watch = self._watch or self._loop.create_task(self._watching())
        try:
            async with asyncio.timeout(min(seconds, _BREATH_SECONDS) if self.is_closed else seconds):
                return await waiter
        except TimeoutError:
            return seen
        finally:
            del self._waiting[waiter]

    def ring(self) -> None:
        """Something was committed. May be called on any thread, and when the loop is gone."""
        self._do_soon(self._rung.set)

    def close(self) -> None:
        """Let everybody go: the server is about to end. May be called on any thread, and by a handler of signals."""
        self.is_closed = True
        self._do_soon(self._wake)

    def _do_soon(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what)

    async def _watching(self) -> None:
        try:
            while self._waiting:
                self._rung.clear()
                self._wake(await self.look())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), _LOOK_SECONDS)
        except StoreError as error:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            self._watch = None

    def _wake(self, head: int | None = None) -> None:
        """Those who have seen another revision than `head`; without one everybody, as if nothing had happened."""
        for waiter, seen in self._waiting.items():
            if seen != head and not waiter.done():
                waiter.set_result(seen if head is None else head)
