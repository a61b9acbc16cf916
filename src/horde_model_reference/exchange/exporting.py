"""Writing the reference out: as v2 files, legacy files, one bundle that an import gives back exactly, or a mirror.

An export takes the categories to write, by default those that have records, and the revision, by default the newest.
The mirror is the JSON files under the data root that other programs read: equal to the store, never the truth. A file
is replaced atomically and only where its content changed; what fell behind (a crash, a full disk), the next refresh
brings up to date.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, Category, get_all_registered_categories
from horde_model_reference.domain.events import Entry, Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import HordeModelReferenceError
from horde_model_reference.exchange.importing import BUNDLE_FORMAT, BUNDLE_VERSION
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode, decode_object, encode_pretty
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.process import ForkLock

if TYPE_CHECKING:
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["Mirror", "bundle", "entries_of", "legacy_entries", "write_legacy", "write_v2"]

_log = logger("mirror")
_LOCK_SECONDS, _FOLDERS = 30, (".", "legacy", "meta/v2")

Entries = dict[str, Entry]


def entries_of(
    store: SqlStore, categories: Iterable[Category] = (), at: int | None = None
) -> Iterator[tuple[Category, Entries]]:
    """The records of each category named, or of each that has any."""
    named = tuple(categories)
    for category in named or get_all_registered_categories():
        entries = store.entries(category, at=at)
        if entries or named:
            yield category, entries


def legacy_entries(category: Category, entries: Entries) -> dict[str, JsonObject]:
    """The records of a category as they read in the legacy format: what nobody changed is the original again."""
    form, legacy = legacy_format(category), {}
    for name, entry in entries.items():
        origin = None if entry.origin is None else decode_object(entry.origin)
        legacy[name] = form.from_v2(category, name, decode_object(entry.document), origin)
    return legacy


def _file(category: Category, entries: Entries, legacy: bool = False) -> tuple[str, bytes]:
    kind = get_all_registered_categories()[category]
    if legacy:
        return kind.legacy_filename(category), legacy_format(category).write(legacy_entries(category, entries))
    return kind.v2_filename(category), encode_pretty({name: decode(entry.document) for name, entry in entries.items()})


def _write(
    legacy: bool, store: SqlStore, folder: Path, categories: Iterable[Category] = (), at: int | None = None
) -> list[Path]:
    kinds, found = get_all_registered_categories(), entries_of(store, categories, at)
    files = (_file(*each, legacy) for each in found if kinds[each[0]].has_legacy_format or not legacy)
    return [write_atomically(folder / name, data) for name, data in files]


write_v2, write_legacy = partial(_write, False), partial(_write, True)
"""One file a category, in the legacy format for those that have one; gives back what was written."""


def bundle(store: SqlStore, categories: Iterable[Category] = (), at: int | None = None) -> bytes:
    """Everything in one JSON file: documents with their origins, by category, and the revision they are at."""
    revision, found = store.head() if at is None else at, dict[Category, JsonObject]()
    for category, entries in entries_of(store, categories, revision):
        rows = found.setdefault(category, {})
        for name, entry in entries.items():
            origin = {} if entry.origin is None else {"origin": decode(entry.origin)}
            rows[name] = {"document": decode(entry.document), **origin}
    facts = {"format": BUNDLE_FORMAT, "version": BUNDLE_VERSION, "revision": revision}
    return encode_pretty({**facts, "categories": found})


@dataclass
class Mirror:
    """The files of one store under `root`. Processes that share the root take turns, so the newest state stays."""

    store: SqlStore
    root: Path
    _revision: int = -1
    _lock: ForkLock = field(default_factory=ForkLock)
    _follower: threading.Thread | None = None
    _woken: bool = False

    def wake(self) -> None:
        """Keep up on a thread of its own, which lasts until the files are: a burst of commits costs one refresh, and
        who commits waits for none. A process that ends in order ends after that."""
        with self._lock:
            self._woken = True
            if self._follower is None or not self._follower.is_alive():  # a forked child has none
                self._follower = threading.Thread(target=self._follow, name="horde-mirror")
                self._follower.start()

    def settle(self) -> None:
        """Wait until the files show what this process committed."""
        if (follower := self._follower) is not None:
            follower.join()

    def _follow(self) -> None:
        while True:
            with self._lock:
                if not self._woken:
                    self._follower = None
                    return
                self._woken = False
            self.keep_up()

    def refresh(self) -> list[Path]:
        """Write what changed since the last refresh; gives back the files written. Raises `OSError`, `StoreError`."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".mirror.lock", timeout=_LOCK_SECONDS):
            for leftover in (each for folder in _FOLDERS for each in (self.root / folder).glob(".*.[jc]s*.tmp")):
                leftover.unlink(missing_ok=True)  # of a process that was killed: who writes here has the lock
            head, changed = self.store.head(), set[Category](CANONICAL_CATEGORIES)
            if self._revision >= 0:
                events = self.store.events(since=self._revision)
                touched = {event.category for event in events if event.kind is Kind.RECORD}
                changed = touched & get_all_registered_categories().keys()
            written = [write_atomically(path, data) for path, data in self.behind(changed)]
            self._revision = head
        if written:
            _log.info("revision %d: rewrote %d files under %s", head, len(written), self.root)
        return written

    def keep_up(self) -> None:
        """Refresh, and only warn where that fails: the store has the change, the files follow with the next one."""
        try:
            self.refresh()
        except (OSError, HordeModelReferenceError) as error:
            _log.warning("the JSON files under %s are behind the store: %s", self.root, error)

    def behind(self, categories: Iterable[Category] = CANONICAL_CATEGORIES) -> Iterator[tuple[Path, bytes]]:
        """Each file that does not hold what it should, with what that is."""
        for category in categories:
            entries, metadata = self.store.entries(category), self.store.metadata(category)
            files = [_file(category, entries)]
            if metadata is not None:
                files.append((f"meta/v2/{category}_metadata.json", encode_pretty(metadata)))
            if metadata is not None and get_all_registered_categories()[category].has_legacy_format:
                name, data = _file(category, entries, legacy=True)
                files.append((f"legacy/{name}", data))
            for path, data in ((self.root / name, data) for name, data in files):
                if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
                    yield path, data
