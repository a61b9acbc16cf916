"""How each API version tells a category, kept up to date change by change, and what a service needs of its origin.

A category is held in pieces, one for each record. After a change only the pieces of what changed are made anew, and the
whole is put together from them.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, cast

from pydantic_core import to_json

from horde_model_reference.domain.categories import Category, find_category, get_category_descriptor
from horde_model_reference.domain.events import Operation
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.query import Found, Narrowed
from horde_model_reference.domain.validation import Records, validate_records
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable, SourceUnavailable
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.formats.legacy import v1_body
from horde_model_reference.service.answers import Body

__all__ = ["NO_MARK", "Content", "Form", "Origin", "Rendering", "legacy_content"]

NO_MARK = "0" * 8


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
    shown: dict[str, bytes] = field(default_factory=dict)
    """Records as a search tells them, as far as any has."""
    narrowed: Narrowed = field(default_factory=dict)

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
    def listed(self) -> list[Found]:
        """The same, as a search takes them."""
        return [(self.category, name, record) for name, record in self.records.items()]

    def document(self, name: str) -> bytes:
        """One record as JSON. Raises `ModelNotFound`."""
        if (piece := self.pieces.get(name)) is None:
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


def legacy_content(
    form: Form,
    category: Category,
    documents: Mapping[str, JsonObject],
    origins: Mapping[str, JsonObject],
    updated: int | None = None,
) -> Content:
    """What v1 tells of those documents. Raises `ReferenceUnavailable` where that is nothing."""
    if get_category_descriptor(category).managed_elsewhere:
        return Content(category, {})
    if not (told := v1_body(category, documents, origins, include_group=form is Form.V1_GROUPS)):
        raise ReferenceUnavailable(category, "it has no records in the legacy format")
    return Content.of(category, told, updated)


class Rendering(NamedTuple):
    """Content, and what is known of it: see `Answer`."""

    content: Content
    revision: int | None
    mark: str | None = None
    checked: float | None = None


class Origin(ABC):
    """Where what is served comes from: the present moment, what there is now, what there was, and what happened.

    What is no coroutine may take a while, and is safe to use from many threads. A moment is equal to another only if
    nothing happened between them. Whoever asks is told of every change that was acknowledged before, by any process.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Form, Category], tuple[object, Rendering]] = {}
        self._locks: defaultdict[tuple[Form, Category], threading.Lock] = defaultdict(threading.Lock)

    @property
    @abstractmethod
    def revision(self) -> int | None:
        """The newest revision that was seen."""

    @property
    def history(self) -> int:
        """Another number as soon as what was told of revisions no longer holds."""
        return 0

    @abstractmethod
    def glance(self) -> object | None:
        """The present moment where that takes microseconds, else None. Raises `StoreError`."""

    @abstractmethod
    async def now(self) -> object:
        """The present moment. Raises `StoreError`."""

    @abstractmethod
    async def newest(self) -> int:
        """The revision up to which can be told what happened. Raises `StoreError`."""

    @abstractmethod
    def mark(self, revision: int) -> str:
        """What tells the history up to a revision from others of that length. Raises `RevisionUnknown`."""

    @abstractmethod
    def after(self, since: int, category: Category | None, most: int, head: int) -> tuple[list[JsonObject], bool]:
        """About so many changes up to `head`, as they are told, and whether there are more.

        Raises `RevisionUnknown` for a `since` from which nobody can go on: newer than `head`, or what followed is gone.
        """

    @abstractmethod
    def past(self, form: Form, category: Category, at: int) -> Rendering:
        """The category as it was at that revision. Raises `RevisionUnknown`."""

    @abstractmethod
    def render(self, form: Form, category: Category, before: Rendering | None) -> Rendering:
        """The category as it is, given what was made of it before."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open; the last call."""

    async def rendering(self, form: Form, category: str, at: int | None = None) -> Rendering:
        """A category, now or at revision `at`.

        Raises `UnknownCategory`, `RevisionUnknown`, and `ReferenceUnavailable`, also where v1 has nothing to tell.
        """
        descriptor = get_category_descriptor(category := find_category(category))
        if form is not Form.V2 and not (descriptor.has_legacy_format or descriptor.managed_elsewhere):
            raise ReferenceUnavailable(category, "it has no legacy format")
        if at is not None:
            return await asyncio.to_thread(self.past, form, category, at)
        now = await self.now()
        then, rendering = self._made.get((form, category), (None, None))
        if rendering is not None and then == now:
            return rendering
        return await asyncio.to_thread(self._make, form, category, now)

    async def renderings(self, categories: Iterable[str]) -> list[Rendering]:
        """Those of these that there are; a relay may lack some. Raises `SourceUnavailable` where it has nothing yet."""
        found, refusals = [], list[SourceUnavailable]()
        for category in categories:
            try:
                found.append(await self.rendering(Form.V2, category))
            except ReferenceUnavailable:
                continue
            except SourceUnavailable as refusal:
                refusals.append(refusal)
        if refusals and not found:
            raise refusals[0]
        return found

    def _make(self, form: Form, category: Category, now: object) -> Rendering:
        with self._locks[form, category]:
            then, rendering = self._made.get((form, category), (None, None))
            if rendering is None or then != now:
                rendering = self.render(form, category, rendering)
                self._made[form, category] = now, rendering
            return rendering
