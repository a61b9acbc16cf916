"""Which records lie near another: the ones whose name reads the same, and the ones that hold the same files.

Nobody can search all records for each proposal, so they are kept here by what is asked for. The index reads the store
once; from then on each question reads only the events since the one before.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TypeAlias

from pydantic_core import from_json

from horde_model_reference.domain.events import Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.moderation.prereview import Neighbours, files_of, folded, known_hash
from horde_model_reference.process import ForkLock, bulk
from horde_model_reference.stores.sql import SqlStore

__all__ = ["NeighbourIndex"]

_Name: TypeAlias = tuple[str, str]
_MOST = 20


class NeighbourIndex:
    """Safe across threads. The first question costs a read of all records, each later one what changed in between."""

    def __init__(self, store: SqlStore) -> None:
        self._store, self._lock = store, ForkLock()
        self._seen: int | None = None
        self._keys: dict[_Name, frozenset[_Name]] = {}
        """Under which keys a record is found: its category and folded name, and ("", hash) for each file."""
        self._found: defaultdict[_Name, set[_Name]] = defaultdict(set)

    def near(self, category: str, name: str, document: JsonObject, head: int | None = None) -> Neighbours:
        """What lies near that record, which may be there already or not, at most 20 of a kind. `head` is the newest
        revision, where it is known: then nobody need be asked whether anything changed. Raises `StoreError`."""
        me, hashes = (category, name), _hashes(document)
        with self._lock:
            if head is None or head != self._seen:
                self._catch_up()
            names = self._found.get((category, folded(name)), set()) - {me}
            found = {
                each: islice((other for other in self._found.get(("", each), ()) if other != me), _MOST)
                for each in hashes
            }
            holders = {each: tuple(sorted(others)) for each, others in found.items()}
        return Neighbours(tuple(sorted(name for _, name in names))[:_MOST], holders)

    def _catch_up(self) -> None:
        if self._seen is None:
            head = self._store.head()  # before the records, so that nothing falls in between
            with bulk():
                for category in self._store.counts():
                    for name, entry in self._store.entries(category).items():
                        self._put((category, name), entry.document)
            self._seen = head
        for event in self._store.events(since=self._seen):
            if event.kind is Kind.RECORD:
                self._put((event.category, event.name), event.document)
            self._seen = event.revision

    def _put(self, record: _Name, document: str | None) -> None:
        for key in self._keys.pop(record, ()):
            self._found[key].discard(record)
            if not self._found[key]:
                del self._found[key]
        if document is not None:
            hashes = {("", each) for each in _hashes(from_json(document, cache_strings="keys"))}
            self._keys[record] = frozenset({(record[0], folded(record[1])), *hashes})
            for key in self._keys[record]:
                self._found[key].add(record)


def _hashes(document: JsonObject) -> set[str]:
    return {known for _, file in files_of(document) if (known := known_hash(file))}
