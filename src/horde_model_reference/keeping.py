"""Keeping something up to date behind its readers' backs: one daemon thread, begun by the first who needs it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakMethod

from horde_model_reference._log import logger
from horde_model_reference.forks import ForkLock

__all__ = ["Keeper"]

_log = logger("keeping")
_SHORTEST_PAUSE, _PAUSE_AFTER_FAULT = 0.05, 60.0


class Keeper:
    """Calls `renew` again and again, each time after as many seconds as it gave back the time before.

    The thread ends with the object that `renew` belongs to, with `stop`, and with the process, which it never keeps
    from ending. A forked child has one of its own as soon as somebody calls `start` there.
    """

    def __init__(self, renew: Callable[[], float], first_pause: tuple[float, float] = (0.2, 0.5)) -> None:
        self._renew = WeakMethod(renew)
        self._first_pause = first_pause
        self._lock = ForkLock()
        self._stopped = threading.Event()
        self._process = 0

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
