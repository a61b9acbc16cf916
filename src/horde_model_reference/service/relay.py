"""The log of a relay: it keeps none, but sees what changed in what it holds, and tells those who follow it."""

from __future__ import annotations

import threading
from collections import deque

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import RevisionUnknown
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.reference import Reference
from horde_model_reference.service.feed import NO_MARK

__all__ = ["OfReferenceLog"]

_MOST_CHANGES, _MOST_MARKS = 5_000, 1_000


class OfReferenceLog:
    """What changed in a `Reference` since this was made, as far as it is kept. Safe to use from many threads.

    A change is told with the revision at which the relay had it; who follows the relay has only ever heard of those.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._lock = threading.Lock()
        self._version, self._history = -1, 0
        self._held: dict[Category, Snapshot] = {}
        self._head = self._first = 0
        self._changes: deque[JsonObject] = deque()
        self._marks: dict[int, str] = {}

    def head(self) -> int:
        with self._lock:
            if (version := self._reference.version) != self._version:
                self._take({c: s for c, s in self._reference.snapshots().items() if s.revision is not None})
                self._version = version
            return self._head

    @property
    def history(self) -> int:
        self.head()
        return self._history

    def mark(self, revision: int) -> str:
        if revision > (head := self.head()):
            raise RevisionUnknown(revision, head)
        return self._marks.get(revision, NO_MARK)

    def after(self, since: int, category: Category | None, most: int, head: int) -> tuple[list[JsonObject], bool]:
        with self._lock:
            if not self._first <= since <= head:
                raise RevisionUnknown(since, head)
            found = sorted((change for change in self._changes if since < _revision(change) <= head), key=_revision)
        found = [change for change in found if category in (None, change["category"])]
        while most < len(found) and _revision(found[most]) == _revision(found[most - 1]):
            most += 1  # those of one revision stay together: who has some of them would never be told the others
        return found[:most], len(found) > most

    def _take(self, held: dict[Category, Snapshot]) -> None:
        head = min((snapshot.revision or 0 for snapshot in held.values()), default=0)
        newest = next((s.mark for s in held.values() if s.revision == head and s.mark), NO_MARK)
        is_other = head < self._head or set(held) != set(self._held) or self._marks.get(head, newest) != newest
        changed = [] if is_other else [(self._held[c], s) for c, s in held.items() if self._held[c].body is not s.body]
        told = [_told(before, after) for before, after in changed]
        if is_other or None in told:  # nobody can go on from what was told so far
            self._changes.clear()
            self._marks.clear()
            self._first = head
            self._history += 1
        else:
            self._changes.extend(change for changes in told for change in changes or ())
        while len(self._changes) > _MOST_CHANGES:
            self._first = max(self._first, _revision(self._changes.popleft()))
        self._held, self._head, self._marks[head] = held, head, newest
        for old in list(self._marks)[:-_MOST_MARKS]:
            del self._marks[old]


def _told(before: Snapshot, after: Snapshot) -> list[JsonObject] | None:
    """The changes that lead from one to the other, each record staying where it was; None where none do."""
    old, records = decode_object(before.body), decode_object(after.body)
    created = [name for name in records if name not in old]
    if [name for name in old if name in records] + created != list(records):
        return None
    updated = [name for name, record in records.items() if name in old and encode(old[name]) != encode(record)]
    facts: JsonObject = {"revision": after.revision, "at": int(after.checked * 1000), "category": after.category}
    kinds = {"delete": [name for name in old if name not in records], "update": updated, "create": created}
    return [
        facts | {"name": name, "operation": operation, "record": records.get(name)}
        for operation, names in kinds.items()
        for name in names
    ]


def _revision(change: JsonObject) -> int:
    revision = change["revision"]
    assert isinstance(revision, int)
    return revision
