"""Kill a process that writes to the queue at a random moment, again and again, and look at what is left."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from horde_model_reference.domain.changes import Status
from horde_model_reference.errors import HordeModelReferenceError
from horde_model_reference.exchange.exporting import Mirror
from horde_model_reference.moderation.queue import Queue
from horde_model_reference.stores.queue import ChangeFilter
from tests.stores.processes import first_line_of, let_go
from tests.torture.writers import CATEGORY, opened, start

__all__ = ["Outcome", "look_at", "said_by", "torture"]

_LONGEST = 0.4
"""Seconds that a writer lives, at most; it ends anywhere between its first step and there."""
_ORDER = [str(status) for status in (Status.pending, Status.approved, Status.applied)]


@dataclass
class Outcome:
    """What was found. All but the first two must be empty."""

    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    inconsistent: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


def torture(outcome: Outcome, address: str, root: Path, kills: int) -> None:
    """Start, kill, look: that many times over one database and one mirror."""
    for turn in range(kills):
        with start("doomed", address, str(root), str(turn)) as writer:
            assert first_line_of(writer) == "ready"
            let_go(writer)
            time.sleep(random.random() * _LONGEST)
            writer.send_signal(signal.SIGKILL)
            said = said_by(writer)
        outcome.kills += 1
        outcome.acknowledged += len(said)
        look_at(outcome, address, root, said)


def said_by(writer: subprocess.Popen[str]) -> list[list[object]]:
    """What was acknowledged until the end; half a line was not."""
    assert writer.stdout is not None
    return [json.loads(line) for line in writer.stdout if line.endswith("\n")]


def look_at(outcome: Outcome, address: str, root: Path, said: list[list[object]]) -> None:
    """What the next process finds when it starts."""
    queue = opened(address)
    mirror = Mirror(queue.store, root)
    mirror.refresh()
    for status, number, name, *made in said:
        try:
            change = queue.change(int(str(number)))
        except HordeModelReferenceError as error:
            outcome.lost.append(f"{status} {number} {name}: {error}")
            continue
        if _ORDER.index(change.status) < _ORDER.index(str(status)) or made not in ([], [change.applied_revision]):
            outcome.lost.append(f"{status} {number} {name} {made}: is {change.status} {change.applied_revision}")
    outcome.inconsistent += [str(fault) for fault in queue.store.verify()]
    outcome.inconsistent += [f"{path} is behind" for path, _ in mirror.behind()]
    outcome.inconsistent += list(_contradictions(queue))
    outcome.stale += [str(path) for path in root.rglob("*.tmp")]
    queue.store.close()


def _contradictions(queue: Queue) -> list[str]:
    """Where changes, log of the queue, and log of the records tell different stories."""
    with queue.store.queue() as rows:
        changes, log = rows.page(ChangeFilter())[0], rows.events()
    last = {event.change_id: event for event in log}
    told = {change.change_id: last[change.change_id].action for change in changes}
    verbs = {"enqueue": "pending", "approve": "approved", "apply": "applied", "revert": "applied"}
    wrong = [
        f"{c.change_id} is {c.status}, its log {told[c.change_id]}"
        for c in changes
        if verbs[told[c.change_id]] != c.status
    ]
    made = {change.applied_revision for change in changes} - {None}
    there = {event.revision for event in queue.store.events(category=CATEGORY)}
    return wrong + [f"revision {revision} is not in both logs" for revision in sorted(made ^ there, key=str)]
