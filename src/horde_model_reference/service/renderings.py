"""How each API version tells a category, kept up to date change by change.

A category is held in pieces, one for each record. After a change only the pieces of what changed are made anew, and the
whole is put together from them.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, cast

from pydantic_core import to_json

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.events import Event, Operation
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.search import Found
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import Records, validate_records
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable, RevisionUnknown, SourceUnavailable
from horde_model_reference.formats.json_codec import decode, decode_object, encode
from horde_model_reference.formats.legacy import v1_body
from horde_model_reference.formats.wire import wire_document, without_promised
from horde_model_reference.reference import Reference
from horde_model_reference.service.bodies import Body
from horde_model_reference.sources.local import StarterSource
from horde_model_reference.stores.sql import SqlStore

__all__ = ["Content", "Form", "OfReference", "OfStore", "Rendering", "Renderings", "changes_told"]


class Form(StrEnum):
    """What a category can be told as."""

    V2 = "v2"
    V1 = "v1"
    V1_GROUPS = "v1 with groups"


@dataclass(frozen=True)
class Content:
    """The records of a category as they are told: by name, in order, each as the bytes `"name":{...}`.

    `updated` is the Unix time of the last change, where that is known.
    """

    category: Category
    pieces: Mapping[str, bytes]
    updated: int | None = None

    @classmethod
    def of(cls, category: Category, documents: Mapping[str, JsonValue], updated: int | None = None) -> Content:
        """The content that consists of those documents."""
        return cls(category, {name: _piece(name, document) for name, document in documents.items()}, updated)

    @cached_property
    def body(self) -> Body:
        """All of it."""
        return Body(b"{" + b",".join(self.pieces.values()) + b"}")

    @cached_property
    def records(self) -> Records:
        """Those that can be read, typed."""
        return validate_records(self.category, self.body.data)[0]

    @cached_property
    def shown(self) -> dict[str, bytes]:
        """Records as a search tells them, as far as any has."""
        return {}

    @cached_property
    def listed(self) -> list[Found]:
        """The same, as a search takes them."""
        return [(self.category, name, record) for name, record in self.records.items()]

    def document(self, name: str) -> bytes:
        """One record as JSON. Raises `ModelNotFound`."""
        piece = self.pieces.get(name)
        if piece is None:
            raise ModelNotFound(name, self.category)
        return piece[len(to_json(name)) + 1 :]

    def after(self, changes: Iterable[JsonObject], updated: int) -> Content:
        """The content after changes as the feed tells them: an update keeps its place, what is new comes last."""
        pieces, touched = dict(self.pieces), dict[str, JsonValue]()
        for change in changes:
            name, record = cast("str", change["name"]), change["record"]
            touched[name] = record
            if change["operation"] != Operation.UPDATE:
                pieces.pop(name, None)
            if record is not None:
                pieces[name] = _piece(name, record)
        made = Content(self.category, pieces, max(updated, self.updated or 0))
        if "records" in self.__dict__:  # somebody has asked for them, and will again
            there = {name: record for name, record in touched.items() if record is not None}
            others = {name: record for name, record in self.records.items() if name not in touched}
            read = others | validate_records(self.category, encode(there))[0]
            made.__dict__["records"] = {name: read[name] for name in pieces if name in read}
        return made


def _piece(name: str, document: JsonValue) -> bytes:
    return to_json(name) + b":" + encode(document)


class Rendering(NamedTuple):
    """Content, and what is known of it: see `Answer`."""

    content: Content
    revision: int | None
    mark: str | None = None
    checked: float | None = None


class Renderings(ABC):
    """The renderings of one origin. `now` stands for a moment: what was made at one moment is right as long as it is
    the present one. Safe to use from many threads."""

    def __init__(self) -> None:
        self._made: dict[tuple[Form, Category], tuple[object, Rendering]] = {}
        self._locks: defaultdict[tuple[Form, Category], threading.Lock] = defaultdict(threading.Lock)

    def known(self, form: Form, category: Category, now: object) -> Rendering | None:
        """What is there without any work."""
        then, rendering = self._made.get((form, category), (None, None))
        return rendering if then == now else None

    def make(self, form: Form, category: Category, now: object) -> Rendering:
        """Bring it up to date; for a thread. Raises `ReferenceUnavailable`, also where v1 has nothing to tell."""
        if form is not Form.V2 and not _has_v1(category):
            raise ReferenceUnavailable(category, "it has no legacy format")
        with self._locks[form, category]:
            rendering = self.known(form, category, now)
            if rendering is None:
                _, before = self._made.get((form, category), (None, None))
                rendering = self._render(form, category, before)
                self._made[form, category] = now, rendering
            return rendering

    @abstractmethod
    def _render(self, form: Form, category: Category, before: Rendering | None) -> Rendering: ...

    @abstractmethod
    def past(self, form: Form, category: Category, revision: int) -> Rendering:
        """The category as it was. Raises `RevisionUnknown`."""


class OfStore(Renderings):
    """What a PRIMARY tells. `mark` tells the history up to a revision from others."""

    def __init__(self, store: SqlStore, mark: Callable[[int], str]) -> None:
        super().__init__()
        self._store = store
        self._mark = mark

    def past(self, form: Form, category: Category, revision: int) -> Rendering:
        content = self._content(form, category, revision)
        return Rendering(content, revision, self._mark(revision))

    def _render(self, form: Form, category: Category, before: Rendering | None) -> Rendering:
        head, since = self._store.head(), before.revision if before is not None else None
        if before is None or since is None or since > head:
            head, content = self._whole(form, category, head)
        elif not (events := list(self._store.events(since=since, category=category))):
            content = before.content
        elif form is Form.V2:
            head = max(head, events[-1].revision)
            content = before.content.after(changes_told(self._store, events), max(e.at for e in events) // 1000)
        else:
            head, content = self._whole(form, category, head)
        return Rendering(content, head, self._mark(head))

    def _whole(self, form: Form, category: Category, head: int) -> tuple[int, Content]:
        while True:  # a change between two looks would show in one of them
            content = self._content(form, category)
            before, head = head, self._store.head()
            if before == head:
                return head, content

    def _content(self, form: Form, category: Category, at: int | None = None) -> Content:
        entries, changed = self._store.entries(category, at=at), self._store.changed_at(category, at)
        updated = None if changed is None else changed // 1000
        revisions = {entry.position for entry in entries.values()} | {entry.revision for entry in entries.values()}
        times = {revision: at // 1000 for revision, at in self._store.times(revisions).items()}
        if form is not Form.V2:
            documents = {name: decode_object(entry.document) for name, entry in entries.items()}
            origins = {name: decode_object(entry.origin) for name, entry in entries.items() if entry.origin is not None}
            return _legacy(form, category, documents, origins, updated)
        told = (
            wire_document(category, decode(entry.document), (times[entry.position], times[entry.revision]))
            for entry in entries.values()
        )
        return Content.of(category, dict(zip(entries, told, strict=True)), updated)


class OfReference(Renderings):
    """What a relay tells: what its reading object holds."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self._reference = reference
        self._bodies: dict[tuple[Form, Category], bytes] = {}

    def past(self, form: Form, category: Category, revision: int) -> Rendering:
        snapshot = self._reference.snapshot(category)
        if revision != snapshot.revision:
            raise RevisionUnknown(revision, snapshot.revision or 0)
        return _rendering(_content_of(form, snapshot), snapshot)

    def _render(self, form: Form, category: Category, before: Rendering | None) -> Rendering:
        snapshot = self._reference.snapshot(category)
        if snapshot.instead and snapshot.source == StarterSource.name:
            raise SourceUnavailable("the source of this relay", f"has not been heard yet ({snapshot.instead})")
        if before is not None and self._bodies.get((form, category)) is snapshot.body:
            content = before.content
        else:
            content = _content_of(form, snapshot)
            self._bodies[form, category] = snapshot.body
        return _rendering(content, snapshot)


