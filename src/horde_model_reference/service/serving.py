"""What the service gives out: bodies rendered once for each snapshot, with the tags and revisions that go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from horde_model_reference.domain.categories import Category, find_category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot, content_etag
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable
from horde_model_reference.forks import ForkLock
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.formats.legacy import v1_body
from horde_model_reference.formats.wire import wire_documents
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.wiring import Parts

__all__ = ["Body", "Serving"]


@dataclass(frozen=True)
class Body:
    """The bytes of one answer; `revision` is the newest at which they were current."""

    data: bytes
    revision: int | None

    @cached_property
    def etag(self) -> str:
        """Its strong entity tag."""
        return content_etag(self.data)


@dataclass(frozen=True)
class _Rendered:
    """Everything rendered of one snapshot so far: the bodies of models by name, the whole category's under None."""

    snapshot: Snapshot
    documents: JsonObject
    bodies: dict[str | None, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Serving:
    """Renders what the parts hold. Safe to use from many threads."""

    parts: Parts
    settings: HordeModelReferenceSettings
    _rendered: dict[tuple[str, Category], _Rendered] = field(default_factory=dict)
    _lock: ForkLock = field(default_factory=ForkLock)

    def v2(self, category: str) -> Body:
        """A category. Raises `UnknownCategory`, `ReferenceUnavailable`."""
        rendered = self._current("v2", category)
        return self._body(rendered, None, lambda: encode(rendered.documents))

    def v2_model(self, category: str, name: str) -> Body:
        """One record, by its key. Raises also `ModelNotFound`."""
        rendered = self._current("v2", category)
        if name not in rendered.documents:
            raise ModelNotFound(name, category)
        return self._body(rendered, name, lambda: encode(rendered.documents[name]))

    def v1(self, category: str) -> Body:
        """A category in the legacy format. Raises like `v2`, also `ReferenceUnavailable` where it has nothing."""
        rendered = self._current("v1", category)
        if not rendered.documents:
            raise ReferenceUnavailable(category, "it has no records in the legacy format")
        return self._body(rendered, None, lambda: encode(rendered.documents))

    def _current(self, version: str, name: str) -> _Rendered:
        category = find_category(name)
        snapshot = self.parts.reference.snapshot(category, fresh=self.parts.store is not None)
        known = self._rendered.get((version, category))
        if known is not None and known.snapshot.body is snapshot.body:
            return _Rendered(snapshot, known.documents, known.bodies)
        rendered = _Rendered(snapshot, _RENDERERS[version](self, snapshot))
        with self._lock:
            self._rendered[(version, category)] = rendered
        return rendered

    def _body(self, rendered: _Rendered, key: str | None, encoded: Callable[[], bytes]) -> Body:
        data = rendered.bodies.get(key)
        if data is None:
            data = rendered.bodies.setdefault(key, encoded())
        return Body(data, rendered.snapshot.revision)

    def render_v2(self, snapshot: Snapshot) -> JsonObject:
        """The wire documents of a snapshot."""
        return wire_documents(snapshot.category, decode_object(snapshot.body, where=snapshot.category))

    def render_v1(self, snapshot: Snapshot) -> JsonObject:
        """The legacy entries of a snapshot, with the originals of what nobody changed."""
        if not get_category_descriptor(snapshot.category).has_legacy_format:
            raise ReferenceUnavailable(snapshot.category, "it has no legacy format")
        whole = decode_object(snapshot.body, where=snapshot.category)
        documents = {name: document for name, document in whole.items() if isinstance(document, dict)}
        entries = self.parts.store.entries(snapshot.category) if self.parts.store is not None else {}
        origins = {name: decode_object(entry.origin) for name, entry in entries.items() if entry.origin is not None}
        return v1_body(snapshot.category, documents, origins)


_RENDERERS: dict[str, Callable[[Serving, Snapshot], JsonObject]] = {"v1": Serving.render_v1, "v2": Serving.render_v2}
