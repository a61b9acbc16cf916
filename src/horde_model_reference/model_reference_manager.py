"""`ModelReferenceManager`: the documented face of one reading object for the whole process.

The first construction locks its configuration. A parameter that is not passed says nothing, so that
`ModelReferenceManager()` gives the instance whatever it was built with; another explicit value than the one in force
raises `ConfigurationLocked`, a `RuntimeError`. The instance is built completely before anyone can see it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from horde_model_reference.backends.github_backend import GitHubBackend
from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.source_ids import HORDE_SOURCE_ID as HORDE
from horde_model_reference.domain.source_ids import SourceSelector as Src
from horde_model_reference.domain.validation import Records
from horde_model_reference.errors import ConfigurationLocked, ModelNotFound, ReferenceUnavailable, UnknownCategory
from horde_model_reference.forks import ForkLock
from horde_model_reference.prefetch import DeferredPrefetchHandle, PrefetchStrategy, begin_prefetch
from horde_model_reference.providers.base import ModelProvider
from horde_model_reference.providers.registry import ModelProviderRegistry
from horde_model_reference.reference import CategoryStatus, Reference
from horde_model_reference.settings import ReplicateMode, get_settings
from horde_model_reference.sources.plugin import ModelReferenceBackend
from horde_model_reference.typed_reads import TypedReads
from horde_model_reference.wiring import Mode, Parts, assemble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from horde_model_reference.domain.metadata import CategoryMetadata
    from horde_model_reference.domain.query import ModelQuery
    from horde_model_reference.watching import ReferenceChange

__all__ = ["DeferredPrefetchHandle", "GitHubBackend", "ModelReferenceManager", "PrefetchStrategy"]

P = ParamSpec("P")
T = TypeVar("T")

_locking = ForkLock()
_NOT_THERE = (ReferenceUnavailable, ModelNotFound, UnknownCategory)
_LIKE = "Like `{}`, None where the category or model is unknown, or nobody can tell."


def _or_none(read: Callable[P, T]) -> Callable[P, T | None]:
    @wraps(read)
    def read_or_none(*args: P.args, **kwargs: P.kwargs) -> T | None:
        with suppress(*_NOT_THERE):
            return read(*args, **kwargs)
        return None

    read_or_none.__doc__ = _LIKE.format(read.__name__)
    return read_or_none


def _or_none_async(read: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T | None]]:
    @wraps(read)
    async def read_or_none(*args: P.args, **kwargs: P.kwargs) -> T | None:
        with suppress(*_NOT_THERE):
            return await read(*args, **kwargs)
        return None

    read_or_none.__doc__ = _LIKE.format(read.__name__)
    return read_or_none


class ModelReferenceManager(TypedReads):
    """The reference for this process. All parameters are keywords, all optional; the module says when they may differ.

    `backend` is a place of your own to read from; `base_path` the data root, else under `AIWORKER_CACHE_HOME`;
    `replicate_mode`, `offline` override the settings; `prefetch_strategy` says when to load (LAZY).

    Each read has a raising form, an `_or_none` form that never raises for want of data, and async twins of both.
    `source` selects among the reference (`horde`) and registered providers. Dictionaries that are returned are the
    caller's own; the records in them are shared, so copy one before changing it.
    """

    _instance: ClassVar[ModelReferenceManager | None] = None
    _mode: Mode
    _parts: Parts
    deferred_prefetch_handle: DeferredPrefetchHandle | None = None

    def __new__(
        cls,
        *,
        backend: ModelReferenceBackend | None = None,
        base_path: str | Path | None = None,
        replicate_mode: ReplicateMode | str | None = None,
        prefetch_strategy: PrefetchStrategy | str | None = None,
        offline: bool | None = None,
    ) -> ModelReferenceManager:
        said: dict[str, object] = {
            "backend": backend,
            "base_path": None if base_path is None else Path(base_path).absolute(),
            "replicate_mode": None if replicate_mode is None else ReplicateMode(replicate_mode.upper()),
            "prefetch_strategy": None if prefetch_strategy is None else PrefetchStrategy(prefetch_strategy),
            "offline": offline,
        }
        asked = {parameter: value for parameter, value in said.items() if value is not None}
        with _locking:
            if ModelReferenceManager._instance is None:
                instance = super().__new__(cls)
                instance._build(asked)
                ModelReferenceManager._instance = instance
            in_force = ModelReferenceManager._instance
        for parameter, value in asked.items():
            if getattr(in_force, parameter) != value:
                raise ConfigurationLocked(parameter, getattr(in_force, parameter), value)
        return in_force

    def _build(self, asked: Mapping[str, object]) -> None:
        settings = get_settings()
        self._mode = replace(Mode.by_settings(settings), **asked)  # type: ignore[arg-type]  # made to fit in `__new__`
        self._parts = assemble(self._mode, settings)
        self._reference, self._providers = self._parts.reference, ModelProviderRegistry()
        try:
            self.deferred_prefetch_handle = begin_prefetch(self._mode.prefetch_strategy, self._reference)
        except BaseException:
            self._parts.close()
            raise

    @classmethod
    def get_instance(cls) -> ModelReferenceManager:
        """The instance. Raises `RuntimeError` where none was constructed yet."""
        instance = ModelReferenceManager._instance
        if instance is None:
            raise RuntimeError("ModelReferenceManager is not constructed yet: call ModelReferenceManager(...) first")
        return instance

    @classmethod
    def has_instance(cls) -> bool:
        """Whether `get_instance` would give one."""
        return ModelReferenceManager._instance is not None

    @classmethod
    def reset(cls) -> None:
        """Drop the instance, so that the next construction may choose anew. Who holds the old one may go on with it."""
        with _locking:
            ModelReferenceManager._instance = None

    # -- configuration in force --

    @property
    def backend(self) -> ModelReferenceBackend:
        """Raw records by category, past every cache of typed records."""
        return self._parts.backend

    @property
    def reference(self) -> Reference:
        """The reading object under this face."""
        return self._reference

    @property
    def base_path(self) -> Path:
        """The data root."""
        return self._mode.base_path

    @property
    def replicate_mode(self) -> ReplicateMode:
        """PRIMARY or REPLICA."""
        return self._mode.replicate_mode

    @property
    def prefetch_strategy(self) -> PrefetchStrategy:
        """The strategy this was built with."""
        return self._mode.prefetch_strategy

    @property
    def offline(self) -> bool:
        """Whether the network is never used."""
        return self._mode.offline

    # -- reading --

    get_model_reference_or_none = _or_none(TypedReads.get_model_reference)
    get_model_reference_or_none_async = _or_none_async(TypedReads.get_model_reference_async)
    get_model_or_none = _or_none(TypedReads.get_model)
    get_model_or_none_async = _or_none_async(TypedReads.get_model_async)

    def get_all_model_references(self, overwrite_existing: bool = False) -> dict[Category, Records]:
        """Every category that is reference data, `{}` for one that cannot be had. Those managed elsewhere (lora, ti)
        appear only where there are records of them."""
        return _present(self.get_all_model_references_or_none(overwrite_existing))

    def get_all_model_references_or_none(self, overwrite_existing: bool = False) -> dict[Category, Records | None]:
        """Every known category, None for one that cannot be had."""
        with suppress(ReferenceUnavailable):
            self._reference.warm(fresh=overwrite_existing)
        return self._reference.held()

    async def get_all_model_references_async(self, overwrite_existing: bool = False) -> dict[Category, Records]:
        """Like `get_all_model_references`, all categories at once, without blocking the loop."""
        return _present(await self.get_all_model_references_or_none_async(overwrite_existing))

    async def get_all_model_references_or_none_async(
        self, overwrite_existing: bool = False
    ) -> dict[Category, Records | None]:
        """Like `get_all_model_references_or_none`, all categories at once, without blocking the loop."""
        with suppress(ReferenceUnavailable):
            await self._reference.warm_async(fresh=overwrite_existing)
        return self._reference.held()

    def get_raw_model_reference_json(self, category: Category, overwrite_existing: bool = False) -> JsonObject:
        """The documents as plain JSON, a new object. Raises `KeyError` (no such category), `ReferenceUnavailable`."""
        return self._reference.raw(category, fresh=overwrite_existing)

    async def get_raw_model_reference_json_async(
        self, category: Category, overwrite_existing: bool = False
    ) -> JsonObject:
        """Like `get_raw_model_reference_json`, without blocking the loop."""
        return await self.reference.raw_async(category, fresh=overwrite_existing)

    get_raw_model_reference_json_or_none = _or_none(get_raw_model_reference_json)
    get_raw_model_reference_json_or_none_async = _or_none_async(get_raw_model_reference_json_async)

    def query_all(self, *, source: Src = HORDE) -> ModelQuery[GenericModelRecord]:
        """A query over all categories by the fields every record has, in one stable order."""
        from horde_model_reference.domain.query import build_cross_category_query

        if source == HORDE:
            return build_cross_category_query(self.get_all_model_references())
        found: dict[Category, list[tuple[GenericModelRecord, str]]] = {}
        for category in get_all_registered_categories():
            with suppress(ReferenceUnavailable):
                found[category] = list(self._collect(category, source).values())
        return build_cross_category_query(found)

    # -- providers --

    def register_provider(self, provider: ModelProvider, *, replace: bool = False) -> None:
        """Make an application's own records a source. Raises `ValueError` for a reserved, empty or taken id."""
        self._providers.register(provider, replace=replace)

    def unregister_provider(self, source_id: str) -> bool:
        """Take a provider out; whether there was one."""
        return self._providers.unregister(source_id)

    def get_provider(self, source_id: str) -> ModelProvider | None:
        """The provider of that id, None where there is none."""
        return self._providers.get(source_id)

    def failed_sources(self, category: Category | None = None) -> Mapping[str, str]:
        """Source id -> reason, of the providers whose last answer was an error."""
        return self._providers.failed_sources(category)

    # -- state --

    def is_warm(self, category: Category | None = None) -> bool:
        """Whether a read of the category (without one: of anything) is served from memory."""
        return self.reference.is_warm(category)

    async def warm_cache_async(self) -> None:
        """Load every category that is not in memory yet, at once. Raises `ReferenceUnavailable` where none could be."""
        await self.reference.warm_async()

    def ensure_ready(self) -> None:
        """Like `warm_cache_async` on this thread; waits for a prefetch that was begun instead of loading twice."""
        if self.deferred_prefetch_handle is not None:
            self.deferred_prefetch_handle.run()
        else:
            self.reference.warm()

    @property
    def prefetch_pending(self) -> bool:
        """Whether a prefetch was promised that has not ended yet."""
        return self.deferred_prefetch_handle is not None and self.deferred_prefetch_handle.prefetch_pending

    def status(self) -> list[CategoryStatus]:
        """What is in memory, where it came from, how old it is and what is wrong with it; asks nobody."""
        return self.reference.status()

    def on_change(self, callback: Callable[[ReferenceChange], object]) -> Callable[[], None]:
        """Call `callback` with each change of a category that has been read, on the thread that noticed it; gives a
        function that ends this."""
        return self.reference.on_change(callback)

    def changes(self) -> AsyncIterator[ReferenceChange]:
        """The same for `async for`."""
        return self.reference.changes()

    def get_metadata(self, category: Category) -> CategoryMetadata | None:
        """How often and when the category changed; None where this process cannot know. Raises `UnknownCategory`."""
        return self._parts.metadata(category)

    def last_updated(self, category: Category | None = None) -> int | None:
        """When the category (without one: any) last changed, in Unix seconds; None where this process cannot know."""
        return self._parts.last_updated(category)


def _present(records: dict[Category, Records | None]) -> dict[Category, Records]:
    wanted = {c: r for c, r in records.items() if r or not get_category_descriptor(c).managed_elsewhere}
    return {category: found or {} for category, found in wanted.items()}
