"""The form in which a v2 document is served: what is stored, plus the keys that every reader may rely on."""

from __future__ import annotations

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.record_parts import unknown_model_licensing

__all__ = ["same_but_for_times", "wire_document", "without_promised"]

_NO_LICENSING: JsonObject = unknown_model_licensing().model_dump(mode="json", exclude_none=True)
_NO_GUIDANCE: JsonObject = {"status": "undocumented", "primary_profile_id": None, "supplemental_profile_ids": []}
_TIMES = ("created_at", "updated_at")
_EXTRA: dict[str, JsonObject] = {"text_generation": {"guidance": _NO_GUIDANCE}}


def wire_document(category: Category, document: JsonValue, times: tuple[int, int] | None = None) -> JsonValue:
    """The document with the keys that it lacks and that the contract promises; what it has is never changed.

    `times` are the Unix seconds at which the record was created and last changed. What is no object stays as it is.
    """
    if not isinstance(document, dict):
        return document
    descriptor = get_category_descriptor(category)
    promised: JsonObject = {
        "record_type": str(category),
        "model_classification": {"domain": str(descriptor.domain), "purpose": str(descriptor.purpose)},
        "licensing": _NO_LICENSING,
        **_EXTRA.get(category, {}),
    }
    told = document | {key: value for key, value in promised.items() if key not in document}
    metadata = document.get("metadata", {})
    if times is not None and isinstance(metadata, dict):
        stamps = zip(_TIMES, times, strict=True)
        told["metadata"] = metadata | {key: at for key, at in stamps if metadata.get(key) is None}
    return told


def without_promised(category: Category, document: JsonObject) -> JsonObject:
    """The document without what was only added for readers: other formats promise nothing of it."""
    made_up: JsonObject = {"licensing": _NO_LICENSING, **_EXTRA.get(category, {})}
    return {key: value for key, value in document.items() if made_up.get(key) != value or key not in made_up}


def same_but_for_times(one: JsonValue, other: JsonValue) -> bool:
    """Whether two documents differ at most in when they were made: PRIMARY knows that, other sources do not."""
    return one == other or _without_times(one) == _without_times(other)


def _without_times(document: JsonValue) -> JsonValue:
    metadata = document.get("metadata", {}) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(metadata, dict):
        return document
    return document | {"metadata": {key: value for key, value in metadata.items() if key not in _TIMES}}
