"""The feed of changes: what happened to records after a revision, as the bytes in which it is told.

An answer follows from the question and the newest revision alone, so however many ask the same, one reads and encodes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice, takewhile

from horde_model_reference.domain.categories import Category, get_all_registered_categories
from horde_model_reference.domain.events import Event, Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import HordeModelReferenceError, RevisionUnknown
from horde_model_reference.formats.json_codec import decode, encode
from horde_model_reference.formats.wire import wire_documents
from horde_model_reference.service.bell import Bell
from horde_model_reference.service.bodies import Answer, Body
from horde_model_reference.stores.base import Store

__all__ = ["Feed", "Question"]

_KEPT = 32
_FACTS = ("revision", "at", "category", "name", "operation")


@dataclass(frozen=True)
class Question:
    """At most `limit` changes after revision `since`, of one category or of all, for readers who take `coding`."""

    since: int
    category: Category | None
    limit: int
    coding: str


class Feed:
    """The changes of one store. Made in the loop of the app; `bell` tells when there are more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: dict[tuple[Question, int], asyncio.Future[Answer]] = {}
        self.bell = Bell(store.head)
        store.subscribe(self.bell.ring)

    async def tell(self, asked: Question, head: int) -> Answer:
        """What happened up to revision `head`; the answer's revision is the one up to which it tells everything.

        Raises `RevisionUnknown` for a `since` from which nobody can go on: newer than `head`, or what followed is gone.
        """
        key = (asked, head)
        if key not in self._told:
            self._told = dict(list(self._told.items())[1 - _KEPT :])
            self._told[key] = asyncio.ensure_future(asyncio.to_thread(self._read, asked, head))
        try:
            return await asyncio.shield(self._told[key])
        except HordeModelReferenceError:
            self._told.pop(key, None)
            raise

    def _read(self, asked: Question, head: int) -> Answer:
        first = next(iter(self._store.events(since=asked.since, limit=1)), None)
        if asked.since > head or first is None or first.revision != asked.since + 1:
            raise RevisionUnknown(asked.since, head)
        later = self._store.events(since=asked.since, category=asked.category)
        listed = filter(_is_served, takewhile(lambda event: event.revision <= head, later))
        changes = list(islice(listed, asked.limit))
        more = next(listed, None) is not None
        revision = changes[-1].revision if more else head
        body = Body(encode({"revision": revision, "changes": list(map(_told, changes)), "more": more}))
        body.form(body.coding(asked.coding))  # here, where it keeps nobody else waiting
        return Answer(body, revision)


def _is_served(event: Event) -> bool:
    descriptor = get_all_registered_categories().get(event.category)
    return event.kind is Kind.RECORD and descriptor is not None and not descriptor.managed_elsewhere


def _told(event: Event) -> JsonObject:
    document = None if event.document is None else decode(event.document, where=f"{event.category}/{event.name}")
    record = wire_documents(event.category, {event.name: document})[event.name]
    return {fact: getattr(event, fact) for fact in _FACTS} | {"record": record}
