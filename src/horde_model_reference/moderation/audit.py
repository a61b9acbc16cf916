"""What happened, for those who ask later: differences, batches, and the log as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pydantic_core import from_json, to_json

from horde_model_reference.domain.changes import Change, QueueEvent, Status
from horde_model_reference.domain.differences import differences
from horde_model_reference.domain.events import Kind
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.moderation.queue import Queue
from horde_model_reference.stores.queue import ChangeFilter
from horde_model_reference.stores.sql import SqlStore

__all__ = ["audited", "batch_summary", "exported", "net_changes", "shown_difference", "with_events"]

_NET = {(True, False): "added", (False, True): "deleted"}
_TOLD = {
    *("change_id", "status", "operation", "category", "model_name", "requested_by", "requested_at"),
    *("approved_by", "approved_at", "rejected_by", "rejected_at", "reject_reason"),
    *("applied_by", "applied_at", "applied_job_id", "batch_id", "batch_title"),
}


def shown_difference(change: Change, before: JsonObject | None, after: JsonObject | None) -> JsonObject:
    """What a change does, field by field as clients know it, and in words under `differences`."""
    old, new = _flat(before), _flat(after)
    kinds = {
        "added": [] if after is None else [path for path in new if path not in old],
        "removed": [] if after is None else [path for path in old if path not in new],
        "modified": [path for path in new if path in old and old[path] != new[path]],
    }
    kind_of = {path: kind for kind, paths in kinds.items() for path in paths}
    fields: list[JsonValue] = [
        {"field_path": path, "old_value": old.get(path), "new_value": new.get(path), "change_type": kind_of[path]}
        for path in dict.fromkeys([*new, *old])
        if path in kind_of
    ]
    told = differences(before, after)
    return {
        "change_id": change.change_id,
        "category": change.category,
        "model_name": change.model_name,
        "operation": change.operation,
        "current_state": before,
        "proposed_state": after,
        "net_operation": "unchanged" if before == after else _NET.get((before is None, after is None), "modified"),
        "field_diffs": fields,
        "is_critical": any(each.alarming for each in told),
        **{f"fields_{kind}": [*paths] for kind, paths in kinds.items()},
        "differences": [{**asdict(each), "kind": str(each.kind)} for each in told],
    }


def audited(queue: Queue, which: ChangeFilter) -> tuple[list[Change], list[QueueEvent]]:
    """Those changes, and what happened to them."""
    with queue.store.queue() as rows:
        changes, _ = rows.page(which)
        return changes, rows.events([change.change_id for change in changes])


def with_events(changes: Sequence[Change], events: Sequence[QueueEvent]) -> list[JsonObject]:
    """Each change as clients of the audit know it."""
    shown = [change.model_dump(mode="json", include=_TOLD) for change in changes]
    for change in shown:
        change["events"] = [_shown(event) for event in events if event.change_id == change["change_id"]]
    return shown


def batch_summary(batch_id: int, changes: Sequence[Change], events: Sequence[QueueEvent]) -> JsonObject:
    """A batch in figures."""
    approved = [change for change in changes if change.approved_at is not None]
    first = (approved or changes)[0]
    return {
        "batch_id": batch_id,
        "batch_title": first.batch_title,
        "approved_by": first.approved_by,
        "approved_at": first.approved_at,
        "applied_at": max((change.applied_at for change in changes if change.applied_at), default=None),
        "approved_change_count": len(approved),
        "rejected_change_count": sum(change.status == Status.rejected for change in changes),
        "applied_change_count": sum(change.status == Status.applied for change in changes),
        "total_change_count": len(changes),
        "last_event_id": max((event.event_id for event in events), default=None),
    }


def net_changes(queue: Queue, changes: Sequence[Change]) -> JsonObject:
    """What these do, or did, to each model altogether: from before the first of them to after the last."""
    spans: dict[tuple[str, str], tuple[Change, JsonObject | None, JsonObject | None]] = {}
    for change in changes:
        if change.status in ("approved", "applied"):
            key, (before, after) = (change.category, change.model_name), queue.states(change)
            spans[key] = (change, spans[key][1] if key in spans else before, after)
    shown = [shown_difference(*span) for span in spans.values()]
    models: list[JsonValue] = [
        {
            **{key: each[key] for key in ("model_name", "category", "net_operation", "field_diffs", "is_critical")},
            "before_state": each["current_state"],
            "after_state": each["proposed_state"],
        }
        for each in shown
    ]
    counted = {
        f"models_{kind}": sum(each["net_operation"] == kind for each in shown)
        for kind in ("added", "modified", "deleted", "unchanged")
    }
    total = sum(len(each["field_diffs"]) for each in shown if isinstance(each["field_diffs"], list))
    critical = any(each["is_critical"] for each in shown)
    title = changes[0].batch_title if changes else None
    told: JsonObject = {"total_field_changes": total, "has_critical_changes": critical}
    return {"batch_title": title, "model_changes": models, **counted, **told}


def exported(store: SqlStore) -> Iterator[bytes]:
    """Every event of records, then of the queue, one JSON object a line, in the layout of the peer's audit files."""
    was: dict[tuple[str, str], JsonValue] = {}
    for event in store.events():
        if event.kind is not Kind.RECORD:
            continue
        key = (event.category, event.name)
        before, after = was.pop(key, None), None if event.document is None else from_json(event.document)
        if after is not None:
            was[key] = after
        line = {
            "event_id": event.revision,
            "timestamp": event.at // 1000,
            "domain": "v2",
            "category": event.category,
            "model_name": event.name,
            "operation": str(event.operation),
            "logical_user_id": event.actor,
            "request_id": event.note or None,
            "payload": {"before": before, "after": after},
            "hash": event.hash,
        }
        yield to_json(line) + b"\n"
    with store.queue() as rows:
        yield from (to_json({**_shown(each), "hash": each.hash}) + b"\n" for each in rows.events())


def _shown(event: QueueEvent) -> JsonObject:
    facts: JsonObject = {"event_id": event.event_id, "timestamp": event.at, "action": str(event.action)}
    return {**facts, "logical_user_id": event.actor, "payload": from_json(event.payload)}


def _flat(document: JsonObject | None, place: str = "") -> JsonObject:
    """The values of a record by their paths; a list is one value."""
    flat: JsonObject = {}
    for key, value in (document or {}).items():
        path = f"{place}.{key}" if place else key
        flat |= _flat(value, path) if isinstance(value, dict) and value else {path: value}
    return flat
