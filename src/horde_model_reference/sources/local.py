"""Sources on this machine: the store, and what the package ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable, StoreError
from horde_model_reference.flow import Flow
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.sources.base import Ask, Found, one_by_one, require_ours

if TYPE_CHECKING:
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["StarterSource", "StoreSource"]

_STARTER = Path(__file__).parents[1] / "data" / "starter"


@dataclass(frozen=True)
class StoreSource:
    """The store itself: PRIMARY reads what it owns, an empty category as empty."""

    store: SqlStore

    @property
    def name(self) -> str:
        return self.store.url

    def read(self, ask: Ask) -> Flow[Found]:
        return one_by_one(ask, self._read)

    def _read(self, category: Category, known: Snapshot | None) -> Snapshot:
        require_ours(self.name, category)
        mine = known if known is not None and known.source == self.name else None
        try:
            return self.store.snapshot(category, known=mine)
        except StoreError as error:
            raise SourceUnavailable(self.name, error.reason) from error


@dataclass(frozen=True)
class StarterSource:
    """The starter catalogue inside the package: what a first run without any network reads."""

    name: str = "the starter catalogue"

    def read(self, ask: Ask) -> Flow[Found]:
        return one_by_one(ask, self._read)

    def _read(self, category: Category, known: Snapshot | None) -> Snapshot:
        if known is not None and known.source == self.name:
            return known.still_current(None)
        body = self.body(category)
        if body is None:
            raise SourceUnavailable(self.name, f"has no {category}", absent=True)
        return Snapshot(category, body, source=self.name)

    @staticmethod
    def body(category: Category) -> bytes | None:
        """The category as compact JSON, None where the catalogue has none of it."""
        path = _STARTER / get_category_descriptor(category).v2_filename(category)
        return encode(decode_object(path.read_bytes(), where=path.name)) if path.is_file() else None
