"""Which record a change leads to, and how one that was made against an older record is carried over to a newer."""

from __future__ import annotations

from horde_model_reference.domain.changes import Change, NamedFinding
from horde_model_reference.domain.findings import JsonObject, Severity
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.moderation.prereview import ProposalInvalid, as_stored

__all__ = ["merged", "wanted"]

_STAMPS = ("created_at", "created_by", "updated_at", "updated_by")


def wanted(change: Change, current: JsonObject | None) -> JsonObject | None:
    """The v2 document that the change leads to; None for a deletion. Raises `ProposalInvalid` for a legacy entry
    that cannot be converted. What only v2 can say of a record stays as it is where a legacy entry changes it."""
    category, name, payload = change.category, change.model_name, change.payload
    if change.operation == "delete" or payload is None:
        return None
    if change.domain == "v2":
        return as_stored(category, name, payload)
    form = legacy_format(category)
    has_types = category == "text_generation"  # what a file of these has as cells, v1 tells as v2 does
    document, findings = form.to_v2(category, name, {"name": name} if has_types else payload)
    if document is None:
        wrong = (each for each in findings if each.severity is Severity.ERROR)
        named = (NamedFinding(check="schema", severity=e.severity, reason=e.reason, field=e.field) for e in wrong)
        raise ProposalInvalid(tuple(named))
    if has_types:
        given = {row.v2: payload.get(row.v2) for row in form.layout(category) if row.names}
        document |= {field: value for field, value in given.items() if value is not None}
    if current is None:
        return _unstamped(document)
    shown, _ = form.to_v2(category, name, form.from_v2(category, name, current, None))
    return merged(_unstamped(shown or {}), _unstamped(document), current)


def _unstamped(document: JsonObject) -> JsonObject:
    """Without what only the server says of a record's history."""
    if not isinstance(metadata := document.get("metadata"), dict):
        return document
    return {**document, "metadata": {key: value for key, value in metadata.items() if key not in _STAMPS}}


def merged(base: JsonObject, ours: JsonObject, theirs: JsonObject) -> JsonObject:
    """`theirs` with everything that `ours` changed since `base`; where both did, ours, for it is looked at anyway."""
    result = dict(theirs)
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        was, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            result[key] = merged(was if isinstance(was, dict) else {}, mine, other)
        elif key not in ours and key in base:
            del result[key]
        elif mine != was:
            result[key] = mine
    return result
