"""The queue with records as they are: every legacy category of the invented reference, through v1 and through v2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.changes import Change, Operation, Status
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.moderation.documents import merged, wanted
from horde_model_reference.moderation.prereview import ProposalInvalid
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.stores.sql import SqlStore
from tests.moderation.samples import ANN, BEN, BLIP, EVE, accepted, applied, blip, bodies, proposal, v1_bodies

LEGACY = sorted(str(name) for name, each in get_all_registered_categories().items() if each.has_legacy_format)
ONLY_V2 = ("controlnet_annotator", "video_generation", "audio_generation", "lora", "ti")


_ALSO: dict[str, JsonObject] = {
    "image_generation": {"baseline": "stable_diffusion_xl", "nsfw": False},
    "text_generation": {"parameters": 7},
}
"""What a record of some categories cannot do without."""


def legacy_entry(category: str) -> tuple[str, JsonObject]:
    """A name and an entry of that category, as the invented reference has it."""
    folder = Path(__file__).parents[1] / "fixtures" / "legacy"
    descriptor = get_all_registered_categories()[category]
    file = next(folder.glob(f"*/{descriptor.legacy_filename(category)}"))
    form = legacy_format(category)
    entries, _ = form.read(file.read_bytes(), file.name)
    name, entry = next((name, each) for name, each in entries.items() if form.to_v2(category, name, each)[0])
    if category != "text_generation":
        return name, entry
    document = form.to_v2(category, name, entry)[0] or {}  # what a file of these has as cells, v1 tells as v2 does
    return name, {key: document[key] for key in ("name", "parameters", "description", "tags", "settings", "style")}


def change(queue: Queue, category: str, name: str, operation: Operation, payload: JsonObject | None) -> Change:
    """A change of a legacy entry, proposed and applied."""
    return accepted(queue, queue.propose(Proposal(category, name, operation, payload, "legacy"), EVE))


def _shown(queue: Queue, category: str, name: str) -> JsonObject:
    """The entry as v1 tells it: of a text model, what v2 does."""
    if category == "text_generation":
        return dict(json.loads(bodies(queue, category))[name])
    return v1_bodies(queue, category)[name]


def test_there_are_ten_legacy_categories() -> None:
    """Those that the tests below go through."""
    assert len(LEGACY) == 10


@pytest.mark.parametrize("category", LEGACY)
def test_a_legacy_entry_is_proposed_applied_and_read_back_in_both_formats(queue: Queue, category: str) -> None:
    """v1 shows every field as it was written, also those that v2 does not model; v2 shows what they mean."""
    name, entry = legacy_entry(category)
    created = change(queue, category, name, "create", entry)
    assert (created.domain, created.payload) == ("legacy", entry)
    shown = _shown(queue, category, name)
    assert {key: shown.get(key) for key in entry} == entry
    record = json.loads(bodies(queue, category))[name]
    assert record["metadata"]["created_by"] == EVE.id
    described = {**entry, "description": "another"}
    change(queue, category, name, "update", described)
    shown = _shown(queue, category, name)
    assert {key: shown.get(key) for key in described} == described
    assert json.loads(bodies(queue, category))[name]["description"] == "another"
    assert queue.store.verify() == []


@pytest.mark.parametrize("category", LEGACY)
def test_a_revert_of_a_legacy_change_is_the_same_to_the_byte_in_both_formats(queue: Queue, category: str) -> None:
    """Update through v1, through v2, and deletion: the record and the entry it came from are what they were."""
    name, entry = legacy_entry(category)
    change(queue, category, name, "create", entry)
    before = (bodies(queue, category), v1_bodies(queue, category))
    document = json.loads(bodies(queue, category))[name]
    for each in (
        Proposal(category, name, "update", {**entry, "description": "another"}, "legacy"),
        Proposal(category, name, "update", {**document, "description": "another"}),
        Proposal(category, name, "delete", None, "legacy"),
        Proposal(category, name, "delete"),
    ):
        done = accepted(queue, queue.propose(each, BEN))
        assert (bodies(queue, category), v1_bodies(queue, category)) != before
        queue.revert(done.change_id, ANN, "oops")
        assert (bodies(queue, category), v1_bodies(queue, category)) == before
    assert queue.store.verify() == []


def test_a_record_that_never_had_a_legacy_entry_has_none_after_a_revert(queue: Queue) -> None:
    """The entry of the change that was taken back went on showing in v1, with the fields that only v1 knows."""
    applied(queue)
    before = (bodies(queue), v1_bodies(queue))
    entry: JsonObject = {**before[1]["a"], "description": "new", "available": True}
    done = accepted(queue, queue.propose(proposal("update", "a", entry, "legacy"), EVE))
    assert v1_bodies(queue)["a"]["available"] is True
    queue.revert(done.change_id, ANN, "oops")
    assert (bodies(queue), v1_bodies(queue)) == before


@pytest.mark.parametrize("category", [*LEGACY, *ONLY_V2])
def test_every_category_takes_a_v2_proposal(queue: Queue, category: str) -> None:
    """Create, update, delete; and all the way back."""
    record: JsonObject = {"name": "m", "config": {"download": []}}
    record |= _ALSO.get(category, {})
    states = [b"{}"]
    for operation, payload in (("create", record), ("update", {**record, "description": "new"}), ("delete", None)):
        done = accepted(queue, queue.propose(Proposal(category, "m", operation, payload), EVE))  # type: ignore[arg-type]
        queue.revert(done.change_id, ANN, "oops")
        assert bodies(queue, category) == states[-1]
        queue.revert(done.change_id + 1, ANN, "it was right")
        states.append(bodies(queue, category))
    assert (states[-1], len(set(states)), queue.store.head(), queue.store.verify()) == (b"{}", 3, 9, [])


def test_a_legacy_deletion_shows_the_entry_that_would_go(queue: Queue) -> None:
    """With the fields that only v1 knows."""
    name, entry = legacy_entry(BLIP)
    change(queue, BLIP, name, "create", entry)
    deletion = queue.propose(Proposal(BLIP, name, "delete", None, "legacy"), EVE)
    assert deletion.payload is not None
    assert {key: deletion.payload[key] for key in entry} == entry


def test_a_legacy_entry_that_cannot_be_converted_is_refused(queue: Queue) -> None:
    """At the door; and where it was let in by an earlier version, when it is applied."""
    broken: JsonObject = {"name": "a", "config": 7}
    with pytest.raises(ProposalInvalid, match="config"):
        queue.propose(proposal("create", "a", broken, "legacy"), EVE)
    name, entry = legacy_entry(BLIP)
    let_in = queue.propose(Proposal(BLIP, name, "create", entry, "legacy"), EVE)
    with queue.store.begin(actor="tests") as unit:
        unit.queue.save(let_in.model_copy(update={"payload": broken, "status": Status.approved, "batch_id": 1}))
    with pytest.raises(ProposalInvalid, match="config"):
        queue.apply([let_in.change_id], ANN)
    done = queue.apply([let_in.change_id], ANN, atomic=False)
    assert [(number, type(error)) for number, error in done.failures] == [(let_in.change_id, ProposalInvalid)]
    assert bodies(queue) == b"{}"


def test_what_only_v2_can_say_survives_a_legacy_update(queue: Queue) -> None:
    """An entry does not know of it, so it cannot mean to take it away."""
    name, entry = legacy_entry(BLIP)
    change(queue, BLIP, name, "create", entry)
    document = json.loads(bodies(queue))[name]
    document["config"]["download"][0]["size_bytes"] = 7
    accepted(queue, queue.propose(Proposal(BLIP, name, "update", document), EVE))
    shown = v1_bodies(queue)[name]
    change(queue, BLIP, name, "update", {**shown, "description": "another"})
    after = json.loads(bodies(queue))[name]
    assert after["description"] == "another"


def test_a_rebased_legacy_update_is_the_entry_as_it_was_proposed(queue: Queue) -> None:
    """Against the record as it is now."""
    name, entry = legacy_entry(BLIP)
    change(queue, BLIP, name, "create", entry)
    mine = queue.propose(Proposal(BLIP, name, "update", {**entry, "version": "2"}, "legacy"), EVE)
    change(queue, BLIP, name, "update", {**entry, "description": "theirs"})
    again = queue.rebase(mine.change_id, EVE)
    assert (again.domain, again.payload) == ("legacy", {**entry, "version": "2"})
    assert accepted(queue, again).status == Status.applied


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": 3}, {"a": 2}, {"a": 3}),
        ({"a": 1}, {}, {"a": 2}, {}),
        ({}, {}, {"a": 2}, {"a": 2}),
        ({}, {"b": 1}, {"a": 2}, {"a": 2, "b": 1}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1, "y": 3}}, {"a": {"x": 2, "y": 3}}),
        ({"a": 1}, {"a": {"x": 2}}, {"a": {"y": 3}}, {"a": {"y": 3, "x": 2}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [3]}, {"a": [1, 2]}),
        ({"a": 1}, {"a": 1}, {}, {}),
    ],
)
def test_what_both_sides_changed_comes_together(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, result: JsonObject
) -> None:
    """Theirs with what ours changed; where both changed the same, ours, for somebody looks at it anyway."""
    assert merged(base, ours, theirs) == result


def test_a_change_without_a_payload_leads_to_no_record(tmp_path: Path) -> None:
    """As a deletion does."""
    store = SqlStore(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    facts = {"change_id": 1, "category": BLIP, "model_name": "a", "operation": "update", "requested_by": "1"}
    empty = Change.model_validate({**facts, "requested_username": "", "requested_at": 0, "updated_at": 0})
    assert wanted(empty, blip()) is None
    assert decode_object(store.snapshot(BLIP).body) == {}
    store.close()
