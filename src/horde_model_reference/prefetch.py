"""When the reference is loaded: at the first read, at construction, in the background, or when a handle is awaited."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from concurrent.futures import Future
from enum import StrEnum

from horde_model_reference.reference import Reference

__all__ = ["DeferredPrefetchHandle", "PrefetchStrategy", "begin_prefetch"]


class PrefetchStrategy(StrEnum):
    """LAZY and NONE load a category when it is first read. SYNC loads all during construction. ASYNC loads all in the
    background, at once. DEFERRED loads all when its handle is awaited or run."""

    LAZY = "lazy"
    SYNC = "sync"
    DEFERRED = "deferred"
    ASYNC = "async"
    NONE = "none"


class DeferredPrefetchHandle:
    """A load of all categories that can be awaited, from any event loop, or run; it happens once.

    Raises `ReferenceUnavailable` where not a single category could be had.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._background: Future[None] | None = None
        self._owner = os.getpid()
        self._done = False

    @property
    def prefetch_pending(self) -> bool:
        """True until the load has ended, well or badly."""
        return not (self._done or (self._background is not None and self._background.done()))

    def start(self) -> None:
        """Begin in a background thread, which never keeps the interpreter from exiting."""
        self._background = Future()
        threading.Thread(target=self._load, args=(self._background,), name="horde-prefetch", daemon=True).start()

    def run(self) -> None:
        """Load now, on this thread, or wait for the load that was begun."""
        if self._background is not None and self._owner == os.getpid():
            return self._background.result()
        if not self._done:
            try:
                self._reference.warm()
            finally:
                self._done = True
        return None

    def __await__(self) -> Generator[object, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._background is not None and self._owner == os.getpid():
            await asyncio.shield(asyncio.wrap_future(self._background))
        elif not self._done:
            try:
                await self._reference.warm_async()
            finally:
                self._done = True

    def _load(self, future: Future[None]) -> None:
        try:
            self._reference.warm()
        except Exception as error:  # noqa: BLE001  (a driver: whoever waits for the handle gets it)
            future.set_exception(error)
        else:
            future.set_result(None)


def begin_prefetch(strategy: PrefetchStrategy, reference: Reference) -> DeferredPrefetchHandle | None:
    """Do what the strategy says at construction; the handle where it has one."""
    if strategy is PrefetchStrategy.SYNC:
        reference.warm()
    if strategy not in (PrefetchStrategy.ASYNC, PrefetchStrategy.DEFERRED):
        return None
    handle = DeferredPrefetchHandle(reference)
    if strategy is PrefetchStrategy.ASYNC:
        handle.start()
    return handle
