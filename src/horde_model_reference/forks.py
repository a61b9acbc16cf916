"""Locks and forks: a forked child has only the thread that forked, and the locks of the others stay locked for ever."""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ForkLock", "no_fork"]


class ForkLock:
    """A reentrant lock, used by `with`. In a forked child it is free, whoever held it in the parent."""

    def __init__(self) -> None:
        self.renew()
        _LOCKS.add(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


_LOCKS: weakref.WeakSet[ForkLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()


no_fork = threading.RLock()
"""Held while records are validated: a fork waits for that, because pydantic takes locks of its own meanwhile."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
    os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release)
