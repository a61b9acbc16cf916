"""Telling an application what changed in what it reads: by a callback, or in an `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.forks import ForkLock
from horde_model_reference.formats.json_codec import decode_object

__all__ = ["ReferenceChange", "Watchers"]

_log = logger("watching")


@dataclass(frozen=True, slots=True)
class ReferenceChange:
    """What a refresh brought: the names of the records that are new, other than before, and gone.

    `revision` is None where the source counts none.
    """

    category: Category
    revision: int | None
    source: str
    created: tuple[str, ...]
    updated: tuple[str, ...]
    deleted: tuple[str, ...]

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> ReferenceChange:
        """The difference of two snapshots."""
        old, new = decode_object(before.body), decode_object(after.body)
        return cls(
            after.category,
            after.revision,
            after.source,
            created=tuple(name for name in new if name not in old),
            updated=tuple(name for name, document in new.items() if name in old and old[name] != document),
            deleted=tuple(name for name in old if name not in new),
        )


class Watchers:
    """Who wants to hear of changes. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._callbacks: dict[object, Callable[[ReferenceChange], object]] = {}

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[[ReferenceChange], object]) -> Callable[[], None]:
        """Call it with each change, on the thread that noticed; gives what ends that."""
        key = object()
        with self._lock:
            self._callbacks = {**self._callbacks, key: callback}
        return partial(self._remove, key)

    def _remove(self, key: object) -> None:
        with self._lock:
            self._callbacks = {each: callback for each, callback in self._callbacks.items() if each is not key}

    def tell(self, change: ReferenceChange) -> None:
        """Call everybody; what one of them raises is logged and costs the others nothing."""
        for callback in self._callbacks.values():
            try:
                callback(change)
            except Exception:  # noqa: BLE001  (somebody else's code: what it raises is not ours to know)
                _log.exception("%r raised when it was told of a change", callback)

    def changes(self) -> AsyncIterator[ReferenceChange]:
        """Each change from now on, in the running loop."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[ReferenceChange]()
        remove = self.add(lambda change: loop.call_soon_threadsafe(queue.put_nowait, change))

        async def each() -> AsyncIterator[ReferenceChange]:
            try:
                while True:
                    yield await queue.get()
            finally:
                remove()

        return each()
