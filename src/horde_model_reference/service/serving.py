"""What the service gives out: bodies rendered once for each snapshot, with the tags and revisions that go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from horde_model_reference.domain.categories import Category, find_category, get_category_descriptor
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable
from horde_model_reference.forks import ForkLock
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
    _lock: ForkLock = field(default_factory=ForkLock)

    def v2(self, category: str) -> Answer:
        """A category. Raises `UnknownCategory`, `ReferenceUnavailable`."""
        rendered = self._current("v2", category)
        return self._body(rendered, None, lambda: encode(rendered.documents))

    def v2_model(self, category: str, name: str) -> Answer:
        """One record, by its key. Raises also `ModelNotFound`."""
        rendered = self._current("v2", category)
        if name not in rendered.documents:
            raise ModelNotFound(name, category)
        return self._body(rendered, name, lambda: encode(rendered.documents[name]))

    def v1(self, category: str) -> Answer:
        """A category in the legacy format. Raises like `v2`, also `ReferenceUnavailable` where it has nothing."""
        rendered = self._current("v1", category)
        if not rendered.documents:
            raise ReferenceUnavailable(category, "it has no records in the legacy format")
        return self._body(rendered, None, lambda: encode(rendered.documents))

    def _current(self, version: str, name: str) -> _Rendered:
        category = find_category(name)
        snapshot = self._snapshot(category)
        known = self._rendered.get((version, category))
        if known is not None and known.snapshot.body is snapshot.body:
            return _Rendered(snapshot, known.documents, known.bodies)
        rendered = _Rendered(*_RENDERERS[version](self, snapshot))
        with self._lock:
            self._rendered[(version, category)] = rendered
        return rendered

    def _snapshot(self, category: Category) -> Snapshot:
        return self.parts.reference.snapshot(category, fresh=self.parts.store is not None)

    def _body(self, rendered: _Rendered, key: str | None, encoded: Callable[[], bytes]) -> Answer:
        body = rendered.bodies.get(key)
        if body is None:
            body = rendered.bodies.setdefault(key, Body(encoded()))
        return Answer(body, rendered.snapshot.revision)

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
        return snapshot, v1_body(snapshot.category, documents, origins)

    def _with_entries(self, snapshot: Snapshot) -> tuple[Snapshot, dict[str, Entry]]:
        """The rows behind a snapshot; where a change came between the two reads, both are read again."""
        while self.parts.store is not None:
            entries = self.parts.store.entries(snapshot.category)
            now = self._snapshot(snapshot.category)
            if now.body is snapshot.body:
                return now, entries
            snapshot = now
        return snapshot, {}


_RENDERERS: dict[str, Callable[[Serving, Snapshot], tuple[Snapshot, JsonObject]]] = {
    "v1": Serving.render_v1,
    "v2": Serving.render_v2,
}
