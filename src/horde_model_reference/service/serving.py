"""What the service gives out: bodies rendered once for each snapshot, with the tags and revisions that go with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from horde_model_reference.domain.categories import Category, find_category, get_category_descriptor
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.formats.legacy import v1_body
from horde_model_reference.formats.wire import wire_documents
from horde_model_reference.service.bodies import Answer, Body
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.wiring import Parts

__all__ = ["Serving"]


@dataclass(frozen=True)
class _Rendered:
    """Everything rendered of one snapshot so far: the bodies of models by name, the whole category's under None."""

    snapshot: Snapshot
    documents: JsonObject
    bodies: dict[str | None, Body] = field(default_factory=dict)


@dataclass(frozen=True)
class Serving:
    """Renders what the parts hold. Safe to use from many threads."""

    parts: Parts
    settings: HordeModelReferenceSettings
    _rendered: dict[tuple[str, Category], _Rendered] = field(default_factory=dict)

    def answer(self, version: str, category: str, name: str | None = None) -> Answer:
        """A category as `v2` or `v1` tells it, or one record, by its key.

        Raises `UnknownCategory`, `ModelNotFound`, and `ReferenceUnavailable`, also where v1 has nothing to tell.
        """
        current = self._current(version, find_category(category))
        body = current.bodies.get(name)
        if body is None:
            if name is not None and name not in current.documents:
                raise ModelNotFound(name, category)
            encoded = encode(current.documents if name is None else current.documents[name])
            body = current.bodies.setdefault(name, Body(encoded))
        return Answer(body, current.snapshot.revision)

    def _current(self, version: str, category: Category) -> _Rendered:
        snapshot = self._snapshot(category)
        known = self._rendered.get((version, category))
        if known is not None and known.snapshot.body is snapshot.body:
            return replace(known, snapshot=snapshot)
        rendered = self._rendered[version, category] = _Rendered(*_RENDERERS[version](self, snapshot))
        return rendered

    def _snapshot(self, category: Category) -> Snapshot:
        return self.parts.reference.snapshot(category, fresh=self.parts.store is not None)

    def render_v2(self, snapshot: Snapshot) -> tuple[Snapshot, JsonObject]:
        """The wire documents of a snapshot."""
        return snapshot, wire_documents(snapshot.category, decode_object(snapshot.body, where=snapshot.category))

    def render_v1(self, snapshot: Snapshot) -> tuple[Snapshot, JsonObject]:
        """The legacy entries of a snapshot, with the originals of what nobody changed; or of a later one."""
        if not get_category_descriptor(snapshot.category).has_legacy_format:
            raise ReferenceUnavailable(snapshot.category, "it has no legacy format")
        snapshot, entries = self._with_entries(snapshot)
        whole = decode_object(snapshot.body, where=snapshot.category)
        documents = {name: document for name, document in whole.items() if isinstance(document, dict)}
        origins = {name: decode_object(entry.origin) for name, entry in entries.items() if entry.origin is not None}
        if not (told := v1_body(snapshot.category, documents, origins)):
            raise ReferenceUnavailable(snapshot.category, "it has no records in the legacy format")
        return snapshot, told

    def _with_entries(self, snapshot: Snapshot) -> tuple[Snapshot, dict[str, Entry]]:
        """The rows behind a snapshot; where a change came between the two reads, both are read again."""
        while self.parts.store is not None:
            entries = self.parts.store.entries(snapshot.category)
            now = self._snapshot(snapshot.category)
            if now.body is snapshot.body:
                return now, entries
            snapshot = now
        return snapshot, {}


_RENDERERS = {"v1": Serving.render_v1, "v2": Serving.render_v2}
