"""The rules of the queue, one by one, over both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from horde_model_reference.domain.changes import TRANSITIONS, Action, Change, NamedFinding, Status
from horde_model_reference.domain.findings import JsonObject, Severity
from horde_model_reference.errors import (
    ChangeNotFound,
    ChangeOutdated,
    ChangeRefused,
    ModelExists,
    ModelNotFound,
    NotAllowed,
)
from horde_model_reference.moderation.prereview import ProposalInvalid
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
    queue_over,
    told,
)

# -- proposals --


def test_a_proposal_changes_nothing_but_the_queue(queue: Queue) -> None:
    """It is pending, has the number 1, and says who wants what against which revision."""
    change = queue.propose(Proposal(BLIP, "a", "create", blip(), notes="please", route="create_v2_blip"), EVE)
    assert (change.change_id, change.status, change.operation, change.base_revision) == (1, Status.pending, "create", 0)
    assert (change.requested_by, change.requested_username, change.notes) == ("202", "Eve#202", "please")
    assert change.request_metadata == {"route": "create_v2_blip"}
    assert change == queue.change(1)
    assert (queue.store.head(), bodies(queue)) == (0, b"{}")


def test_a_proposal_carries_the_revision_of_its_record(queue: Queue) -> None:
    """Not that of the reference, which moved on with other records."""
    applied(queue)
    applied(queue, name="b")
    assert proposed(queue, "update", version="2").base_revision == 1
    assert proposed(queue, "delete", "b").base_revision == 2


def test_what_is_there_cannot_be_created_and_what_is_not_cannot_be_changed(queue: Queue) -> None:
    """And nothing is left in the queue."""
    applied(queue)
    with pytest.raises(ModelExists):
        proposed(queue)
    for operation in ("update", "delete"):
        with pytest.raises(ModelNotFound):
            queue.propose(proposal(operation, "b"), EVE)
    assert queue.page(ChangeFilter())[1] == 1


def test_an_invalid_proposal_is_refused_by_field(queue: Queue) -> None:
    """The queue is as it was, and the next number follows on."""
    with pytest.raises(ProposalInvalid) as caught:
        proposed(queue, config={"download": "none"})
    assert any(finding.field.startswith("config") for finding in caught.value.findings)
    assert queue.page(ChangeFilter()) == ([], 0)
    assert proposed(queue).change_id == 1


@pytest.mark.parametrize("name", ["a\0b", "half \ud83d", "\ud800"])
def test_a_name_that_no_database_takes_is_an_answer_not_a_fault(queue: Queue, name: str) -> None:
    """SQLite raised UnicodeEncodeError for half a character, and PostgreSQL an error of the server for a NUL."""
    with pytest.raises(ProposalInvalid):
        queue.propose(proposal("create", name), EVE)
    for operation in ("update", "delete"):
        with pytest.raises(ModelNotFound):
            queue.propose(proposal(operation, name), EVE)


def test_a_proposer_who_has_not_seen_the_newest_record_is_told(queue: Queue) -> None:
    """`seen` is what they had read; a newer revision of other records does not matter."""
    applied(queue)
    applied(queue, name="b")
    applied(queue, "update", version="2")
    with pytest.raises(ChangeOutdated) as caught:
        queue.propose(proposal("update", seen=2), EVE)
    assert (caught.value.base, caught.value.actual) == (2, 3)
    assert queue.propose(proposal("update", "b", seen=2), EVE).base_revision == 2


def test_two_may_propose_the_same(queue: Queue) -> None:
    """Duplicates wait side by side; who reviews decides."""
    assert (proposed(queue).change_id, proposed(queue).change_id) == (1, 2)


def test_a_deletion_shows_the_record_that_would_go(queue: Queue) -> None:
    """Its payload is the record as it was."""
    applied(queue)
    change = proposed(queue, "delete")
    assert change.payload is not None
    assert change.payload["description"] == "d"
    assert queue.states(change)[1] is None


def test_the_server_alone_says_who_made_a_record(queue: Queue) -> None:
    """Whatever a payload claims: the proposer of what was applied."""
    applied(queue, metadata={"created_by": "mallory", "updated_by": "mallory"})
    assert json.loads(bodies(queue))["a"]["metadata"]["created_by"] == "202"
    accepted(queue, queue.propose(proposal("update", "a", blip(version="2", metadata={"created_by": "x"})), BEN))
    metadata = json.loads(bodies(queue))["a"]["metadata"]
    assert (metadata["created_by"], metadata["updated_by"]) == ("202", "102")


def test_a_text_model_names_its_copies(queue: Queue) -> None:
    """Under which backends offer it."""
    payload: JsonObject = {"name": "org/m", "parameters": 7_000_000_000, "config": {"download": []}}
    change = queue.propose(Proposal("text_generation", "org/m", "create", payload), EVE)
    assert change.related_models == ["aphrodite/org/m", "koboldcpp/m"]
    plain = queue.propose(Proposal("text_generation", "m", "create", {**payload, "name": "m"}), EVE)
    assert plain.related_models == ["aphrodite/m", "koboldcpp/m"]
    accepted(queue, change)
    assert json.loads(bodies(queue, "text_generation"))["org/m"]["parameters"] == 7_000_000_000


# -- what the proposer may do --


def test_only_the_proposer_edits_withdraws_and_rebases(queue: Queue) -> None:
    """An approver may not, either."""
    change = proposed(queue)
    attempts: tuple[Callable[[], Change], ...] = (
        lambda: queue.edit(change.change_id, blip(), ANN),
        lambda: queue.withdraw(change.change_id, ANN),
        lambda: queue.rebase(change.change_id, ANN),
    )
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            attempt()
    assert change_of(queue, change) == change


def test_an_edit_is_looked_at_anew(queue: Queue) -> None:
    """What is wrong is refused, what is right replaces the payload, and the log keeps what was there before."""
    change = proposed(queue)
    with pytest.raises(ProposalInvalid):
        queue.edit(change.change_id, blip(config=7), EVE)
    edited = queue.edit(change.change_id, blip(description="better"), EVE, "now better")
    assert edited.payload is not None
    assert (edited.payload["description"], edited.notes, edited.status) == ("better", "now better", Status.pending)
    assert told(events(queue, change)[-1])["before"] == change.payload
    assert queue.edit(change.change_id, blip(), EVE).notes == "now better"


def test_a_deletion_has_nothing_to_edit(queue: Queue) -> None:
    """It is withdrawn instead."""
    applied(queue)
    change = proposed(queue, "delete")
    with pytest.raises(ChangeRefused, match="nothing to edit"):
        queue.edit(change.change_id, blip(), EVE)
    assert queue.withdraw(change.change_id, EVE, "changed my mind").status == Status.withdrawn
    assert told(events(queue, change)[-1])["reason"] == "changed my mind"


def test_everybody_may_comment_at_any_time(queue: Queue) -> None:
    """Comments stay in order and change no status."""
    change = applied(queue)
    queue.comment(change.change_id, "first", BEN)
    after = queue.comment(change.change_id, "second", EVE)
    assert [(comment.text, comment.by) for comment in after.comments] == [("first", "102"), ("second", "202")]
    assert after.status == Status.applied
    assert [event.action for event in events(queue, change)][-2:] == [Action.comment, Action.comment]


def test_the_machine_can_look_again(queue: Queue) -> None:
    """What it finds is as of now, and what others found stands beside it."""
    file: JsonObject = {
        "file_name": "f.pt",
        "file_url": "https://example.org/f.pt",
        "sha256sum": "ab" * 32,
        "size_bytes": 1,
    }
    change = proposed(queue, config={"download": [file]})
    assert not [finding for finding in change.findings if "same file" in finding.reason]
    applied(queue, name="b", config={"download": [file]})
    heard = NamedFinding(check="address", severity=Severity.WARNING, reason="the host says it is gone")
    again = replace(queue, ask_hosts=lambda _document: (heard,)).look_again(change.change_id)
    assert heard in again.findings
    assert [finding for finding in again.findings if "same file is in blip/b" in finding.reason]
    assert again == change_of(queue, change)


def test_a_rebase_proposes_the_same_against_what_is_there_now(queue: Queue) -> None:
    """What others changed stays, what this one changed comes on top, and the old one is withdrawn."""
    applied(queue)
    mine = queue.propose(Proposal(BLIP, "a", "update", blip(version="2"), notes="why"), EVE)
    applied(queue, "update", description="theirs")
    with pytest.raises(ChangeOutdated):
        accepted(queue, mine)
    new = queue.rebase(mine.change_id, EVE)
    assert new.payload is not None
    assert (new.payload["description"], new.payload["version"]) == ("theirs", "2")
    assert (new.base_revision, new.status, new.notes) == (2, Status.pending, "why")
    assert change_of(queue, mine).status == Status.withdrawn
    assert told(events(queue, mine)[-1])["rebased_as"] == new.change_id
    assert accepted(queue, new).applied_revision == 3


def test_a_rebase_of_what_somebody_else_created_or_deleted_is_refused(queue: Queue) -> None:
    """And nothing is withdrawn."""
    create = proposed(queue)
    applied(queue)
    with pytest.raises(ModelExists):
        queue.rebase(create.change_id, EVE)
    update = proposed(queue, "update", version="2")
    deletion = proposed(queue, "delete")
    applied(queue, "delete")
    for change in (update, deletion):
        with pytest.raises(ModelNotFound):
            queue.rebase(change.change_id, EVE)
    assert {change_of(queue, each).status for each in (create, update, deletion)} == {Status.pending}
    assert queue.rebase(create.change_id, EVE).base_revision == 0


# -- deciding --


def _in(status: Status, queue: Queue) -> Change:
    """A change of Eve's in that status."""
    change = proposed(queue, name=f"{status}")
    ways = {
        Status.pending: lambda: change,
        Status.approved: lambda: approved(queue, change),
        Status.applied: lambda: accepted(queue, change),
        Status.rejected: lambda: queue.decide("t", ANN, rejected=[change.change_id], reason="no")[2][0],
        Status.withdrawn: lambda: queue.withdraw(change.change_id, EVE),
    }
    return ways[status]()


