"""What all threads of a process share: locks that a fork leaves usable, and the cyclic garbage collector."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ForkLock", "bulk", "no_fork"]

_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
_open: list[bool] = []  # of each open block of `bulk`: did the collector run when it began? At most the first.
no_fork = threading.RLock()
"""Held while records are validated: a fork waits for that, because pydantic takes locks of its own meanwhile."""


class ForkLock:
    """A reentrant lock, used by `with`. In a forked child, which has only the thread that forked, it is free."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self.lock.release()


_lock = ForkLock()


@contextmanager
def bulk() -> Iterator[None]:
    """`with bulk():` pauses the collector, which would walk all there is again and again (4.0 of the 5.7 seconds that
    100,000 records take). Blocks may nest and overlap between threads; one that the program switched off stays off."""
    with _lock:
        _open.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            if _open and _open.pop() and not _open:
                gc.enable()


def _in_child() -> None:
    """Whoever held a lock or was inside a block stayed with the parent."""
    no_fork.release()
    for lock in list(_locks):
        lock.lock = threading.RLock()
    if any(_open):
        gc.enable()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_in_child)
