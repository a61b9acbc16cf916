"""The feed of changes: what happened to records after a revision, as the bytes in which it is told.

An answer follows from the question and the newest revision alone, so however many ask the same, one reads and encodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from typing import Protocol, TypeVar

from horde_model_reference.domain.categories import Category, get_all_registered_categories
from horde_model_reference.domain.events import Event, Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import HordeModelReferenceError, RevisionUnknown
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.service.answers import Answer
from horde_model_reference.service.bell import Bell
from horde_model_reference.service.bodies import Body
from horde_model_reference.service.renderings import changes_told
from horde_model_reference.stores.sql import SqlStore

__all__ = ["NO_MARK", "Feed", "Log", "OfStoreLog", "Question"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_KEPT, _DIGITS = 32, 8
NO_MARK = "0" * _DIGITS


@dataclass(frozen=True)
class Question:
    """At most `limit` changes after revision `since`, of one category or of all, for readers who take `coding`."""

    since: int
    category: Category | None
    limit: int
    coding: str


class Log(Protocol):
    """What happened, as far back as it is known. Its methods may take a while."""

    @property
    def history(self) -> int:
        """Another number as soon as what was told of revisions no longer holds."""

    def head(self) -> int:
        """The newest revision. Raises `StoreError`."""

    def mark(self, revision: int) -> str:
        """What tells the history up to a revision from others of that length. Raises `RevisionUnknown`."""

    def after(self, since: int, category: Category | None, most: int, head: int) -> tuple[list[JsonObject], bool]:
        """At most so many changes up to `head`, as they are told, and whether there are more.

        Raises `RevisionUnknown` for a `since` from which nobody can go on: newer than `head`, or what followed is gone.
        """


class Feed:
    """The changes of one log. Made in the loop of the app; `bell` tells when there are more."""

    def __init__(self, log: Log, look: Callable[[], Awaitable[int]]) -> None:
        self._log = log
        self._mark = lru_cache(maxsize=_KEPT)(lambda _history, revision: log.mark(revision))
        self._marking: dict[tuple[int, int], asyncio.Future[str]] = {}
        self._answers: dict[tuple[int, Question, int], asyncio.Future[Answer]] = {}
        self.bell = Bell(look)

    def mark(self, revision: int) -> str:
        """What tells the history up to a revision from others of that length. Raises `RevisionUnknown`."""
        return self._mark(self._log.history, revision)

    async def marked(self, revision: int) -> str:
        """The mark without blocking the loop, however many ask."""
        return await _once(self._marking, (self._log.history, revision), lambda: self.mark(revision))

    async def tell(self, asked: Question, head: int) -> Answer:
        """What happened up to revision `head`; the answer's revision is the one up to which it tells everything.

        Raises `RevisionUnknown` for a `since` from which nobody can go on.
        """
        return await _once(self._answers, (self._log.history, asked, head), lambda: self._read(asked, head))

    def _read(self, asked: Question, head: int) -> Answer:
        changes, more = self._log.after(asked.since, asked.category, asked.limit, head)
        last = changes[-1]["revision"] if more else head
        revision = last if isinstance(last, int) else head
        body = Body(encode({"revision": revision, "changes": [*changes], "more": more}))
        body.form(body.coding(asked.coding))  # here, where it keeps nobody else waiting
        return Answer(body, revision, self.mark(revision))


class OfStoreLog:
    """The log of events of a store. Nothing that is in it changes."""

    history = 0

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.head = store.head

    def mark(self, revision: int) -> str:
        event = next(iter(self._store.events(since=revision - 1, limit=1)), None) if revision else None
        if event is None and revision > (head := self._store.head()):
            raise RevisionUnknown(revision, head)
        return event.hash[:_DIGITS] if event is not None and event.revision == revision else NO_MARK

    def after(self, since: int, category: Category | None, most: int, head: int) -> tuple[list[JsonObject], bool]:
        first = next(iter(self._store.events(since=since, limit=1)), None)
        if since > head or (since < head and (first is None or first.revision != since + 1)):
            raise RevisionUnknown(since, head)
        later = self._store.events(since=since, category=category)
        listed = filter(_is_served, takewhile(lambda event: event.revision <= head, later))
        told = list(changes_told(self._store, islice(listed, most)))
        return told, next(listed, None) is not None


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