_DONE = (Action.edit, Action.withdraw, Action.rebase, Action.approve, Action.reject, Action.apply, Action.revert)
_STANDS = tuple(status for status in Status if status is not Status.applying)


@pytest.mark.parametrize(("status", "action"), [*product(_STANDS, _DONE)])
def test_what_the_table_allows_is_done_and_all_else_is_refused_with_what_is_allowed(
    queue: Queue, status: Status, action: Action
) -> None:
    """Each status with each verb; a refusal changes neither change, log nor record."""
    change = _in(status, queue)
    number, before = change.change_id, (change_of(queue, change), events(queue), bodies(queue))
    attempts: dict[Action, Callable[[], object]] = {
        Action.edit: lambda: queue.edit(number, blip(change.model_name), EVE),
        Action.withdraw: lambda: queue.withdraw(number, EVE),
        Action.rebase: lambda: queue.rebase(number, EVE),
        Action.approve: lambda: queue.decide("t", BEN, approved=[number]),
        Action.reject: lambda: queue.decide("t", BEN, rejected=[number], reason="no"),
        Action.apply: lambda: queue.apply([number], BEN),
        Action.revert: lambda: queue.revert(number, BEN, "oops"),
    }
    if (status, action) in TRANSITIONS:
        attempts[action]()
        assert change_of(queue, change).status == TRANSITIONS[status, action]
    else:
        with pytest.raises(ChangeRefused) as caught:
            attempts[action]()
        assert caught.value.allowed == tuple(str(each) for stands, each in TRANSITIONS if stands == status)
        assert (change_of(queue, change), events(queue), bodies(queue)) == before
    assert queue.store.verify() == []


