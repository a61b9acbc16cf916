"""The JSON files under the data root that other programs read, kept equal to the store. A mirror, never the truth.

Each file is replaced atomically and only where its content changed, so a reader in another process never sees a torn or
half-new one. A mirror that fell behind (a crash, a full disk) is brought up to date by the next refresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import (
    CANONICAL_CATEGORIES,
    Category,
    get_all_registered_categories,
    get_category_descriptor,
)
from horde_model_reference.domain.events import Kind
from horde_model_reference.errors import HordeModelReferenceError
from horde_model_reference.exchange.exporting import legacy_file, v2_file
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import encode_pretty
from horde_model_reference.stores.base import Store

__all__ = ["Mirror"]

_log = logger("mirror")
_LOCK_SECONDS = 30


@dataclass
class Mirror:
    """The files of one store under `root`. Processes that share the root take turns, so the newest state stays."""

    store: Store
    root: Path
    _revision: int = -1

    def refresh(self) -> list[Path]:
        """Write what changed since the last refresh; gives back the files written. Raises `OSError`, `StoreError`."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".mirror.lock", timeout=_LOCK_SECONDS):
            head, written = self.store.head(), []
            for path, data in self.behind(self._changed(head)):
                write_atomically(path, data)
                written.append(path)
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
            for path, data in self._files(category).items():
                if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
                    yield path, data

    def _changed(self, head: int) -> list[Category]:
        if self._revision < 0:
            return list(CANONICAL_CATEGORIES)
        if self._revision == head:
            return []
        known = get_all_registered_categories()
        events = self.store.events(since=self._revision)
        changed = dict.fromkeys(event.category for event in events if event.kind is Kind.RECORD)
        return [category for category in changed if category in known]

    def _files(self, category: Category) -> dict[Path, bytes]:
        descriptor = get_category_descriptor(category)
        entries = self.store.entries(category)
        contents = {self.root / descriptor.v2_filename(category): v2_file(entries)}
        metadata = self.store.metadata(category)
        if metadata is not None and descriptor.has_legacy_format:
            contents[self.root / "legacy" / descriptor.legacy_filename(category)] = legacy_file(category, entries)
        if metadata is not None:
            contents[self.root / "meta" / "v2" / f"{category}_metadata.json"] = encode_pretty(metadata)
        return contents
