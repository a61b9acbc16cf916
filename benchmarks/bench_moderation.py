"""What moderation costs: proposing and applying beside a bare SQLite commit of the same bytes, and whether it stays so.

A floor is the texts that the step writes (the change, its line in the log; of an apply also the record and its event),
committed by the `sqlite3` module alone with the same durability (`synchronous=FULL`) on the same file system. All that
is compared is measured in turns, so that noise meets both alike. The records are those of `bench_store`.

    python -m benchmarks.bench_moderation
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar

from benchmarks.bench_store import CATEGORY, LARGE, SMALL, documents
from benchmarks.rows import Row, table
from horde_model_reference.domain.changes import Action, Actor, Change
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.moderation.neighbours import NeighbourIndex
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.stores.sql import SqlStore

__all__ = ["measure"]

STEPS, CLIENTS, EACH = 200, 16, 12
REQUESTOR, APPROVER = Actor(id="202", username="Eve#202"), Actor(id="101", username="Ann#101")
_Given = TypeVar("_Given")


class _Bare:
    """The floor: texts in one table, committed."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
            self._connection.execute(statement)
        self._connection.execute("CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT NOT NULL)")

    def commit(self, texts: Sequence[str]) -> None:
        """In one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        for text in texts:
            self._connection.execute("INSERT INTO texts (text) VALUES (?)", (text,))
        self._connection.execute("COMMIT")


def _queue(folder: Path, name: str, *, records: int = 0, past: int = 0) -> Queue:
    """A queue over that many records, after that many changes; its index of neighbours is read already."""
    store = SqlStore(f"sqlite:///{folder / name}.sqlite3", timeout=60)
    with store.begin(actor="bench") as unit:
        for record, document in _records(records):
            unit.put(CATEGORY, record, document)
        old = Change.model_validate(
            {"change_id": 1, "category": CATEGORY, "model_name": "m", "operation": "create", "requested_by": "303"}
            | {"requested_username": "Old#303", "requested_at": 1, "updated_at": 1, "status": "applied", "batch_id": 1}
        )
        _, document = next(documents(1))
        for number in range(1, past + 1):
            facts = {"change_id": number, "payload": json.loads(document), "batch_id": number // 10 + 1}
            change = unit.queue.add(old.model_copy(update=facts | {"applied_job_id": f"job-{number}"}))
            unit.queue.log(Action.apply, change, by="101", at=1)
    queue = Queue(store, NeighbourIndex(store))
    queue.neighbours.near(CATEGORY, "m", {})
    return queue


def _records(count: int) -> Iterator[tuple[str, str]]:
    """Those of `bench_store`, each with a file of its own: what many share is another matter."""
    for i, (name, document) in enumerate(documents(count)):
        yield name, document.replace("a" * 64, f"{i:064x}")


def _proposals(label: str, count: int) -> Iterator[Proposal]:
    """Of records that are not there yet."""
    for name, document in documents(count):
        payload: JsonObject = json.loads(document.replace("a" * 64, sha256(f"{label}{name}".encode()).hexdigest()))
        yield Proposal(CATEGORY, f"{label} {name}", "create", {**payload, "name": f"{label} {name}"}, route="bench")


def _in_turns(given: Sequence[_Given], *calls: Callable[[_Given], object]) -> list[float]:
    """The median time of each in milliseconds."""
    times: list[list[float]] = [[] for _ in calls]
    for each in given:
        for spent, call in zip(times, calls, strict=True):
            began = time.perf_counter()
            call(each)
            spent.append((time.perf_counter() - began) * 1000)
    return [statistics.median(spent) for spent in times]


def _texts(queue: Queue, change: Change) -> list[str]:
    """What a step that ended with that change wrote."""
    with queue.store.queue() as rows:
        log, made = rows.events([change.change_id])[-1], rows.past(change.applied_revision)
    record = [str(made["document"])] * 2 if made else []
    return [change.model_dump_json(exclude_defaults=True), log.payload, *record]


def floor_rows(folder: Path) -> list[Row]:
    """Propose and apply beside their floors."""
    queue, bare, proposals = _queue(folder, "plain"), _Bare(folder / "bare.sqlite3"), list(_proposals("new", STEPS))
    sample = queue.propose(next(_proposals("sample", 1)), REQUESTOR)
    wrote = _texts(queue, sample)
    propose, floor = _in_turns(proposals, lambda p: queue.propose(p, REQUESTOR), lambda _: bare.commit(wrote))
    numbers = range(2, STEPS + 2)
    queue.decide("bench", APPROVER, approved=[1, *numbers])
    wrote = _texts(queue, queue.apply([1], APPROVER).changes[0])
    apply, applied_floor = _in_turns(numbers, lambda n: queue.apply([n], APPROVER), lambda _: bare.commit(wrote))
    return [
        Row("propose a change", "bare commit", floor, propose, 3, "ms"),
        Row("apply a change", "bare commit", applied_floor, apply, 4, "ms"),
    ]


def growth_rows(folder: Path) -> list[Row]:
    """The same step with little and with much behind it."""
    pairs = (
        ("past changes", 0, _queue(folder, "young"), _queue(folder, "old", past=LARGE)),
        ("records", SMALL, _queue(folder, "small", records=SMALL), _queue(folder, "large", records=LARGE)),
    )
    rows = []
    for what, few, small, large in pairs:
        made: tuple[list[int], list[int]] = ([], [])

        def propose(proposal: Proposal, queue: Queue, numbers: list[int]) -> None:
            numbers.append(queue.propose(proposal, REQUESTOR).change_id)

        before, after = _in_turns(
            list(_proposals("new", STEPS)),
            lambda p: propose(p, small, made[0]),  # noqa: B023  (called at once)
            lambda p: propose(p, large, made[1]),  # noqa: B023
        )
        rows.append(Row(f"propose, {LARGE:,} {what}", f"{few:,}", before, after, 1.2, "ms"))
        for queue, numbers in zip((small, large), made, strict=True):
            queue.decide("bench", APPROVER, approved=numbers)
        before, after = _in_turns(
            list(zip(*made, strict=True)),
            lambda pair: small.apply([pair[0]], APPROVER),  # noqa: B023
            lambda pair: large.apply([pair[1]], APPROVER),  # noqa: B023
        )
        rows.append(Row(f"apply, {LARGE:,} {what}", f"{few:,}", before, after, 1.2, "ms"))
    return rows


def client_rows(folder: Path) -> list[Row]:
    """As many stories by one client as by sixteen at once; the best of three."""
    queue = _queue(folder, "busy")

    def story(proposal: Proposal) -> None:
        number = queue.propose(proposal, REQUESTOR).change_id
        queue.decide("bench", APPROVER, approved=[number])
        queue.apply([number], APPROVER)

    def seconds(clients: int, label: str) -> float:
        proposals = list(islice(_proposals(label, CLIENTS * EACH), CLIENTS * EACH))
        with ThreadPoolExecutor(clients) as pool:
            began = time.perf_counter()
            list(pool.map(story, proposals))
            return time.perf_counter() - began

    one, many = (min(seconds(clients, f"{clients}/{i}") for i in range(3)) for clients in (1, CLIENTS))
    what = f"{CLIENTS * EACH} changes proposed, approved, applied by {CLIENTS} clients"
    return [Row(what, "by one", one, many, 1, "s")]


def measure() -> list[Row]:
    """Every line of the table."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # not in memory, as some temporary folders are
        return [*floor_rows(Path(folder)), *growth_rows(Path(folder)), *client_rows(Path(folder))]


if __name__ == "__main__":
    print(table(measure()))