def _rendering(content: Content, snapshot: Snapshot) -> Rendering:
    return Rendering(content, snapshot.revision, snapshot.mark, snapshot.checked - snapshot.older)


def _content_of(form: Form, snapshot: Snapshot) -> Content:
    category, documents = snapshot.category, decode_object(snapshot.body)
    if form is not Form.V2:
        objects = ((name, document) for name, document in documents.items() if isinstance(document, dict))
        plain = {name: without_promised(category, document) for name, document in objects}
        return _legacy(form, category, plain, {}, None)
    return Content.of(category, {name: wire_document(category, document) for name, document in documents.items()})


def _legacy(
    form: Form,
    category: Category,
    documents: Mapping[str, JsonObject],
    origins: Mapping[str, JsonObject],
    updated: int | None,
) -> Content:
    if get_category_descriptor(category).managed_elsewhere:
        return Content(category, {})
    if not (told := v1_body(category, documents, origins, include_group=form is Form.V1_GROUPS)):
        raise ReferenceUnavailable(category, "it has no records in the legacy format")
    return Content.of(category, told, updated)


def _has_v1(category: Category) -> bool:
    descriptor = get_category_descriptor(category)
    return descriptor.has_legacy_format or descriptor.managed_elsewhere


def changes_told(store: SqlStore, events: Iterable[Event]) -> Iterator[JsonObject]:
    """Events as the feed tells them: the record afterwards is byte for byte what the category has."""
    events = list(events)
    times = store.times({event.position for event in events})
    for event in events:
        record: JsonValue = None
        if event.document is not None:
            document = decode(event.document, where=f"{event.category}/{event.name}")
            created = times.get(event.position, event.at)
            record = wire_document(event.category, document, (created // 1000, event.at // 1000))
        facts: JsonObject = {"revision": event.revision, "at": event.at, "category": event.category}
        yield facts | {"name": event.name, "operation": event.operation, "record": record}
