"""The present moment: the newest revision, asked for so often that it has to cost next to nothing.

Whoever asks is told of every change that was acknowledged before the question, by whichever process.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from horde_model_reference.reference import Reference
from horde_model_reference.stores.sql import SqlStore

__all__ = ["OfReferencePresent", "OfStorePresent", "Present"]


class Present(Protocol):
    """Used in one event loop. A moment is equal to another only if nothing happened between them."""

    @property
    def revision(self) -> int | None:
        """The newest revision that was seen."""

    def glance(self) -> object | None:
        """The present moment where that takes microseconds, else None. Raises `StoreError`."""

    async def now(self) -> object:
        """The present moment. Raises `StoreError`."""

    def close(self) -> None:
        """Give back what is held open; the last call."""


class OfStorePresent:
    """The newest revision of a store: SQLite is asked in place, a server on a thread, once for all who wait."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._look = store.lookout()
        self.revision: int | None = None
        self._running: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    def glance(self) -> int | None:
        if self._look is None:
            return None
        self.revision = self._look()
        return self.revision

    async def now(self) -> int:
        if (newest := self.glance()) is not None:
            return newest
        if self._next is None:  # the question that runs began before this one was asked
            self._next = asyncio.create_task(self._after(self._running))
        self.revision = await asyncio.shield(self._next)
        return self.revision

    def close(self) -> None:
        if self._look is not None:
            self._look.close()

    async def _after(self, running: asyncio.Task[int] | None) -> int:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        return await asyncio.to_thread(self._store.head)


class OfReferencePresent:
    """What a relay holds. It is a new moment every second, since the age of what is held is told in seconds."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    @property
    def revision(self) -> int | None:
        counted = [snapshot.revision for snapshot in self._reference.snapshots().values()]
        return min((revision for revision in counted if revision is not None), default=None)

    def glance(self) -> tuple[int, int]:
        return self._reference.version, int(asyncio.get_running_loop().time())

    async def now(self) -> tuple[int, int]:
        return self.glance()

    def close(self) -> None:
        """Nothing is held open."""
