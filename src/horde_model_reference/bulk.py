"""Making very many objects at once, with the cyclic garbage collector out of the way.

While 100,000 records are read nothing becomes garbage, yet the collector walks everything made so far again and again:
without this it takes 4.0 of 5.7 seconds.
"""

from __future__ import annotations

import gc
import os
import threading
from types import TracebackType

__all__ = ["bulk"]


class _Pause:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._was_enabled = False

    def __enter__(self) -> None:
        with self._lock:
            if self._running == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._running += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0 and self._was_enabled:
                gc.enable()

    def forget(self) -> None:
        """In a forked child: the threads that were inside a block are gone, so nobody will end it."""
        self._lock = threading.Lock()
        if self._running and self._was_enabled:
            gc.enable()
        self._running = 0


_pause = _Pause()


def bulk() -> _Pause:
    """`with bulk():` pauses the collector of this process inside the block.

    Blocks may nest and overlap between threads: the first to begin pauses it, the last to end resumes it. A collector
    that the program had switched off stays off.
    """
    return _pause


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pause.forget)
