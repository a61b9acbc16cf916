"""Sources on this machine: the store, what the package ships, and a place of an application's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable, StoreError
from horde_model_reference.flow import Flow
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.sources.base import Ask, Found, one_by_one, require_ours

if TYPE_CHECKING:
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["BackendSource", "ModelReferenceBackend", "StarterSource", "StoreSource"]

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
        if (body := self.body(category)) is None:
            raise SourceUnavailable(self.name, f"has no {category}", absent=True)
        return Snapshot(category, body, source=self.name)

    @staticmethod
    def body(category: Category) -> bytes | None:
        """The category as compact JSON, None where the catalogue has none of it."""
        path = _STARTER / get_category_descriptor(category).v2_filename(category)
        return encode(decode_object(path.read_bytes(), where=path.name)) if path.is_file() else None


class ModelReferenceBackend(ABC):
    """Subclass it to read the reference from a place of your own: `ModelReferenceManager(backend=MyBackend())`. One
    method is needed. It is called from any thread, may block, and may raise: a reader then keeps what it has."""

    @abstractmethod
    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        """Name -> v2 document as plain JSON; None where there is nothing of that category."""

    def supports_writes(self) -> bool:
        """Whether changes can be made through it; false for everything that only reads."""
        return False

    def get_statistics(self) -> Mapping[str, int]:
        """Counters of what it has done, by name."""
        return {}


@dataclass(frozen=True)
class BackendSource:
    """Reads through a `ModelReferenceBackend` that an application wrote."""

    backend: ModelReferenceBackend

    @property
    def name(self) -> str:
        return type(self.backend).__name__

    def read(self, ask: Ask) -> Flow[Found]:
        return one_by_one(ask, self._read)

    def _read(self, category: Category, known: Snapshot | None) -> Snapshot:
        try:
            documents = self.backend.fetch_category(category, force_refresh=known is not None)
            body = to_json(documents, inf_nan_mode="strings")  # not `encode`: NaN is the fault of its record alone
        except Exception as error:  # a plug-in: what it raises is not ours to know
            raise SourceUnavailable(self.name, f"{type(error).__name__}: {error}") from error
        if documents is None:
            raise SourceUnavailable(self.name, f"has no {category}", absent=True)
        same = known is not None and known.body == body
        return known.still_current(None) if known is not None and same else Snapshot(category, body, source=self.name)
