"""A relay's origin: what its reading object holds. It keeps no log, but sees what changed there, and tells that."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import RevisionUnknown, SourceUnavailable
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.formats.wire import wire_document, without_promised
from horde_model_reference.reference import Reference
from horde_model_reference.service.renderings import NO_MARK, Content, Form, Origin, Rendering, legacy_content
from horde_model_reference.sources.local import StarterSource

__all__ = ["OfReference"]

_MOST_CHANGES, _MOST_MARKS = 5_000, 1_000


class OfReference(Origin):
    """What a `Reference` holds, and what changed in it since this was made, as far as that is kept.

    A change is told with the revision at which the relay had it; who follows the relay has only ever heard of those. It
    is a new moment every second, since the age of what is held is told in seconds.
    """

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self._reference = reference
        self._bodies: dict[tuple[Form, Category], bytes] = {}
        self._lock = threading.Lock()
        self._version, self._history = -1, 0
        self._held: dict[Category, Snapshot] = {}
        self._head = self._first = 0
        self._changes: deque[JsonObject] = deque()
        self._marks: dict[int, str] = {}
        self.head()  # from here on it knows what happens

    @property
    def revision(self) -> int | None:
        counted = [snapshot.revision for snapshot in self._reference.snapshots().values()]
        return min((revision for revision in counted if revision is not None), default=None)

    @property
    def history(self) -> int:
        self.head()
        return self._history

    def glance(self) -> tuple[int, int]:
        return self._reference.version, int(asyncio.get_running_loop().time())

    async def now(self) -> tuple[int, int]:
        return self.glance()

    async def newest(self) -> int:
        return await asyncio.to_thread(self.head)

    def close(self) -> None:
        """Nothing is held open."""

    def head(self) -> int:
        """The same for threads."""
        with self._lock:
            if (version := self._reference.version) != self._version:
                self._take({c: s for c, s in self._reference.snapshots().items() if s.revision is not None})
                self._version = version
            return self._head

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

    def past(self, form: Form, category: Category, at: int) -> Rendering:
        snapshot = self._reference.snapshot(category)
        if at != snapshot.revision:
            raise RevisionUnknown(at, snapshot.revision or 0)
        return _rendering(_content(form, snapshot), snapshot)

    def render(self, form: Form, category: Category, before: Rendering | None) -> Rendering:
        snapshot = self._reference.snapshot(category)
        if snapshot.instead and snapshot.source == StarterSource.name:
            raise SourceUnavailable("the source of this relay", f"has not been heard yet ({snapshot.instead})")
        is_same = before is not None and self._bodies.get((form, category)) is snapshot.body
        content = before.content if before is not None and is_same else _content(form, snapshot)
        self._bodies[form, category] = snapshot.body
        return _rendering(content, snapshot)

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


def _rendering(content: Content, snapshot: Snapshot) -> Rendering:
    return Rendering(content, snapshot.revision, snapshot.mark, snapshot.checked - snapshot.older)


def _content(form: Form, snapshot: Snapshot) -> Content:
    category, documents = snapshot.category, decode_object(snapshot.body)
    if form is Form.V2:
        return Content.of(category, {name: wire_document(category, document) for name, document in documents.items()})
    objects = ((name, document) for name, document in documents.items() if isinstance(document, dict))
    return legacy_content(form, category, {name: without_promised(category, each) for name, each in objects}, {})


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
