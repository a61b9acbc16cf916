"""From settings to parts. This module alone knows which source, store and network run in which mode.

| mode | reads | writes |
|---|---|---|
| PRIMARY | the store | the store, then the mirror |
| offline | the files under the data root, else the starter catalogue | nothing |
| REPLICA | the files under the data root; behind the readers PRIMARY, else GitHub; else the starter | those files |
| a backend of the application's | that | what it says |
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import MissingExtra, ReferenceUnavailable, UnknownCategory
from horde_model_reference.files import read_bounded
from horde_model_reference.flow import Network, NoNetwork, run
from horde_model_reference.horde_environment import horde_environment
from horde_model_reference.path_consts import HordeModelReferencePaths, horde_model_reference_paths, make_folders
from horde_model_reference.prefetch import PrefetchStrategy
from horde_model_reference.reference import Reference
from horde_model_reference.settings import CanonicalFormat, HordeModelReferenceSettings, ReplicateMode, get_settings
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.http import GitHubSource, PrimarySource
from horde_model_reference.sources.layered import Breaker, Checked, Else, FirstThatAnswers
from horde_model_reference.sources.local import BackendSource, ModelReferenceBackend, StarterSource, StoreSource
from horde_model_reference.sources.remembered import Remembered

if TYPE_CHECKING:
    from horde_model_reference.domain.changes import NamedFinding
    from horde_model_reference.domain.snapshots import CategoryMetadata
    from horde_model_reference.exchange.exporting import Mirror
    from horde_model_reference.horde.users import Users
    from horde_model_reference.moderation.queue import Queue
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["GitHubBackend", "Mode", "Parts", "ReferenceBackend", "assemble", "database_address", "open_store"]
__all__ += ["queue_of", "reference_of_store", "users_of"]

_log = logger("wiring")
_HOLD_SECONDS = 25.0  # how long PRIMARY may hold a question: less than the half minute after which proxies give up
_RECHECK_SECONDS = 0.05  # that a PRIMARY's library reads may lag behind a commit of another process


@dataclass(frozen=True)
class Mode:
    """What the caller decided, over what the settings say."""

    replicate_mode: ReplicateMode
    offline: bool
    base_path: Path
    backend: ModelReferenceBackend | None = None
    prefetch_strategy: PrefetchStrategy = PrefetchStrategy.LAZY
    takes_over: bool = True  # whether an empty store takes in what an earlier installation left under the data root

    @classmethod
    def by_settings(cls, settings: HordeModelReferenceSettings) -> Mode:
        """What holds where the caller says nothing."""
        root = horde_model_reference_paths.base_path.absolute()
        return cls(ReplicateMode(settings.replicate_mode), settings.offline, root)


@dataclass(frozen=True)
class Parts:
    """What the manager is a face of. `store` is there where this process owns one."""

    reference: Reference
    backend: ModelReferenceBackend
    root: Path
    store: SqlStore | None = None
    mirror: Mirror | None = None
    network: Network = field(default_factory=NoNetwork)

    def metadata(self, category: Category) -> CategoryMetadata | None:
        """The category's metadata: the store's, else what PRIMARY left under the data root, else None."""
        category = find_category(category)
        if self.store is not None:
            return self.store.metadata(category)
        from horde_model_reference.domain.snapshots import CategoryMetadata  # no read needs it

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
        """Give back what is held open, and end what runs behind the readers."""
        self.reference.close()
        self.network.close()
        if self.mirror is not None:
            self.mirror.settle()
        if self.store is not None:
            self.store.close()


class ReferenceBackend(ModelReferenceBackend):
    """Raw documents of a `Reference`. `writes`: this process owns the store under it; `github` counts its answers."""

    def __init__(self, reference: Reference, *, writes: bool = False, github: Breaker | None = None) -> None:
        self._reference, self._writes, self._github = reference, writes, github

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
        fallbacks = self._github.answers if self._github is not None else 0
        return {"categories": len(self._reference.status()), "github_fallbacks": fallbacks}


class GitHubBackend(ReferenceBackend):
    """The two repositories on GitHub, whatever PRIMARY says: legacy files, converted, not remembered on the disk."""

    def __init__(self) -> None:
        settings = get_settings()
        github, patience = _github(settings), settings.first_load_timeout_seconds
        reference = Reference(github, _network(), max_age=settings.cache_ttl_seconds, patience=patience)
        super().__init__(reference, github=github)


def assemble(mode: Mode, settings: HordeModelReferenceSettings) -> Parts:
    """The parts of a mode."""
    if settings.make_folders:
        make_folders(HordeModelReferencePaths(base_path=mode.base_path), settings)
    if mode.backend is None and not mode.offline and mode.replicate_mode is ReplicateMode.PRIMARY:
        store, mirror = open_store(mode.base_path, settings, takes_over=mode.takes_over)
        reference = reference_of_store(store)
        return Parts(reference, ReferenceBackend(reference, writes=True), mode.base_path, store, mirror)
    if mode.backend is None and (mode.offline or not (settings.primary_api_url or settings.enable_github_fallback)):
        local = Else(FolderSource(mode.base_path), StarterSource())
        reference = Reference(local, NoNetwork(), max_age=settings.cache_ttl_seconds)
        return Parts(reference, ReferenceBackend(reference), mode.base_path)
    return _replica(mode, settings)


def reference_of_store(store: SqlStore) -> Reference:
    """The reading object over a store; what this process writes, its next read sees."""
    reference = Reference(StoreSource(store), NoNetwork(), max_age=_RECHECK_SECONDS)
    store.subscribe(reference.expire)
    return reference


def open_store(
    root: Path, settings: HordeModelReferenceSettings, *, takes_over: bool = True
) -> tuple[SqlStore, Mirror | None]:
    """The store under a data root, and the mirror that follows it. Raises `MissingExtra`, `StoreError`."""
    try:
        from horde_model_reference.exchange.exporting import Mirror
        from horde_model_reference.exchange.importing import take_over
        from horde_model_reference.stores.sql import SqlStore
    except ImportError as error:
        raise MissingExtra("owning the reference (PRIMARY)", "store") from error
    store = SqlStore(database_address(root, settings))
    if takes_over:
        report = take_over(store, root, prefer_legacy=settings.canonical_format is CanonicalFormat.legacy)
        for finding in report.findings if report else ():
            _log.warning("taking over %s: %s", root, finding)
    mirror = Mirror(store, root) if settings.mirror_enabled else None
    if mirror is not None:
        store.subscribe(mirror.wake)
    return store, mirror


def queue_of(store: SqlStore, settings: HordeModelReferenceSettings, network: Network) -> Queue:
    """Moderation over a store; `network` is for asking the hosts that the settings name, if any."""
    from horde_model_reference.moderation.addresses import Addresses
    from horde_model_reference.moderation.neighbours import NeighbourIndex
    from horde_model_reference.moderation.queue import Queue

    asked = settings.pending_queue
    addresses = Addresses(asked.checked_hosts)

    def ask_hosts(document: JsonObject) -> tuple[NamedFinding, ...]:
        return run(addresses.check(document), network) if asked.checked_hosts else ()

    return Queue(store, NeighbourIndex(store), asked.allow_self_approval, ask_hosts=ask_hosts)


def users_of(settings: HordeModelReferenceSettings, network: Network) -> Users:
    """Whose key is whose, as the AI Horde says, and what the settings let them do."""
    from horde_model_reference.horde.users import Users

    queue, url = settings.pending_queue, horde_environment().horde_url
    may_edit = settings.licensing.editor_ids
    return Users(url, network, requestors=queue.requestor_ids, approvers=queue.approver_ids, editors=may_edit)


def database_address(root: Path, settings: HordeModelReferenceSettings) -> str:
    """The database URL: what the settings say, else one SQLite file under the data root."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{root.absolute() / 'reference.sqlite3'}"


