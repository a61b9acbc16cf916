"""What a source of additional records must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from horde_model_reference.domain.names import RESERVED_SOURCE_IDS
from horde_model_reference.domain.records import GenericModelRecord

__all__ = ["ModelProvider"]


class ModelProvider(ABC):
    """Records from elsewhere (an application's own models, a beta programme) to read beside the reference.

    Register it with `manager.register_provider(provider)`, then read with `source=provider.source_id`, a list of
    sources, or `any`. It is asked from any thread, and may raise whatever it likes: that is logged, reported by
    `failed_sources()`, and costs the other sources nothing.
    """

    @property
    @abstractmethod
    def source_id(self) -> str:
        """Its name among the sources: not empty, not `horde`, not `any`, and always the same."""

    @abstractmethod
    def provided_categories(self) -> AbstractSet[str]:
        """The categories it can have records of; it is not asked for others."""

    @abstractmethod
    def fetch_category(self, category: str, *, force_refresh: bool = False) -> Mapping[str, GenericModelRecord] | None:
        """Name -> record of the category's class; `None`: nothing to say now. `force_refresh`: ask the source again."""

    def serves_category(self, category: str) -> bool:
        """Whether it is worth asking for that category."""
        return category in self.provided_categories()

    def supports_writes(self) -> bool:
        """Whether records can be written back to it; none of the providers here can."""
        return False

    def validate_source_id(self) -> str:
        """The source id, if it may be registered. Raises `ValueError` for a blank or reserved one."""
        if not self.source_id.strip() or self.source_id in RESERVED_SOURCE_IDS:
            raise ValueError(f"source id {self.source_id!r} is blank or reserved; a provider needs another one")
        return self.source_id
