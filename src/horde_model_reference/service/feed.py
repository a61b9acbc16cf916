"""The feed of changes: what happened to records after a revision, as the bytes in which it is told.

An answer follows from the question and the newest revision alone, so however many ask the same, one reads and encodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from typing import TypeVar

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

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_KEPT, _DIGITS = 32, 8
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
        self.mark = lru_cache(maxsize=_KEPT)(self._mark)
        self._marking: dict[int, asyncio.Future[str]] = {}
        self._answers: dict[tuple[Question, int], asyncio.Future[Answer]] = {}
        self.bell = Bell(store.head)
        store.subscribe(self.bell.ring)

    def _mark(self, revision: int) -> str:
        """What tells the history up to a revision from another of the same length: the first digits of its hash.

        Raises `RevisionUnknown` for one that is not there yet.
        """
        event = next(iter(self._store.events(since=revision - 1, limit=1)), None) if revision else None
        if event is None and revision > (head := self._store.head()):
            raise RevisionUnknown(revision, head)
        return event.hash[:_DIGITS] if event is not None and event.revision == revision else "0" * _DIGITS

    async def marked(self, revision: int) -> str:
        """The same without blocking the loop, however many ask."""
        return await _once(self._marking, revision, lambda: self.mark(revision))

    async def tell(self, asked: Question, head: int) -> Answer:
        """What happened up to revision `head`; the answer's revision is the one up to which it tells everything.

        Raises `RevisionUnknown` for a `since` from which nobody can go on: newer than `head`, or what followed is gone.
        """
        return await _once(self._answers, (asked, head), lambda: self._read(asked, head))

    def _read(self, asked: Question, head: int) -> Answer:
        first = next(iter(self._store.events(since=asked.since, limit=1)), None)
        if asked.since > head or first is None or first.revision != asked.since + 1:
            raise RevisionUnknown(asked.since, head)
        later = self._store.events(since=asked.since, category=asked.category)
        listed = filter(_is_served, takewhile(lambda event: event.revision <= head, later))
        changes = list(islice(listed, asked.limit))
        more = next(listed, None) is not None
        revision = changes[-1].revision if more else head
        body = Body(encode({"revision": revision, "changes": list(map(_change, changes)), "more": more}))
        body.form(body.coding(asked.coding))  # here, where it keeps nobody else waiting
        return Answer(body, revision)


async def _once(begun: dict[K, asyncio.Future[T]], key: K, work: Callable[[], T]) -> T:
    """The result of `work`, done on a thread once for all who ask for `key`; the newest results are kept."""
    if key not in begun:
        for old in list(begun)[: 1 - _KEPT]:
            del begun[old]
        begun[key] = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(begun[key])
    except HordeModelReferenceError:
        begun.pop(key, None)
        raise


def _is_served(event: Event) -> bool:
    descriptor = get_all_registered_categories().get(event.category)
    return event.kind is Kind.RECORD and descriptor is not None and not descriptor.managed_elsewhere


def _change(event: Event) -> JsonObject:
    document = None if event.document is None else decode(event.document, where=f"{event.category}/{event.name}")
    record = wire_documents(event.category, {event.name: document})[event.name]
    return {fact: getattr(event, fact) for fact in _FACTS} | {"record": record}
