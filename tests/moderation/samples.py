"""Who proposes what in the tests of the queue, and shortcuts through it."""

from __future__ import annotations

import itertools
import json
from typing import Literal

from horde_model_reference.domain.changes import Actor, Change, Operation, QueueEvent, Role
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.moderation.neighbours import NeighbourIndex
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.stores.sql import SqlStore

__all__ = ["ANN", "BEN", "BLIP", "EVE", "accepted", "applied", "approved", "blip", "bodies", "change_of"]
__all__ += ["events", "proposal", "proposed", "queue_over", "told", "v1_bodies"]

BLIP = "blip"
ANN = Actor(id="101", username="Ann#101", roles=frozenset({Role.approver}))
BEN = Actor(id="102", username="Ben#102", roles=frozenset({Role.approver}))
EVE = Actor(id="202", username="Eve#202", roles=frozenset({Role.requestor}))


def queue_over(store: SqlStore, *, allow_self_approval: bool = False) -> Queue:
    """A queue whose clock tells one second more at each look."""
    clock = itertools.count(1_700_000_000)
    return Queue(store, NeighbourIndex(store), allow_self_approval, clock=lambda: float(next(clock)))


def blip(name: str = "a", **fields: JsonValue) -> JsonObject:
    """A sound record."""
    return {"name": name, "description": "d", "config": {"download": []}, **fields}


def proposal(
    operation: Operation = "create",
    name: str = "a",
    payload: JsonObject | None = None,
    domain: Literal["v2", "legacy"] = "v2",
    seen: int | None = None,
) -> Proposal:
    """A proposal for the category `blip`, of a sound record where no payload is given."""
    given = blip(name) if payload is None and operation != "delete" else payload
    return Proposal(BLIP, name, operation, given, domain, seen)


def proposed(queue: Queue, operation: Operation = "create", name: str = "a", **fields: JsonValue) -> Change:
    """A change that Eve proposed."""
    return queue.propose(proposal(operation, name, None if operation == "delete" else blip(name, **fields)), EVE)


def approved(queue: Queue, change: Change) -> Change:
    """The change, approved by Ann."""
    return queue.decide("batch", ANN, approved=[change.change_id])[1][0]


def accepted(queue: Queue, change: Change) -> Change:
    """The change, approved and applied by Ann."""
    return queue.apply([approved(queue, change).change_id], ANN).changes[0]


def applied(queue: Queue, operation: Operation = "create", name: str = "a", **fields: JsonValue) -> Change:
    """A change that Eve proposed and Ann approved and applied."""
    return accepted(queue, proposed(queue, operation, name, **fields))


def change_of(queue: Queue, change: Change) -> Change:
    """The change as the queue has it now."""
    return queue.change(change.change_id)


def bodies(queue: Queue, category: str = BLIP) -> bytes:
    """The category as v2 serves it."""
    return queue.store.snapshot(category).body


def v1_bodies(queue: Queue, category: str = BLIP) -> dict[str, JsonObject]:
    """The category as v1 serves it."""
    form, found = legacy_format(category), {}
    for name, entry in queue.store.entries(category).items():
        origin = decode_object(entry.origin) if entry.origin else None
        found[name] = form.from_v2(category, name, decode_object(entry.document), origin)
    return found


def events(queue: Queue, change: Change | None = None) -> list[QueueEvent]:
    """What the log tells of the change, or of all."""
    with queue.store.queue() as rows:
        return rows.events(None if change is None else [change.change_id])


def told(event: QueueEvent) -> JsonObject:
    """The facts of an event."""
    facts: JsonObject = json.loads(event.payload)
    return facts
