"""A PRIMARY's origin: its store, of which the newest revision is asked so often that it has to cost next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice, takewhile

from horde_model_reference.domain.categories import Category, get_all_registered_categories
from horde_model_reference.domain.events import Event, Kind
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.errors import RevisionUnknown
from horde_model_reference.formats.json_codec import decode, decode_object
from horde_model_reference.formats.wire import wire_document
from horde_model_reference.service.renderings import NO_MARK, Content, Form, Origin, Rendering, legacy_content
from horde_model_reference.single_flight import SingleFlight
from horde_model_reference.stores.sql import SqlStore

__all__ = ["OfStore"]


class OfStore(Origin):
    """What a store has. Nothing that is in its log of events changes."""

    revision: int | None = None

    def __init__(self, store: SqlStore) -> None:
        super().__init__()
        self._store, self._look = store, store.lookout()
        self._asking = SingleFlight[int]()

    def glance(self) -> int | None:
        if self._look is not None:
            self.revision = self._look()
            return self.revision
        return None

    async def now(self) -> int:
        if (newest := self.glance()) is not None:
            return newest
        asked = partial(asyncio.to_thread, self._store.head)  # of a server, once for all who wait
        self.revision = newest = await self._asking.do_async("head", asked, anew=True)
        return newest

    newest = now

    def close(self) -> None:
        if self._look is not None:
            self._look.close()

    def mark(self, revision: int) -> str:
        event = next(self._store.events(since=revision - 1, limit=1), None) if revision else None
        if event is None and revision > (head := self._store.head()):
            raise RevisionUnknown(revision, head)
        return event.hash[: len(NO_MARK)] if event is not None and event.revision == revision else NO_MARK

    def after(self, since: int, category: Category | None, most: int, head: int) -> tuple[list[JsonObject], bool]:
        first = next(self._store.events(since=since, limit=1), None)
        if since > head or (since < head and (first is None or first.revision != since + 1)):
            raise RevisionUnknown(since, head)
        later = self._store.events(since=since, category=category)
        listed = filter(_is_served, takewhile(lambda event: event.revision <= head, later))
        told = list(_told(self._store, [*islice(listed, most)]))
        return told, next(listed, None) is not None

    def past(self, form: Form, category: Category, at: int) -> Rendering:
        return Rendering(self._content(form, category, at), at, self.mark(at))

    def render(self, form: Form, category: Category, before: Rendering | None) -> Rendering:
        head, content = self._store.head(), None
        if before is not None and (since := before.revision or 0) <= head:
            events = list(self._store.events(since=since, category=category))
            if not events:
                content = before.content
            elif form is Form.V2:
                head = max(head, events[-1].revision)
                content = before.content.after(_told(self._store, events), max(e.at for e in events) // 1000)
        while content is None:
            content, then = self._content(form, category), head
            if (head := self._store.head()) != then:  # a change between two looks would show in one of them
                content = None
        return Rendering(content, head, self.mark(head))

    def _content(self, form: Form, category: Category, at: int | None = None) -> Content:
        entries, updated = self._store.entries(category, at=at), self._store.changed_at(category, at)
        updated = updated and updated // 1000
        if form is not Form.V2:
            documents = {name: decode_object(entry.document) for name, entry in entries.items()}
            origins = {name: decode_object(entry.origin) for name, entry in entries.items() if entry.origin is not None}
            return legacy_content(form, category, documents, origins, updated)
        revisions = {entry.position for entry in entries.values()} | {entry.revision for entry in entries.values()}
        times = {revision: at // 1000 for revision, at in self._store.times(revisions).items()}
        told: dict[str, JsonValue] = {
            name: wire_document(category, decode(entry.document), (times[entry.position], times[entry.revision]))
            for name, entry in entries.items()
        }
        return Content.of(category, told, updated)


def _told(store: SqlStore, events: Iterable[Event]) -> Iterator[JsonObject]:
    """Events as the feed tells them: the record afterwards is byte for byte what the category has."""
    times = store.times({event.position for event in events})
    for event in events:
        record: JsonValue = None
        if event.document is not None:
            document = decode(event.document, where=f"{event.category}/{event.name}")
            created = times.get(event.position, event.at)
            record = wire_document(event.category, document, (created // 1000, event.at // 1000))
        facts: JsonObject = {"revision": event.revision, "at": event.at, "category": event.category}
        yield facts | {"name": event.name, "operation": event.operation, "record": record}


def _is_served(event: Event) -> bool:
    descriptor = get_all_registered_categories().get(event.category)
    return event.kind is Kind.RECORD and descriptor is not None and not descriptor.managed_elsewhere
