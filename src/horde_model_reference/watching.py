"""Behind the readers' backs: a thread that keeps something up to date, begun by the first who needs it, and telling an
application what changed: by a callback, or in an `async for`."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakMethod

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.formats.wire import same_but_for_times
from horde_model_reference.process import ForkLock

__all__ = ["Keeper", "ReferenceChange", "Watchers"]

_log = logger("watching")
_SHORTEST_PAUSE, _PAUSE_AFTER_FAULT = 0.05, 60.0


@dataclass(frozen=True, slots=True)
class ReferenceChange:
    """What a refresh brought: names of records. `revision` is None where the source counts none."""

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
        created, deleted = (name for name in new if name not in old), (name for name in old if name not in new)
        updated = (n for n, record in new.items() if n in old and not same_but_for_times(old[n], record))
        return cls(after.category, after.revision, after.source, tuple(created), tuple(updated), tuple(deleted))


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

        def remove() -> None:
            with self._lock:
                self._callbacks = {each: other for each, other in self._callbacks.items() if each is not key}

        return remove

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


class Keeper:
    """Calls `renew` again and again, each time after as many seconds as it gave back the time before. The thread ends
    with the object that `renew` belongs to, with `stop` and the process; a forked child's `start` begins its own."""

    def __init__(self, renew: Callable[[], float], first_pause: tuple[float, float] = (0.2, 0.5)) -> None:
        self._renew, self._first_pause = WeakMethod(renew), first_pause
        self._lock, self._stopped, self._process = ForkLock(), threading.Event(), 0

    def start(self) -> None:
        """Begin, where it has not begun. The first pause leaves a program that only starts and reads in peace."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process != os.getpid() and not self._stopped.is_set():
                pause, self._stopped = random.uniform(*self._first_pause), threading.Event()
                arguments = (self._renew, self._stopped, pause)
                with suppress(RuntimeError):  # no thread can be had now; the next reader tries again
                    threading.Thread(target=_keep, args=arguments, name="horde-keeper", daemon=True).start()
                    self._process = os.getpid()

    def stop(self) -> None:
        """End for good; does not wait for what is under way."""
        self._stopped.set()


def _keep(renew: WeakMethod[Callable[[], float]], stopped: threading.Event, pause: float) -> None:
    while not stopped.wait(max(pause, _SHORTEST_PAUSE)):
        work = renew()
        if work is None:
            return
        try:
            pause = work()
        except Exception:  # noqa: BLE001  (a driver: a thread that died would leave the reader with old data for ever)
            if not stopped.is_set():
                _log.exception("refreshing failed in a way that nobody thought of; trying again in a minute")
            pause = _PAUSE_AFTER_FAULT
        del work
