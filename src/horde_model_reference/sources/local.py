"""Sources on this machine: the store, files under the data root, what the package ships, an application's backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from horde_model_reference.backends.base import ModelReferenceBackend
from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, SourceUnavailable, StoreError
from horde_model_reference.files import read_bounded
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.sources.base import require_ours

if TYPE_CHECKING:
    from horde_model_reference.stores.base import Store

__all__ = ["BackendSource", "FolderSource", "StarterSource", "StoreSource"]


_STARTER = Path(__file__).parents[1] / "data" / "starter"


@dataclass(frozen=True)
class StoreSource:
    """The store itself: PRIMARY reads what it owns, an empty category as empty."""

    store: Store

    @property
    def name(self) -> str:
        return self.store.url

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        require_ours(self.name, category)
        mine = known if known is not None and known.source == self.name else None
        try:
            snapshot: Snapshot = yield Call(partial(self.store.snapshot, category, known=mine))
        except StoreError as error:
            raise SourceUnavailable(self.name, error.reason) from error
        return snapshot


@dataclass(frozen=True)
class FolderSource:
    """A folder of v2 files, one a category: the mirror that PRIMARY keeps, or the cache of a replica.

    A file is read again only when its time, size or place on the disk has changed.
    """

    root: Path

    @property
    def name(self) -> str:
        return str(self.root)

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        require_ours(self.name, category)
        snapshot: Snapshot = yield Call(partial(self._read, category, known))
        return snapshot

    def path_of(self, category: Category) -> Path:
        """The category's file."""
        return self.root / get_category_descriptor(category).v2_filename(category)

    def _read(self, category: Category, known: Snapshot | None) -> Snapshot:
        path = self.path_of(category)
        try:
            facts = path.stat()
            tag = f"{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"
            if known is not None and known.source == self.name and known.tag == tag:
                return known
            body, fault = _readable(read_bounded(path), str(path))
        except FileNotFoundError:
            raise SourceUnavailable(self.name, f"has no {path.name}", absent=True) from None
        except OSError as error:
            raise SourceUnavailable(self.name, f"{path.name}: {error.strerror or error}") from error
        except MalformedInput as error:
            raise SourceUnavailable(self.name, f"{path.name}: {error.reason}") from error
        return Snapshot(category, body, source=self.name, tag=tag, instead=fault)


@dataclass(frozen=True)
class StarterSource:
    """The starter catalogue inside the package: what a first run without any network reads."""

    name: str = "the starter catalogue"

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        if known is not None and known.source == self.name:
            return known
        read: Callable[[], bytes | None] = partial(self.body, category)
        body: bytes | None = yield Call(read)
        if body is None:
            raise SourceUnavailable(self.name, f"has no {category}", absent=True)
        return Snapshot(category, body, source=self.name)

    @staticmethod
    def body(category: Category) -> bytes | None:
        """The category as compact JSON, None where the catalogue has none of it."""
        path = _STARTER / get_category_descriptor(category).v2_filename(category)
        return _compact(path.read_bytes(), path.name) if path.is_file() else None


@dataclass(frozen=True)
class BackendSource:
    """Reads through a `ModelReferenceBackend` that an application wrote."""

    backend: ModelReferenceBackend

    @property
    def name(self) -> str:
        return type(self.backend).__name__

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        fetch = partial(self.backend.fetch_category, category, force_refresh=known is not None)
        try:
            documents: Mapping[str, JsonObject] | None = yield Call(fetch)
            if documents is None:
                raise SourceUnavailable(self.name, f"has no {category}", absent=True)
            body = to_json(documents)  # not `encode`: NaN in one record is that record's fault alone
        except SourceUnavailable:
            raise
        except Exception as error:  # a plug-in: what it raises is not ours to know
            raise SourceUnavailable(self.name, f"{type(error).__name__}: {error}") from error
        if known is not None and known.body == body:
            return known
        return Snapshot(category, body, source=self.name)


def _readable(data: bytes, where: str) -> tuple[bytes, str]:
    """The file as compact JSON, and what is wrong with records that cannot be read: they cost the others nothing."""
    try:
        return _compact(data, where), ""
    except MalformedInput:
        from horde_model_reference.formats.legacy import read_entries  # rarely needed, and each start would pay for it

        entries, findings = read_entries(data, where=where)
        if not entries:
            raise
        return encode(entries), "; ".join(map(str, findings))


def _compact(data: bytes, where: str) -> bytes:
    return encode(decode_object(data, where=where))
