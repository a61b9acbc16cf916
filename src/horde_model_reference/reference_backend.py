"""The reading object as a backend: what `manager.backend` is where the application brought none of its own."""

from __future__ import annotations

from collections.abc import Mapping

from horde_model_reference.backends.base import ModelReferenceBackend
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import ReferenceUnavailable, UnknownCategory
from horde_model_reference.reference import Reference

__all__ = ["ReferenceBackend"]


class ReferenceBackend(ModelReferenceBackend):
    """Raw documents of a `Reference`. `writes` says whether this process owns the store under it."""

    def __init__(self, reference: Reference, *, writes: bool = False) -> None:
        self._reference = reference
        self._writes = writes

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        """Name -> v2 document; None where the category is unknown or cannot be had."""
        try:
            return self._reference.raw(category, fresh=force_refresh)
        except (ReferenceUnavailable, UnknownCategory):
            return None

    def supports_writes(self) -> bool:
        """True for a PRIMARY."""
        return self._writes

    def get_statistics(self) -> Mapping[str, int]:
        """`categories` in memory, and `github_fallbacks`: reads that GitHub answered in place of PRIMARY."""
        return {"categories": len(self._reference.status()), "github_fallbacks": 0}
