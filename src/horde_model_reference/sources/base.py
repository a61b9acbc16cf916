"""What a reader needs of a source: the snapshot of a category, or the news that the known one is still current."""

from __future__ import annotations

from typing import Protocol

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Flow

__all__ = ["Source", "require_ours"]


class Source(Protocol):
    """Somewhere snapshots come from. Sources that hold other sources are the policies of reading."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        """The category's snapshot. Where nothing changed since `known`, its body is that very object.

        Raises `SourceUnavailable`: this source cannot tell, another may.
        """


def require_ours(source: str, category: Category) -> None:
    """Refuse what is no reference data: categories that another program keeps files of its own of."""
    if get_category_descriptor(category).managed_elsewhere:
        raise SourceUnavailable(source, f"{category} is managed by another program")
