"""The rules of the queue, after the decision: applying, reverting, purging, and the log."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from horde_model_reference.domain.changes import Action, Role, Status
from horde_model_reference.errors import ChangeNotFound, ChangeOutdated, ChangeRefused, ModelNotFound
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.stores.queue import ChangeFilter
from tests.moderation.samples import (
    ANN,
    BEN,
    BLIP,
    EVE,
    accepted,
    applied,
    approved,
    blip,
    bodies,
    change_of,
    events,
    proposal,
    proposed,
    told,
)

# -- applying --


def test_applying_makes_record_status_and_log_at_once(queue: Queue) -> None:
    """One revision, whose note names the change."""
    change = applied(queue)
    (event,) = queue.store.events()
    assert (event.revision, event.actor, event.note) == (change.applied_revision, "101", "change 1")
    assert (change.status, change.applied_by, change.applied_job_id) == (Status.applied, "101", "apply-1-1")
    assert [each.action for each in events(queue)] == [Action.enqueue, Action.approve, Action.apply]
    assert queue.states(change) == (None, json.loads(bodies(queue))["a"])


def test_several_are_applied_all_or_none(queue: Queue) -> None:
    """The second cannot be, so the first is not, either."""
    good, other = proposed(queue), proposed(queue)
    queue.decide("t", ANN, approved=[1, 2])
    for numbers in ([1, 2], [1, 99], [1, proposed(queue, name="b").change_id]):
        with pytest.raises((ChangeOutdated, ChangeNotFound, ChangeRefused)):
            queue.apply(numbers, ANN)
    assert queue.store.head() == 0
    assert {change_of(queue, each).status for each in (good, other)} == {Status.approved}


def test_where_not_all_or_nothing_is_asked_for_the_rest_is_told(queue: Queue) -> None:
    """What could be applied is, in one unit and in the order given; of the others each says why not."""
    for name in "aab":
        proposed(queue, name=name)
    queue.decide("t", ANN, approved=[1, 2, 3])
    pending = proposed(queue, name="c")
    done = queue.apply([3, 1, 2, 99, pending.change_id], ANN, atomic=False)
    assert [(each.change_id, each.applied_revision) for each in done.changes] == [(3, 1), (1, 2)]
    assert [(number, type(error)) for number, error in done.failures] == [
        (2, ChangeOutdated),
        (99, ChangeNotFound),
        (4, ChangeRefused),
    ]
    assert change_of(queue, pending).status == Status.pending
    assert change_of(queue, done.changes[0]).batch_id == 1


def test_a_job_that_is_repeated_gives_what_it_did_then(queue: Queue) -> None:
    """Another job is refused, and nothing is applied twice."""
    approved(queue, proposed(queue))
    first = queue.apply([1], ANN, job_id="job")
    assert queue.apply([1, 1], BEN, job_id="job") == first
    for job in ("other", ""):
        with pytest.raises(ChangeRefused):
            queue.apply([1], ANN, job_id=job)
    assert queue.store.head() == 1


def test_a_batch_is_applied_whole_and_stays_one(queue: Queue) -> None:
    """Repeated with its job it gives the same; a batch that nobody knows is told."""
    for name in "abc":
        proposed(queue, name=name)
    queue.decide("t", ANN, approved=[1, 2], rejected=[3], reason="no")
    done = queue.apply_batch(1, ANN, job_id="job")
    assert [(each.change_id, each.batch_id) for each in done.changes] == [(1, 1), (2, 1)]
    assert queue.apply_batch(1, ANN, job_id="job") == done
    assert queue.apply_batch(1, ANN).changes == []
    with pytest.raises(ChangeNotFound):
        queue.apply_batch(9, ANN)


def test_changes_of_several_batches_are_not_mixed_by_accident(queue: Queue) -> None:
    """Unless it is asked for. One is applied with its job, so its batch is closed when the next is opened."""
    first, second = applied(queue), approved(queue, proposed(queue, name="b"))
    job = change_of(queue, first).applied_job_id or ""
    assert (first.batch_id, second.batch_id) == (1, 2)
    with pytest.raises(ChangeRefused, match="several batches"):
        queue.apply([1, 2], ANN, job_id=job)
    assert change_of(queue, second).status == Status.approved
    assert len(queue.apply([1, 2], ANN, job_id=job, mixed=True).changes) == 2


def test_a_record_that_moved_is_told_from_three_sides(queue: Queue) -> None:
    """What they made of it, what this would make of it, both against what it was; nothing is lost."""
    applied(queue)
    mine = approved(queue, proposed(queue, "update", version="2"))
    applied(queue, "update", description="theirs")
    with pytest.raises(ChangeOutdated) as caught:
        queue.apply([mine.change_id], ANN)
    told_of = {(each["side"], each["path"]): each["after"] for each in caught.value.difference}  # type: ignore[index]
    assert told_of["theirs", "description"] == "theirs"
    assert told_of["yours", "version"] == "2"
    assert (caught.value.base, caught.value.actual) == (1, 2)
    assert change_of(queue, mine).status == Status.approved
    applied(queue, "delete")
    with pytest.raises(ChangeOutdated) as caught:
        queue.apply([mine.change_id], ANN)
    assert caught.value.actual == 0


def test_an_approved_change_that_cannot_be_applied_is_not_stuck(queue: Queue) -> None:
    """It can be rejected, withdrawn, rebased."""
    applied(queue)
    ways: tuple[Callable[[int], object], ...] = (
        lambda each: queue.decide("t", ANN, rejected=[each], reason="late"),
        lambda each: queue.withdraw(each, EVE),
        lambda each: queue.rebase(each, EVE),
    )
    for way in ways:
        stale = approved(queue, proposed(queue, "update", version="2"))
        applied(queue, "update", description=f"d{stale.change_id}")
        way(stale.change_id)
        assert change_of(queue, stale).status in (Status.rejected, Status.withdrawn)


def test_what_changes_nothing_makes_no_revision_and_cannot_be_reverted(queue: Queue) -> None:
    """An update to what is there already is applied; there is nothing to take back."""
    applied(queue)
    same = applied(queue, "update", version="2")
    again = applied(queue, "update", version="2")
    assert (same.applied_revision, again.applied_revision, again.status) == (2, None, Status.applied)
    with pytest.raises(ChangeRefused, match="changed nothing"):
        queue.revert(again.change_id, ANN, "oops")


def test_an_approver_may_write_at_once_where_the_queue_is_off(queue: Queue) -> None:
    """Proposed, approved and applied in one unit, and the log says that nobody else looked."""
    change = queue.write(proposal(), ANN)
    assert (change.status, change.applied_revision, change.batch_id) == (Status.applied, 1, 1)
    assert [each.action for each in events(queue)] == [Action.enqueue, Action.approve, Action.apply]
    assert "override" in told(events(queue)[1])


def test_a_correction_of_the_history_is_a_change_like_any_other(queue: Queue) -> None:
    """It is logged, can be reverted, and names a record that is there."""
    applied(queue)
    before = bodies(queue)
    metadata = queue.correct(BLIP, "a", {"created_by": "7"}, ANN)
    assert metadata["created_by"] == "7"
    assert json.loads(bodies(queue))["a"]["metadata"] == metadata
    queue.revert(2, ANN, "no")
    assert bodies(queue) == before
    with pytest.raises(ModelNotFound):
        queue.correct(BLIP, "b", {}, ANN)


# -- reverting --


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_a_revert_gives_back_the_same_bytes(queue: Queue, operation: str) -> None:
    """What was deleted comes back at the end, where this one was; and the revert can be reverted."""
    for name in "xyz":
        applied(queue, name=name)
    name = "a" if operation == "create" else "z"
    before = bodies(queue)
    change = accepted(queue, queue.propose(proposal(operation, name, blip(name, version="9")), EVE))  # type: ignore[arg-type]
    after = bodies(queue)
    assert after != before
    inverse = queue.revert(change.change_id, ANN, "oops")
    assert bodies(queue) == before
    assert (inverse.reverts, inverse.status, inverse.notes) == (change.change_id, Status.applied, "oops")
    assert queue.states(inverse)[::-1] == queue.states(change)
    queue.revert(inverse.change_id, BEN, "it was right")
    assert bodies(queue) == after
    assert queue.store.verify() == []


def test_a_change_is_reverted_only_while_the_record_is_what_it_made(queue: Queue) -> None:
    """Else something of somebody else would go with it; twice is once too often."""
    create = applied(queue)
    update = applied(queue, "update", version="2")
    with pytest.raises(ChangeOutdated):
        queue.revert(create.change_id, ANN, "oops")
    queue.revert(update.change_id, ANN, "oops")
    with pytest.raises(ChangeOutdated):
        queue.revert(update.change_id, ANN, "again")
    deletion = applied(queue, "delete")
    applied(queue)
    with pytest.raises(ChangeOutdated):
        queue.revert(deletion.change_id, ANN, "oops")


# -- purging and the log --


def test_a_purge_takes_out_what_the_filter_names_and_the_log_keeps_it(queue: Queue) -> None:
    """Numbers are never given out again, also where all is gone."""
    applied(queue)
    proposed(queue, name="b")
    pending = ChangeFilter(statuses=["pending"])
    assert queue.purge(pending, ANN, dry_run=True) == queue.purge(pending, ANN) == [2]
    assert queue.purge(pending, ANN) == []
    with pytest.raises(ChangeNotFound):
        queue.change(2)
    assert told(events(queue)[-1]) == {"change_id": 2, "status": "pending", "action": "purge"}
    assert queue.purge(ChangeFilter(), ANN) == [1]
    assert (approved(queue, proposed(queue, name="c")).change_id, queue.change(3).batch_id) == (3, 2)
    assert queue.store.verify() == []


def test_a_purge_of_more_than_a_statement_may_name_works(queue: Queue) -> None:
    """SQLite takes 32,766 values a statement, PostgreSQL 65,535: one more was an error of the database."""
    change = proposed(queue)
    with queue.store.begin(actor="tests") as unit:
        unit.queue.remove(range(2, 66_000))
    assert queue.change(1) == change


def test_the_queue_is_searched_by_each_field(queue: Queue) -> None:
    """Every filter alone, all together, and in pages with their total."""
    applied(queue, name="Alpha/one")
    proposed(queue, name="beta%")
    queue.propose(Proposal("clip", "ALPHA two", "create", blip("ALPHA two")), BEN)
    found: tuple[tuple[ChangeFilter, list[int]], ...] = (
        (ChangeFilter(statuses=["applied"]), [1]),
        (ChangeFilter(statuses=["pending", "rejected"]), [2, 3]),
        (ChangeFilter(categories=["clip"]), [3]),
        (ChangeFilter(requested_by=["202"]), [1, 2]),
        (ChangeFilter(batch_id=1), [1]),
        (ChangeFilter(applied_job_id="apply-1-1"), [1]),
        (ChangeFilter(model_name="alpha"), [1, 3]),
        (ChangeFilter(model_name="%"), [2]),
        (ChangeFilter(change_ids=(1, 3)), [1, 3]),
        (ChangeFilter(statuses=["pending"], categories=["blip"], requested_by=["202"]), [2]),
        (ChangeFilter(statuses=[]), []),
    )
    for which, numbers in found:
        assert [change.change_id for change in queue.page(which)[0]] == numbers, which
    assert [change.change_id for change in queue.page(ChangeFilter(change_ids=[3, 1, 99]))[0]] == [1, 3]
    page, total = queue.page(ChangeFilter(), offset=1, limit=1)
    assert ([change.change_id for change in page], total) == ([2], 3)


def test_the_log_says_who_did_what_in_order_and_shows_an_edit(queue: Queue) -> None:
    """Every verb is one event; who changes a line afterwards is found out."""
    change = proposed(queue)
    queue.comment(1, "hm", BEN)
    queue.edit(1, blip(version="2"), EVE)
    accepted(queue, change)
    queue.revert(1, BEN, "oops")
    log = events(queue)
    assert [event.event_id for event in log] == list(range(1, len(log) + 1))
    assert [event.actor for event in log][:5] == ["202", "102", "202", "101", "101"]
    assert {event.change_id for event in log} == {1, 2}
    assert [each.change_id for each in events(queue, change)] == [1] * 5
    with queue.store.queue() as rows:
        assert rows.batches(before=None, limit=9) == [2, 1]
        assert rows.batches(before=2, limit=9) == [1]
    assert queue.store.verify() == []
    with queue.store._transaction(writes=True) as connection:
        connection.exec_driver_sql("UPDATE queue_events SET actor = '666' WHERE event_id = 2")
    assert [number for number, _ in queue.store.verify()] == [2]


def test_roles_are_what_the_contract_names() -> None:
    """Three, of which the queue itself asks for none: who may ask at all is decided at the door."""
    assert set(Role) == {"requestor", "approver", "license_editor"}
