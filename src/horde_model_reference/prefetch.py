"""When the reference is loaded: at the first read, at construction, in the background, or when a handle is awaited."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import suppress
from enum import StrEnum

from horde_model_reference.errors import ReferenceUnavailable
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
    """A load of all categories that can be awaited, from any event loop, or run. What is held is not loaded again.
    Raises `ReferenceUnavailable` where not a single category could be had; waiting for it again then tries again."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.prefetch_pending = True
        """True until a load has ended, well or badly."""

    def start(self) -> None:
        """Begin in the background, which never keeps the interpreter from exiting; `run` and `await` wait for that."""
        threading.Thread(target=self._run_quietly, name="horde-prefetch", daemon=True).start()

    def run(self) -> None:
        """Load now, on this thread, or wait for the load that was begun."""
        try:
            self._reference.warm()
        finally:
            self.prefetch_pending = False

    def __await__(self) -> Generator[object, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        try:
            await self._reference.warm_async()
        finally:
            self.prefetch_pending = False

    def _run_quietly(self) -> None:
        with suppress(ReferenceUnavailable):  # whoever waits for it is told
            self.run()


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