def _replica(mode: Mode, settings: HordeModelReferenceSettings) -> Parts:
    """What is kept up to date behind its readers: an application's backend; else PRIMARY, then GitHub, for all
    processes of this host together, else what the package ships."""
    patience, network = settings.first_load_timeout_seconds, _network() if mode.backend is None else NoNetwork()
    github = _github(settings) if settings.enable_github_fallback else None
    asked = [github] if github is not None else []
    if settings.primary_api_url:
        limits = (settings.primary_api_timeout, settings.max_response_bytes)
        asked.insert(0, Breaker(Checked(PrimarySource(settings.primary_api_url, *limits), settings.max_lost_share)))
    remembered = Remembered(FirstThatAnswers(tuple(asked)), FolderSource(mode.base_path), patience / 2)
    reference = Reference(
        Else(remembered, StarterSource()) if mode.backend is None else BackendSource(mode.backend),
        network,
        max_age=settings.cache_ttl_seconds,
        patience=patience,
        behind=True,
        follow=_HOLD_SECONDS if settings.follow_changes else 0.0,
    )
    backend = mode.backend or ReferenceBackend(reference, github=github)
    return Parts(reference, backend, mode.base_path, network=network)


def _network() -> Network:
    from horde_model_reference.transport import HttpNetwork

    return HttpNetwork()


def _github(settings: HordeModelReferenceSettings) -> Breaker:
    bases = {"image": settings.image_github_repo.url_base_only, "text": settings.text_github_repo.url_base_only}
    limits = (settings.primary_api_timeout, settings.max_response_bytes)
    return Breaker(Checked(GitHubSource(bases, *limits), settings.max_lost_share))
