"""Many at once on one queue, in several processes: nothing is lost, no number is given twice, one approver wins."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from horde_model_reference.domain.changes import Status
from horde_model_reference.moderation.queue import Queue
from horde_model_reference.stores.queue import ChangeFilter
from tests.moderation.samples import BLIP, applied, change_of, proposed
from tests.stores.processes import first_line_of, let_go, lines_of
from tests.torture.writers import SHARED, start


def _at_once(command: str, address: str, count: int, *arguments: str) -> list[str]:
    """What each of that many processes says as JSON, all let go at the same moment."""
    processes = [start(command, address, str(301 + i), *arguments) for i in range(count)]
    for process in processes:
        assert first_line_of(process) == "ready"
    for process in processes:
        let_go(process)
    return [lines_of(process)[-1] for process in processes]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_many_writers_lose_nothing(queue: Queue, address: str, processes: int) -> None:
    """Sixteen threads in each process: every change is there once, and every apply that was told made its revision."""
    applied(queue, name=SHARED)
    said = _at_once("write", address, processes, "16", "1")
    done: list[tuple[str, int, int | None]] = [tuple(each) for line in said for each in json.loads(line)]
    assert len(done) == processes * 16 * 2
    numbers = Counter(number for _, number, _ in done)
    assert set(numbers.values()) == {1}
    made = {revision: (name, number) for name, number, revision in done if revision}
    events = {event.revision: event for event in queue.store.events(since=1)}
    assert {revision: (event.name, int(event.note.split()[1])) for revision, event in events.items()} == made
    refused = [number for _, number, revision in done if revision is None]
    assert {queue.change(number).status for number in refused} <= {Status.approved}
    assert all(name == SHARED for name, _, revision in done if revision is None)
    assert len(queue.store.entries(BLIP)) == 1 + processes * 16
    assert queue.page(ChangeFilter())[1] == len(done) + 1
    assert queue.store.verify() == []


def test_of_two_approvers_one_wins(queue: Queue, address: str) -> None:
    """Two hundred races of two processes: each change is approved once, by the one who was told so."""
    changes = [proposed(queue, name=f"n{i}") for i in range(200)]
    first, second = map(json.loads, _at_once("approve", address, 2, "200"))
    assert sorted([*first, *second]) == [each.change_id for each in changes]
    for who, won in (("301", first), ("302", second)):
        for number in random.sample(won, min(len(won), 20)):
            assert queue.change(number).approved_by == who
    assert {change_of(queue, each).status for each in changes} == {Status.approved}
    assert queue.store.verify() == []
