"""One cell of the matrix: a reader in a state, a fault, and what the reader saw, how long it took, what was logged."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver
from multiprocessing.queues import Queue
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import NamedTuple
from unittest.mock import patch

from horde_model_reference import ModelReferenceManager, settings
from horde_model_reference.domain.validation import Records
from tests.resilience.faults import FAULTS, View
from tests.resilience.site import CATEGORIES

STATES = ("cold and empty", "cold with cache", "warm")
THREADS, PROCESSES, PATIENCE, HANGS = 8, 3, 5.0, 40.0
_Manager = partial(ModelReferenceManager, replicate_mode="REPLICA")
_left: set[threading.Thread] = set()
_CONTEXT = multiprocessing.get_context("forkserver")


class Scene(NamedTuple):
    """What a cell is played with; goes to other processes."""

    fault: str
    state: str
    caller: str
    place: str
    root: Path


class Read(NamedTuple):
    """One call: when in the scene, whether it asked the source, how long it took, what it gave."""

    phase: str
    asked: bool
    seconds: float
    view: View


@dataclass
class Outcome:
    """What one process went through. `grown` is by how many KiB its memory had grown at most."""

    reads: list[Read] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    raised: str = ""
    grown: int = 0


def play(scene: Scene, flip: Callable[[], object]) -> Outcome:
    """Play the scene in this process; `flip` makes well into ill, once the reader is in its state."""
    fault, outcome = FAULTS[scene.fault], Outcome()
    ttl = 0 if scene.state == "warm" else 1 if fault.heals == "alone" else 60
    logger, keep = logging.getLogger("horde_model_reference"), logging.Handler(logging.WARNING)
    keep.emit = lambda record: outcome.lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(keep)

    def read(phase: str, *, ask: bool = False) -> bool:
        """Whether all of it is new."""
        found = CALLERS[scene.caller](scene.root, phase, ask)
        outcome.reads += found
        return all(set((r or {}).values()) == {"new"} for one in found for r in one.view.values())

    with _configured(scene.place, fault.deadline, ttl), fault.around():
        try:
            if scene.state == "warm":
                _sync(scene.root, "before", fault.place == "site")
            flip()
            before, until = getrusage(RUSAGE_SELF).ru_maxrss, time.monotonic() + PATIENCE
            read("first")
            is_new = read("again")
            while fault.heals and not is_new and time.monotonic() < until:
                time.sleep(0.05)
                is_new = read("healing", ask=fault.heals == "asked")
            assert is_new or not fault.heals, f"nothing new within {PATIENCE} s"
            read("fresh", ask=True)
            read("last")
            outcome.grown = getrusage(RUSAGE_SELF).ru_maxrss - before
        except Exception:  # noqa: BLE001  (whatever it is, the cell tells of it)
            outcome.raised = traceback.format_exc()
        _end()
    logger.removeHandler(keep)
    return outcome


def _sync(root: Path, phase: str, ask: bool) -> list[Read]:
    begun = time.perf_counter()
    found = _Manager(base_path=root).get_all_model_references_or_none(ask)
    return [Read(phase, ask, time.perf_counter() - begun, _view(found))]


def _async(root: Path, phase: str, ask: bool) -> list[Read]:
    async def main() -> Read:
        begun = time.perf_counter()
        found = await _Manager(base_path=root).get_all_model_references_or_none_async(ask)
        return Read(phase, ask, time.perf_counter() - begun, _view(found))

    return [asyncio.run(main())]


def _threads(root: Path, phase: str, ask: bool) -> list[Read]:
    """All at once, two a category; where one of them asks the source, the other one only reads."""
    gate = threading.Barrier(THREADS)

    def one(number: int) -> Read:
        category, asks = CATEGORIES[5 + number // 2], ask and number % 2 == 0
        gate.wait()
        begun = time.perf_counter()
        found = _Manager(base_path=root).get_model_reference_or_none(category, asks)
        return Read(phase, asks, time.perf_counter() - begun, _view({category: found}))

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


CALLERS = {"sync": _sync, "async": _async, "threads": _threads, "processes": _sync}


def _view(found: Mapping[str, Records | None]) -> View:
    known = {str(c): records for c, records in found.items() if c in CATEGORIES}
    return {c: None if r is None else {name: r[name].description for name in r} for c, r in known.items()}


def play_in_processes(scene: Scene, flip: Callable[[], object]) -> list[Outcome]:
    """Play it in three processes that go on together, forked from one that has imported all and done nothing."""
    _CONTEXT.set_forkserver_preload([__name__, "anyio._backends._asyncio", "filelock", "httpx"])
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(map(os.path.abspath, sys.path))):
        forkserver.ensure_running()
    gate, said = _CONTEXT.Barrier(PROCESSES + 1), _CONTEXT.Queue()
    processes = [_CONTEXT.Process(target=_child, args=(scene, gate, said), daemon=True) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    try:
        gate.wait(HANGS)
        flip()
        gate.wait(HANGS)
        return [said.get(timeout=HANGS) for _ in processes]
    except (threading.BrokenBarrierError, queue.Empty):
        return [Outcome(raised="a process died, or hangs")]
    finally:
        for process in processes:
            process.join(1)
            process.kill()


def _child(scene: Scene, gate: threading.Barrier, said: Queue[Outcome]) -> None:
    said.put(play(scene, lambda: (gate.wait(HANGS), gate.wait(HANGS))))  # the state is reached, the fault is there


def prime(root: Path, place: str) -> View:
    """Leave under the root what a good run leaves there."""
    with _configured(place, 10.0, 60):
        found = _sync(root, "before", True)
        _end()
        return found[0].view


def _end() -> None:
    ModelReferenceManager.get_instance()._parts.close()
    ModelReferenceManager.reset()
    for thread in set(threading.enumerate()) - _left:
        if thread.name == "horde-keeper":  # what is under way shall say nothing in the next cell
            thread.join(0.5)
            _left.add(thread)


def _configured(place: str, deadline: float, ttl: int) -> AbstractContextManager[object]:
    """The settings of this process are these for a while: they are read when a manager is built."""
    relay = settings.GithubProxySettings(github_proxy_url_base=place)
    return patch.multiple(
        settings.get_settings(),
        primary_api_url=f"{place}/api",
        image_github_repo=settings.ImageGithubRepoSettings(proxy_settings=relay),
        text_github_repo=settings.TextGithubRepoSettings(proxy_settings=relay),
        offline=False,
        first_load_timeout_seconds=deadline,
        cache_ttl_seconds=ttl,
        max_response_bytes=2**21,
    )
