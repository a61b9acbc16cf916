"""When the reference is loaded: at the first read, at construction, in the background, or when a handle is awaited."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import suppress
from enum import StrEnum

from horde_model_reference.errors import ReferenceUnavailable
from horde_model_reference.reference import Reference

__all__ = ["DeferredPrefetchHandle", "PrefetchStrategy"]


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
        self.prefetch_pending = True  # true until a load has ended, well or badly

    def start(self) -> None:
        """Begin in the background, which never keeps the interpreter from exiting; `run` and `await` wait for that."""

        def load() -> None:
            with suppress(ReferenceUnavailable):  # whoever waits for it is told
                self.run()

        threading.Thread(target=load, name="horde-prefetch", daemon=True).start()

    def run(self) -> None:
        """Load now, on this thread, or wait for the load that was begun."""
        try:
            self._reference.warm()
        finally:
            self.prefetch_pending = False

    def __await__(self) -> Generator[object, None, None]:
        try:
            yield from self._reference.warm_async().__await__()
        finally:
            self.prefetch_pending = False