def test_approvals_join_the_batch_that_is_open(queue: Queue) -> None:
    """A new number only once all of it is applied; a rejection gives none out."""
    first, second, third = (proposed(queue, name=name) for name in "abc")
    assert queue.decide("one", ANN, approved=[first.change_id])[0] == 1
    assert queue.decide("two", ANN, approved=[second.change_id])[0] == 1
    queue.apply([first.change_id], ANN)
    assert change_of(queue, second).batch_id == 1
    queue.apply([second.change_id], ANN)
    assert queue.decide("no", ANN, rejected=[third.change_id], reason="no")[0] is None
    assert approved(queue, proposed(queue, name="d")).batch_id == 2


def test_a_batch_is_decided_whole_or_not_at_all(queue: Queue) -> None:
    """One unknown or decided change, and none of the others is touched; no number is burnt."""
    first, second = proposed(queue), proposed(queue, name="b")
    with pytest.raises(ChangeNotFound):
        queue.decide("t", ANN, approved=[first.change_id, 99])
    with pytest.raises(ChangeNotFound):
        queue.decide("t", ANN, approved=[first.change_id], rejected=[99], reason="no")
    with pytest.raises(ChangeRefused, match="at once"):
        queue.decide("t", ANN, approved=[first.change_id, second.change_id], rejected=[second.change_id])
    assert {change_of(queue, each).status for each in (first, second)} == {Status.pending}
    batch, yes, no = queue.decide("t", ANN, approved=[1, 1], rejected=[2, 2], reason="no")
    assert (batch, [each.change_id for each in yes], [each.change_id for each in no]) == (1, [1], [2])
    assert (yes[0].batch_title, yes[0].approved_username, no[0].reject_reason) == ("t", "Ann#101", "no")


def test_nobody_approves_their_own(queue: Queue) -> None:
    """Four eyes; to reject it is fine."""
    own = queue.propose(proposal(), ANN)
    with pytest.raises(NotAllowed):
        queue.decide("t", ANN, approved=[own.change_id])
    assert change_of(queue, own).status == Status.pending
    assert queue.decide("t", ANN, rejected=[own.change_id], reason="no")[2][0].status == Status.rejected


@pytest.mark.parametrize(("reason", "logged"), [("it burns", "it burns"), ("", "the operator's setting allows it")])
def test_where_the_operator_allows_it_the_log_says_so(queue: Queue, reason: str, logged: str) -> None:
    """With the reason that was given; what others proposed is approved without such a line."""
    lenient = queue_over(queue.store, allow_self_approval=True)
    own, other = lenient.propose(proposal(), ANN), proposed(lenient, name="b")
    lenient.decide("t", ANN, approved=[own.change_id, other.change_id], override=reason)
    assert told(events(lenient, own)[-1])["override"] == logged
    assert "override" not in told(events(lenient, other)[-1])
