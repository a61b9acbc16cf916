"""What a backend is to a client: raw records by category, from wherever it has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from horde_model_reference.domain.findings import JsonObject

__all__ = ["ModelReferenceBackend"]


class ModelReferenceBackend(ABC):
    """Subclass it to read the reference from a place of your own: `ModelReferenceManager(backend=MyBackend())`.

    One method is needed. It is called from any thread, may block, and may raise: a reader then keeps what it has.
    """

    @abstractmethod
    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        """Name -> v2 document as plain JSON; None where there is nothing of that category."""

    def supports_writes(self) -> bool:
        """Whether changes can be made through it; false for everything that only reads."""
        return False

    def get_statistics(self) -> Mapping[str, int]:
        """Counters of what it has done, by name."""
        return {}
