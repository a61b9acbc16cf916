"""A record as it goes over HTTP: the stored document, and in it what every reader may rely on being there."""

from __future__ import annotations

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.licensing import unknown_model_licensing

__all__ = ["wire_document", "wire_documents"]

_NO_LICENSING: JsonObject = unknown_model_licensing().model_dump(mode="json", exclude_none=True)
_NO_GUIDANCE: JsonObject = {"status": "undocumented", "primary_profile_id": None, "supplemental_profile_ids": []}
_EXTRA: dict[str, JsonObject] = {"text_generation": {"guidance": _NO_GUIDANCE}}


def wire_document(category: Category, document: JsonObject) -> JsonObject:
    """The document with the keys that it lacks and that the contract promises; what it has is never changed."""
    descriptor = get_category_descriptor(category)
    promised: JsonObject = {
        "record_type": str(category),
        "model_classification": {"domain": str(descriptor.domain), "purpose": str(descriptor.purpose)},
        "licensing": _NO_LICENSING,
        **_EXTRA.get(category, {}),
    }
    return document | {key: value for key, value in promised.items() if key not in document}


def wire_documents(category: Category, documents: JsonObject) -> dict[str, JsonValue]:
    """All of a category, each as `wire_document` gives it; what is no object is passed on as it is."""
    return {
        name: wire_document(category, document) if isinstance(document, dict) else document
        for name, document in documents.items()
    }
