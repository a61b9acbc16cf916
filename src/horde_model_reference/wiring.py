"""From settings to parts. This module alone knows which source, store and network run in which mode.

| mode | reads | writes |
|---|---|---|
| PRIMARY | the store | the store, then the mirror |
| offline | the files under the data root, else the starter catalogue | nothing |
| REPLICA | PRIMARY over HTTP, remembered on disk; else that disk, else the starter catalogue | the remembered files |
| a backend of the application's | that | what it says |
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from horde_model_reference._log import logger
from horde_model_reference.backends.base import ModelReferenceBackend
from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import MissingExtra, ReferenceUnavailable, UnknownCategory
from horde_model_reference.files import read_bounded
from horde_model_reference.flow import Network, NoNetwork
from horde_model_reference.path_consts import (
    HordeModelReferencePaths,
    horde_model_reference_paths,
    make_folders,
)
from horde_model_reference.prefetch import PrefetchStrategy
from horde_model_reference.reference import Reference
from horde_model_reference.settings import CanonicalFormat, HordeModelReferenceSettings, ReplicateMode
from horde_model_reference.sources.base import Source
from horde_model_reference.sources.layered import Checked, FirstThatAnswers, Remembered
from horde_model_reference.sources.local import BackendSource, FolderSource, StarterSource, StoreSource

if TYPE_CHECKING:
    from horde_model_reference.domain.metadata import CategoryMetadata
    from horde_model_reference.stores.base import Store

__all__ = ["Mode", "Parts", "assemble", "database_address", "open_store", "reference_of_store"]

_log = logger("wiring")
_RECHECK_SECONDS = 0.05
"""How long a PRIMARY's library reads may lag behind a commit of another process: asking the store has its cost."""


@dataclass(frozen=True)
class Mode:
    """What the caller decided, over what the settings say."""

    replicate_mode: ReplicateMode
    offline: bool
    base_path: Path
    backend: ModelReferenceBackend | None = None
    prefetch_strategy: PrefetchStrategy = PrefetchStrategy.LAZY
    takes_over: bool = True
    """Whether an empty store takes in what an earlier installation left under the data root."""

    @classmethod
    def by_settings(cls, settings: HordeModelReferenceSettings) -> Mode:
        """What holds where the caller says nothing."""
        root = horde_model_reference_paths.base_path.absolute()
        return cls(ReplicateMode(settings.replicate_mode), settings.offline, root)

    @property
    def owns_store(self) -> bool:
        """Whether this process reads, and may write, the store itself."""
        return self.backend is None and not self.offline and self.replicate_mode is ReplicateMode.PRIMARY


@dataclass(frozen=True)
class Parts:
    """What the manager is a face of. `store` is there where this process owns one."""

    reference: Reference
    backend: ModelReferenceBackend
    root: Path
    store: Store | None = None

    def metadata(self, category: Category) -> CategoryMetadata | None:
        """The category's metadata: the store's, else what PRIMARY left under the data root, else None."""
        category = find_category(category)
        if self.store is not None:
            return self.store.metadata(category)
        from horde_model_reference.domain.metadata import CategoryMetadata  # no read needs it

        path = self.root / "meta" / "v2" / f"{category}_metadata.json"
        try:
            return CategoryMetadata.model_validate_json(read_bounded(path))
        except (OSError, ValueError):
            return None

    def last_updated(self, category: Category | None = None) -> int | None:
        """Unix seconds of the last change of the category, or of any."""
        wanted = [category] if category is not None else list(get_all_registered_categories())
        known = [metadata.last_updated for each in wanted if (metadata := self.metadata(each))]
        return max(known, default=None)

    def close(self) -> None:
        """Give back what is held open."""
        if self.store is not None:
            self.store.close()


class ReferenceBackend(ModelReferenceBackend):
    """Raw documents of a `Reference`. `writes` says whether this process owns the store under it."""

    def __init__(self, reference: Reference, *, writes: bool = False) -> None:
        self._reference = reference
        self._writes = writes

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        """Name -> v2 document; None where the category is unknown or cannot be had."""
        with suppress(ReferenceUnavailable, UnknownCategory):
            return self._reference.raw(category, fresh=force_refresh)
        return None

    def supports_writes(self) -> bool:
        """True for a PRIMARY."""
        return self._writes

    def get_statistics(self) -> Mapping[str, int]:
        """`categories` in memory, and `github_fallbacks`: reads that GitHub answered in place of PRIMARY."""
        return {"categories": len(self._reference.status()), "github_fallbacks": 0}


def assemble(mode: Mode, settings: HordeModelReferenceSettings) -> Parts:
    """The parts of a mode."""
    if settings.make_folders:
        make_folders(HordeModelReferencePaths(base_path=mode.base_path), settings)
    if mode.owns_store:
        store = open_store(mode.base_path, settings, takes_over=mode.takes_over)
        reference = reference_of_store(store)
        return Parts(reference, ReferenceBackend(reference, writes=True), mode.base_path, store)
    reference = Reference(_source(mode, settings), _network(mode), max_age=settings.cache_ttl_seconds)
    return Parts(reference, mode.backend or ReferenceBackend(reference), mode.base_path)


def reference_of_store(store: Store) -> Reference:
    """The reading object over a store; what this process writes, its next read sees."""
    reference = Reference(StoreSource(store), NoNetwork(), max_age=_RECHECK_SECONDS)
    store.subscribe(reference.expire)
    return reference


def open_store(root: Path, settings: HordeModelReferenceSettings, *, takes_over: bool = True) -> Store:
    """The store under a data root, with the mirror that follows it. Raises `MissingExtra`, `StoreError`."""
    try:
        from horde_model_reference.exchange.importing import take_over
        from horde_model_reference.exchange.mirror import Mirror
        from horde_model_reference.stores.sql import SqlStore
    except ImportError as error:
        raise MissingExtra("owning the reference (PRIMARY)", "store") from error
    store = SqlStore(database_address(root, settings))
    if takes_over:
        report = take_over(store, root, prefer_legacy=settings.canonical_format is CanonicalFormat.legacy)
        for finding in report.findings if report else ():
            _log.warning("taking over %s: %s", root, finding)
    if settings.mirror_enabled:
        store.subscribe(Mirror(store, root).keep_up)
    return store


def database_address(root: Path, settings: HordeModelReferenceSettings) -> str:
    """The database URL: what the settings say, else one SQLite file under the data root."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{root.absolute() / 'reference.sqlite3'}"


def _source(mode: Mode, settings: HordeModelReferenceSettings) -> Source:
    folder = FolderSource(mode.base_path)
    if mode.backend is not None:
        return BackendSource(mode.backend)
    if mode.offline or not settings.primary_api_url:
        return FirstThatAnswers((folder, StarterSource()))
    primary = _primary(settings.primary_api_url, settings)
    return FirstThatAnswers((Remembered(Checked(primary), folder), folder, StarterSource()))


def _primary(url: str, settings: HordeModelReferenceSettings) -> Source:
    from horde_model_reference.sources.http import PrimarySource

    return PrimarySource(url, settings.primary_api_timeout, settings.max_response_bytes)


def _network(mode: Mode) -> Network:
    if mode.offline or mode.backend is not None:
        return NoNetwork()
    from horde_model_reference.transport import HttpNetwork

    return HttpNetwork()
