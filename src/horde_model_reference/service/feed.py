"""The feed of changes: what happened after a revision, as the bytes in which it is told, and who waits to hear of it.

An answer follows from the question and the newest revision alone, so however many ask the same, one reads and encodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from horde_model_reference.domain.categories import Category
from horde_model_reference.errors import HordeModelReferenceError, StoreError
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.service.answers import Answer, Body
from horde_model_reference.service.renderings import Origin

__all__ = ["Bell", "Feed", "Question"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_KEPT = 32
_LOOK_SECONDS, _BREATH_SECONDS, _MOST_WAITING = 0.02, 0.2, 20_000


class Bell:
    """Wakes requests that wait for the next revision, whichever process commits it. Made in the loop that they wait in.

    A commit of this process rings it. For those of others one task asks `look`, which may raise `StoreError`, as long
    as anybody waits. Whoever waits is on the list before the next look begins, so no revision is missed.
    """

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

        A closed bell holds nobody for long, but somewhat: who asks again at once must not keep busy what is ending.
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


@dataclass(frozen=True)
class Question:
    """At most `limit` changes after revision `since`, of one category or of all, for readers who take `coding`."""

    since: int
    category: Category | None
    limit: int
    coding: str


class Feed:
    """The changes of one origin. Made in the loop of the app; `bell` tells when there are more."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._marks: dict[tuple[int, int], asyncio.Future[str]] = {}
        self._answers: dict[tuple[int, Question, int], asyncio.Future[Answer]] = {}
        self.bell = Bell(origin.newest)

    async def marked(self, revision: int) -> str:
        """The mark of a revision, without blocking the loop, however many ask. Raises `RevisionUnknown`."""
        return await _once(self._marks, (self._origin.history, revision), lambda: self._origin.mark(revision))

    async def tell(self, asked: Question, head: int) -> Answer:
        """What happened up to revision `head`; the answer's revision is the one up to which it tells everything.

        Raises `RevisionUnknown` for a `since` from which nobody can go on.
        """
        return await _once(self._answers, (self._origin.history, asked, head), lambda: self._read(asked, head))

    def _read(self, asked: Question, head: int) -> Answer:
        changes, more = self._origin.after(asked.since, asked.category, asked.limit, head)
        last = changes[-1]["revision"] if more else head
        revision = last if isinstance(last, int) else head
        body = Body(encode({"revision": revision, "changes": [*changes], "more": more}))
        body.form(body.coding(asked.coding))  # here, where it keeps nobody else waiting
        return Answer(body, revision, self._origin.mark(revision))


async def _once(begun: dict[K, asyncio.Future[T]], key: K, work: Callable[[], T]) -> T:
    """The result of `work`, done on a thread once for all who ask for `key`; the newest results are kept."""
    if key not in begun:
        for old in list(begun)[: 1 - _KEPT]:
            del begun[old]
        begun[key] = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(begun[key])
    except HordeModelReferenceError:
        begun.pop(key, None)
        raise
