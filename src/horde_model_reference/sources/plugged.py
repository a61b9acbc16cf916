"""An application's own backend as a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from horde_model_reference.backends.base import ModelReferenceBackend
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, SourceUnavailable
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BackendSource"]


@dataclass(frozen=True)
class BackendSource:
    """Reads through a `ModelReferenceBackend` that an application wrote."""

    backend: ModelReferenceBackend

    @property
    def name(self) -> str:
        return type(self.backend).__name__

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        fetch = partial(self.backend.fetch_category, category, force_refresh=known is not None)
        try:
            documents: Mapping[str, JsonObject] | None = yield Call(fetch)
            if documents is None:
                raise SourceUnavailable(self.name, f"has no {category}")
            body = encode(documents)
        except (OSError, RuntimeError, MalformedInput) as error:
            raise SourceUnavailable(self.name, f"{type(error).__name__}: {error}") from error
        if known is not None and known.body == body:
            return known
        return Snapshot(category, body, source=self.name)
