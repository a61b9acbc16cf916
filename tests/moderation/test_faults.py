"""A disk that is full, a database that is read-only, locked or gone: refused in words, nothing half done, and it works
again when the fault is over, without help."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from horde_model_reference.domain.changes import Status
from horde_model_reference.errors import StoreUnavailable
from horde_model_reference.moderation.queue import Queue
from horde_model_reference.stores.queue import ChangeFilter
from horde_model_reference.stores.sql import SqlStore
from tests.moderation.samples import ANN, EVE, applied, approved, blip, bodies, events, proposal, proposed, queue_over
from tests.stores.conftest import Server
from tests.stores.processes import first_line_of, lines_of, start

LONG = "x" * 19_000


@pytest.fixture
def impatient(path: Path) -> Iterator[Queue]:
    """A queue on SQLite with one record; it waits for a lock no longer than a fifth of a second."""
    store = SqlStore(f"sqlite:///{path}", timeout=0.2)
    queue = queue_over(store)
    applied(queue)
    yield queue
    store.close()


def _everywhere(queue: Queue, pragma: str) -> None:
    """Set it on each connection that the store keeps: a write takes one, and reads another beside it."""
    with ExitStack() as several:
        for connection in [several.enter_context(queue.store._transaction()) for _ in range(4)]:
            connection.exec_driver_sql(f"PRAGMA {pragma}")


@contextmanager
def _full(queue: Queue) -> Iterator[None]:
    """No page more than there is now."""
    with queue.store._transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    _everywhere(queue, f"max_page_count={pages}")
    yield
    _everywhere(queue, "max_page_count=1000000")


@contextmanager
def _read_only(queue: Queue) -> Iterator[None]:
    """As a file is that the system has set so after an error of the disk."""
    _everywhere(queue, "query_only=1")
    yield
    _everywhere(queue, "query_only=0")


@contextmanager
def _locked(queue: Queue) -> Iterator[None]:
    """Another program holds the write lock."""
    with queue.store._transaction() as connection:
        file = connection.exec_driver_sql("PRAGMA database_list").one()[2]
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


_FAULTS = {"full": (_full, "disk is full"), "read-only": (_read_only, "read-only"), "locked": (_locked, "write lock")}


def _standing(queue: Queue) -> tuple[object, ...]:
    """All that a client can see."""
    return queue.page(ChangeFilter()), events(queue), bodies(queue), queue.store.head(), queue.store.verify()


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_fault_while_proposing_and_applying_changes_nothing_and_passes(impatient: Queue, fault: str) -> None:
    """Proposals, decisions, applies, reverts: refused as such; reads go on; afterwards each of them works."""
    queue, (broken, reason) = impatient, _FAULTS[fault]
    waiting = [approved(queue, proposed(queue, name=f"n{i}", description=LONG)).change_id for i in range(3)]
    pending = proposed(queue, name="p", description=LONG)
    attempts = (
        lambda: queue.apply(waiting, ANN),
        lambda: queue.apply(waiting, ANN, atomic=False),
        lambda: [queue.propose(proposal("create", f"z{i}", blip(f"z{i}", description=LONG)), EVE) for i in range(3)],
        lambda: queue.comment(pending.change_id, LONG * 3, EVE),
    )
    before = _standing(queue)
    with broken(queue):
        for attempt in attempts:
            with pytest.raises(StoreUnavailable, match=reason):
                attempt()
            assert _standing(queue) == before
    for attempt in (attempts[0], *attempts[2:]):
        attempt()
    assert {queue.change(number).status for number in waiting} == {Status.applied}
    assert queue.store.verify() == []


def test_another_process_that_holds_the_lock_is_waited_for_only_so_long(address: str, queue: Queue) -> None:
    """On both databases; the queue reads on meanwhile, and writes when the other has ended."""
    proposed(queue)
    patience = SqlStore(address, timeout=0.2)
    impatient = queue_over(patience)
    with start("hold", address) as holder:
        assert first_line_of(holder) == "held"
        for attempt in (lambda: proposed(impatient), lambda: impatient.decide("t", ANN, approved=[1])):
            with pytest.raises(StoreUnavailable, match="write lock"):
                attempt()
        assert impatient.change(1).status == Status.pending
        lines_of(holder)
    assert approved(impatient, impatient.change(1)).batch_id == 1
    patience.close()


def test_a_server_that_went_away_while_applying_loses_nothing(postgres_server: Server, postgres_address: str) -> None:
    """Nothing of the apply is there; when the server is back it is applied."""
    store = SqlStore(postgres_address)
    queue = queue_over(store)
    change = approved(queue, proposed(queue))
    postgres_server.stop()
    try:
        for attempt in (lambda: queue.apply([1], ANN), lambda: proposed(queue, name="b")):
            with pytest.raises(StoreUnavailable):
                attempt()
    finally:
        postgres_server.ensure_postgres_running()
    assert queue.change(1) == change
    assert queue.apply([1], ANN).changes[0].applied_revision == 1
    assert store.verify() == []
    store.close()
