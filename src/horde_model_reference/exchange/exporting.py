"""Writing the reference out: as v2 files, legacy files, one bundle that an import gives back exactly, or a mirror.

An export takes the categories to write, by default those that have records, and the revision, by default the newest.
The mirror is the JSON files under the data root that other programs read, kept equal to the store, never the truth. A
file is replaced atomically and only where its content changed, so a reader in another process never sees a torn or
half-new one. A mirror that fell behind (a crash, a full disk) is brought up to date by the next refresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["Mirror", "bundle", "entries_of", "legacy_entries", "write_legacy", "write_v2"]

_log = logger("mirror")
_LOCK_SECONDS = 30

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


def _v2_file(category: Category, entries: Entries) -> tuple[str, bytes]:
    name = get_all_registered_categories()[category].v2_filename(category)
    return name, encode_pretty({name: decode(entry.document) for name, entry in entries.items()})


def _legacy_file(category: Category, entries: Entries) -> tuple[str, bytes]:
    name = get_all_registered_categories()[category].legacy_filename(category)
    return name, legacy_format(category).write(legacy_entries(category, entries))


def _write(
    legacy: bool, store: SqlStore, folder: Path, categories: Iterable[Category] = (), at: int | None = None
) -> list[Path]:
    kinds, file_of = get_all_registered_categories(), _legacy_file if legacy else _v2_file
    found = entries_of(store, categories, at)
    files = (file_of(each, entries) for each, entries in found if kinds[each].has_legacy_format or not legacy)
    return [write_atomically(folder / name, data) for name, data in files]


write_v2, write_legacy = partial(_write, False), partial(_write, True)
"""One file a category, in the legacy format for those that have one; gives back what was written."""


def bundle(store: SqlStore, categories: Iterable[Category] = (), at: int | None = None) -> bytes:
    """Everything in one JSON file: documents with their origins, by category, and the revision they are at."""
    revision = store.head() if at is None else at
    found = {each: dict(map(_row, entries.items())) for each, entries in entries_of(store, categories, revision)}
    facts = {"format": BUNDLE_FORMAT, "version": BUNDLE_VERSION, "revision": revision}
    return encode_pretty({**facts, "categories": found})


def _row(named: tuple[str, Entry]) -> tuple[str, JsonObject]:
    name, entry = named
    origin = {} if entry.origin is None else {"origin": decode(entry.origin)}
    return name, {"document": decode(entry.document), **origin}


@dataclass
class Mirror:
    """The files of one store under `root`. Processes that share the root take turns, so the newest state stays."""

    store: SqlStore
    root: Path
    _revision: int = -1

    def refresh(self) -> list[Path]:
        """Write what changed since the last refresh; gives back the files written. Raises `OSError`, `StoreError`."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".mirror.lock", timeout=_LOCK_SECONDS):
            head = self.store.head()
            written = [write_atomically(path, data) for path, data in self.behind(self._changed())]
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
            for path, data in self._files(category):
                if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
                    yield path, data

    def _changed(self) -> Iterable[Category]:
        if self._revision < 0:
            return CANONICAL_CATEGORIES
        events = self.store.events(since=self._revision)
        changed = {event.category for event in events if event.kind is Kind.RECORD}
        return changed & get_all_registered_categories().keys()

    def _files(self, category: Category) -> Iterator[tuple[Path, bytes]]:
        entries = self.store.entries(category)
        name, data = _v2_file(category, entries)
        yield self.root / name, data
        if (metadata := self.store.metadata(category)) is None:
            return
        yield self.root / "meta" / "v2" / f"{category}_metadata.json", encode_pretty(metadata)
        if get_all_registered_categories()[category].has_legacy_format:
            name, data = _legacy_file(category, entries)
            yield self.root / "legacy" / name, data
