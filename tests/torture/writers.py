"""What other processes do to one queue while a test looks on: `python -m tests.torture.writers COMMAND ADDRESS ...`.

Each says `ready`, waits for a line, does its work with several threads, and prints what was acknowledged as JSON.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from horde_model_reference.domain.changes import Actor, Role
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import ChangeOutdated, ChangeRefused, HordeModelReferenceError, StoreError
from horde_model_reference.exchange.exporting import Mirror
from horde_model_reference.moderation.neighbours import NeighbourIndex
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.stores.sql import SqlStore

__all__ = ["CATEGORY", "SHARED", "opened", "start"]

CATEGORY, SHARED = "blip", "shared"
_Made = TypeVar("_Made")
_APPROVER, _REQUESTOR = (
    Actor(id=number, username=f"user#{number}", roles=frozenset({role}))
    for number, role in (("101", Role.approver), ("202", Role.requestor))
)


def start(command: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that does `command`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "tests.torture.writers", command, *arguments]
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def opened(address: str) -> Queue:
    """A queue over that database; writers wait long for each other, for there are many."""
    store = SqlStore(address, timeout=60)
    return Queue(store, NeighbourIndex(store))


def _proposal(name: str, version: str, *, update: bool = False) -> Proposal:
    payload: JsonObject = {"name": name, "version": version, "config": {"download": []}}
    return Proposal(CATEGORY, name, "update" if update else "create", payload)


def _story(queue: Queue, name: str, version: str, *, update: bool = False) -> tuple[int, int | None]:
    """Propose, approve, apply: the change, and the revision that it made; None where somebody else was faster."""
    number = queue.propose(_proposal(name, version, update=update), _REQUESTOR).change_id
    queue.decide("race", _APPROVER, approved=[number])
    try:
        return number, queue.apply([number], _APPROVER, job_id=f"{name}/{version}").changes[0].applied_revision
    except ChangeOutdated:
        return number, None


def _write(address: str, who: str, threads: str, times: str) -> None:
    """Each thread has a record of its own in every turn, and all fight for a shared one."""
    queue = opened(address)

    def writes(thread: int) -> list[tuple[str, int, int | None]]:
        done = []
        for turn in range(int(times)):
            name = f"{who}/{thread}/{turn}"
            done.append((name, *_story(queue, name, "1")))
            done.append((SHARED, *_story(queue, SHARED, name, update=True)))
        return done

    _wait()
    with ThreadPoolExecutor(int(threads)) as pool:
        print(json.dumps([each for done in pool.map(writes, range(int(threads))) for each in done]))


def _approve(address: str, who: str, number: str) -> None:
    """Approve all that there is, before the other one does."""
    queue, won = opened(address), []
    approver = _APPROVER.model_copy(update={"id": who})
    queue.store.head()
    _wait()
    for change_id in range(1, int(number) + 1):
        with suppress(ChangeRefused):
            queue.decide("race", approver, approved=[change_id])
            won.append(change_id)
    print(json.dumps(won))


def _doomed(address: str, root: str, turn: str) -> None:
    """Three threads that write until they are killed, and say after each step what was acknowledged."""
    queue = opened(address)
    queue.store.subscribe(Mirror(queue.store, Path(root)).keep_up)

    def write(thread: int) -> None:
        step = 0
        while True:
            name, step = f"{turn}/{thread}/{step}", step + 1
            number = queue.propose(_proposal(name, "1"), _REQUESTOR).change_id
            _say("pending", number, name)
            queue.decide("doomed", _APPROVER, approved=[number])
            _say("approved", number, name)
            revision = queue.apply([number], _APPROVER).changes[0].applied_revision
            _say("applied", number, name, revision)
            if random.random() < 0.2:
                inverse = queue.revert(number, _APPROVER, "torture")
                _say("applied", inverse.change_id, name, inverse.applied_revision)

    _wait()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))


def _told(address: str, root: str, turn: str) -> None:
    """One story in one thread, with the mirror; a step that is refused is tried again with a name of its own."""
    queue = opened(address)
    queue.store.subscribe(Mirror(queue.store, Path(root)).keep_up)
    queue.store.head()
    _wait()
    name, number = turn, 0
    for attempt in range(3):
        with suppress(HordeModelReferenceError):
            name = f"{turn}/{attempt}"
            number = queue.propose(_proposal(name, "1"), _REQUESTOR).change_id
            break
    _say("pending", number, name)
    _again(lambda: queue.decide("story", _APPROVER, approved=[number]))
    _say("approved", number, name)
    applied = _again(lambda: queue.apply([number], _APPROVER, job_id=name)).changes[0]
    _say("applied", number, name, applied.applied_revision)
    inverse = _again(lambda: queue.revert(number, _APPROVER, "torture"))
    _say("applied", inverse.change_id, name, inverse.applied_revision)


def _again(step: Callable[[], _Made]) -> _Made:
    try:
        return step()
    except StoreError:
        return step()


def _say(*words: object) -> None:
    line = (json.dumps(words) + "\n").encode()
    try:
        os.write(1, line)  # one call of the system, so that lines stay whole
    except OSError:  # the one that was let fail
        os.write(1, line)


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


_COMMANDS: dict[str, Callable[..., None]] = {"write": _write, "approve": _approve, "doomed": _doomed, "story": _told}

if __name__ == "__main__":
    _COMMANDS[sys.argv[1]](*sys.argv[2:])
