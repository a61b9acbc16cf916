"""When the reference is loaded: at the first read, at construction, in the background, or when a handle is awaited."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum

from horde_model_reference.reference import Reference
from horde_model_reference.single_flight import SingleFlight

__all__ = ["DeferredPrefetchHandle", "PrefetchStrategy", "begin_prefetch"]

_ALL = "prefetch"


class PrefetchStrategy(StrEnum):
    """LAZY and NONE load a category when it is first read. SYNC loads all during construction. ASYNC loads all in the
    background, at once. DEFERRED loads all when its handle is awaited or run."""

    LAZY = "lazy"
    SYNC = "sync"
    DEFERRED = "deferred"
    ASYNC = "async"
    NONE = "none"


class DeferredPrefetchHandle:
    """A load of all categories that can be awaited, from any event loop, or run. Once it succeeded it is over.

    Raises `ReferenceUnavailable` where not a single category could be had; waiting for it again then tries again.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._flights: SingleFlight[None] = SingleFlight()
        self._succeeded = False
        self.prefetch_pending = True
        """True until a load has ended, well or badly."""

    def start(self) -> None:
        """Begin in the background; `run` and `await` then wait for that."""
        self._flights.begin(_ALL, self._load)

    def run(self) -> None:
        """Load now, on this thread, or wait for the load that was begun."""
        if not self._succeeded:
            self._flights.do(_ALL, self._load)

    def __await__(self) -> Generator[object, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if not self._succeeded:
            await self._flights.do_async(_ALL, self._load_async)

    def _load(self) -> None:
        try:
            self._reference.warm()
            self._succeeded = True
        finally:
            self.prefetch_pending = False

    async def _load_async(self) -> None:
        try:
            await self._reference.warm_async()
            self._succeeded = True
        finally:
            self.prefetch_pending = False


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
