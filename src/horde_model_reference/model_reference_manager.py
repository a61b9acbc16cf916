"""`ModelReferenceManager`: the documented face of one reading object for the whole process.

The first construction locks its configuration. A parameter that is not passed says nothing, so that
`ModelReferenceManager()` gives the instance whatever it was built with; another explicit value than the one in force
raises `ConfigurationLocked`, a `RuntimeError`. A type checker sees a property for each category, and overloads.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

from horde_model_reference.domain import records as r
from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as C
from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.names import HORDE_SOURCE_ID as HORDE
from horde_model_reference.domain.names import SourceSelector as Src
from horde_model_reference.domain.validation import Records
from horde_model_reference.errors import ConfigurationLocked, ModelNotFound, ReferenceUnavailable, UnknownCategory
from horde_model_reference.prefetch import DeferredPrefetchHandle, PrefetchStrategy
from horde_model_reference.process import ForkLock
from horde_model_reference.providers.base import ModelProvider
from horde_model_reference.providers.registry import ModelProviderRegistry
from horde_model_reference.reference import CategoryStatus, Reference, model_not_found
from horde_model_reference.settings import ReplicateMode, get_settings
from horde_model_reference.sources.local import ModelReferenceBackend
from horde_model_reference.wiring import GitHubBackend, Mode, Parts, assemble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from horde_model_reference.domain import query as q
    from horde_model_reference.domain.snapshots import CategoryMetadata
    from horde_model_reference.watching import ReferenceChange

__all__ = ["DeferredPrefetchHandle", "GitHubBackend", "ModelReferenceManager", "PrefetchStrategy"]

P = ParamSpec("P")
R = TypeVar("R", bound=r.GenericModelRecord)
T = TypeVar("T")

Blip: TypeAlias = Literal[C.blip, "blip"]
Clip: TypeAlias = Literal[C.clip, "clip"]
Codeformer: TypeAlias = Literal[C.codeformer, "codeformer"]
Control: TypeAlias = Literal[C.controlnet, "controlnet"]
Annot: TypeAlias = Literal[C.controlnet_annotator, "controlnet_annotator"]
Esrgan: TypeAlias = Literal[C.esrgan, "esrgan"]
Gfpgan: TypeAlias = Literal[C.gfpgan, "gfpgan"]
Safety: TypeAlias = Literal[C.safety_checker, "safety_checker"]
Image: TypeAlias = Literal[C.image_generation, "image_generation"]
Text: TypeAlias = Literal[C.text_generation, "text_generation"]
Video: TypeAlias = Literal[C.video_generation, "video_generation"]
Audio: TypeAlias = Literal[C.audio_generation, "audio_generation"]
Misc: TypeAlias = Literal[C.miscellaneous, "miscellaneous"]
Lora: TypeAlias = Literal[C.lora, "lora"]
Ti: TypeAlias = Literal[C.ti, "ti"]

_locking = ForkLock()
_NOT_THERE = (ReferenceUnavailable, ModelNotFound, UnknownCategory)
_LIKE = "Like `{}`, None where the category or model is unknown, or nobody can tell."


def _or_none(read: Callable[P, T]) -> Callable[P, T | None]:
    @wraps(read)
    def read_or_none(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return read(*args, **kwargs)
        except _NOT_THERE:
            return None

    read_or_none.__doc__ = _LIKE.format(read.__name__)
    return read_or_none


def _or_none_async(read: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T | None]]:
    @wraps(read)
    async def read_or_none(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return await read(*args, **kwargs)
        except _NOT_THERE:
            return None

    read_or_none.__doc__ = _LIKE.format(read.__name__)
    return read_or_none


class _Models(Generic[R]):
    def __init__(self, category: C, record_type: type[R]) -> None:  # noqa: ARG002  (says what R is)
        self._category = category
        self.__doc__ = f"The records of `{category}` by name. Raises `ReferenceUnavailable`."

    @overload
    def __get__(self, instance: None, owner: type) -> _Models[R]: ...
    @overload
    def __get__(self, instance: ModelReferenceManager, owner: type) -> dict[str, R]: ...
    def __get__(self, instance: ModelReferenceManager | None, owner: type) -> _Models[R] | dict[str, R]:
        if instance is None:
            return self
        return cast("dict[str, R]", instance.get_model_reference(self._category))


class ModelReferenceManager:
    """The reference for this process. All parameters are keywords, all optional; the module says when they may differ.

    `backend` is a place of your own to read from; `base_path` the data root, else under `AIWORKER_CACHE_HOME`;
    `replicate_mode`, `offline` override the settings; `prefetch_strategy` says when to load (LAZY).

    Each read has a raising form, an `_or_none` form that never raises for want of data, and async twins of both.
    `source` selects among the reference (`horde`) and registered providers. Dictionaries that are returned are the
    caller's own; the records in them are shared, so copy one before changing it.
    """

    # What is set on the instance; in the class too, because a mock with it as its spec knows what the class has.
    __slots__ = ["__dict__", "__weakref__", "backend", "base_path", "offline", "prefetch_strategy", "reference"]
    __slots__ += ["replicate_mode"]
    _instance: ClassVar[ModelReferenceManager | None] = None
    _parts: Parts
    _providers: ModelProviderRegistry
    backend: ModelReferenceBackend  # raw records by category, past every cache of typed records
    reference: Reference  # the reading object under this face
    base_path: Path
    replicate_mode: ReplicateMode
    prefetch_strategy: PrefetchStrategy
    offline: bool
    deferred_prefetch_handle: DeferredPrefetchHandle | None = None

    blip_models = _Models(C.blip, r.BlipModelRecord)
    clip_models = _Models(C.clip, r.ClipModelRecord)
    codeformer_models = _Models(C.codeformer, r.CodeformerModelRecord)
    controlnet_models = _Models(C.controlnet, r.ControlNetModelRecord)
    controlnet_annotator_models = _Models(C.controlnet_annotator, r.ControlNetAnnotatorModelRecord)
    esrgan_models = _Models(C.esrgan, r.EsrganModelRecord)
    gfpgan_models = _Models(C.gfpgan, r.GfpganModelRecord)
    safety_checker_models = _Models(C.safety_checker, r.SafetyCheckerModelRecord)
    image_generation_models = _Models(C.image_generation, r.ImageGenerationModelRecord)
    text_generation_models = _Models(C.text_generation, r.TextGenerationModelRecord)
    video_generation_models = _Models(C.video_generation, r.VideoGenerationModelRecord)
    audio_generation_models = _Models(C.audio_generation, r.AudioGenerationModelRecord)
    miscellaneous_models = _Models(C.miscellaneous, r.MiscellaneousModelRecord)
    lora_models = _Models(C.lora, r.LoraModelRecord)
    ti_models = _Models(C.ti, r.TextualInversionModelRecord)

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
        mode = replace(Mode.by_settings(settings), **asked)  # type: ignore[arg-type]  # made to fit in `__new__`
        self._parts, self._providers = assemble(mode, settings), ModelProviderRegistry()
        self.backend, self.reference, self.base_path = self._parts.backend, self._parts.reference, mode.base_path
        self.replicate_mode, self.offline = mode.replicate_mode, mode.offline
        self.prefetch_strategy = mode.prefetch_strategy
        handle = DeferredPrefetchHandle(self.reference)
        try:
            if self.prefetch_strategy is PrefetchStrategy.SYNC:
                handle.run()
            elif self.prefetch_strategy is PrefetchStrategy.ASYNC:
                handle.start()
        except BaseException:
            self._parts.close()
            raise
        if self.prefetch_strategy in (PrefetchStrategy.ASYNC, PrefetchStrategy.DEFERRED):
            self.deferred_prefetch_handle = handle

    @classmethod
    def get_instance(cls) -> ModelReferenceManager:
        """The instance. Raises `RuntimeError` where none was constructed yet."""
        if ModelReferenceManager._instance is None:
            raise RuntimeError("ModelReferenceManager is not constructed yet: call ModelReferenceManager(...) first")
        return ModelReferenceManager._instance

    @classmethod
    def has_instance(cls) -> bool:
        """Whether `get_instance` would give one."""
        return ModelReferenceManager._instance is not None

    @classmethod
    def reset(cls) -> None:
        """Drop the instance, so that the next construction may choose anew. Who holds the old one may go on with it."""
        with _locking:
            ModelReferenceManager._instance = None

    @overload
    def get_model(self, category: Blip, model_name: str, *, source: Src = ...) -> r.BlipModelRecord: ...
    @overload
    def get_model(self, category: Clip, model_name: str, *, source: Src = ...) -> r.ClipModelRecord: ...
    @overload
    def get_model(self, category: Codeformer, model_name: str, *, source: Src = ...) -> r.CodeformerModelRecord: ...
    @overload
    def get_model(self, category: Control, model_name: str, *, source: Src = ...) -> r.ControlNetModelRecord: ...
    @overload
    def get_model(self, category: Annot, model_name: str, *, source: Src = ...) -> r.ControlNetAnnotatorModelRecord: ...
    @overload
    def get_model(self, category: Esrgan, model_name: str, *, source: Src = ...) -> r.EsrganModelRecord: ...
    @overload
    def get_model(self, category: Gfpgan, model_name: str, *, source: Src = ...) -> r.GfpganModelRecord: ...
    @overload
    def get_model(self, category: Safety, model_name: str, *, source: Src = ...) -> r.SafetyCheckerModelRecord: ...
    @overload
    def get_model(self, category: Image, model_name: str, *, source: Src = ...) -> r.ImageGenerationModelRecord: ...
    @overload
    def get_model(self, category: Text, model_name: str, *, source: Src = ...) -> r.TextGenerationModelRecord: ...
    @overload
    def get_model(self, category: Video, model_name: str, *, source: Src = ...) -> r.VideoGenerationModelRecord: ...
    @overload
    def get_model(self, category: Audio, model_name: str, *, source: Src = ...) -> r.AudioGenerationModelRecord: ...
    @overload
    def get_model(self, category: Misc, model_name: str, *, source: Src = ...) -> r.MiscellaneousModelRecord: ...
    @overload
    def get_model(self, category: Lora, model_name: str, *, source: Src = ...) -> r.LoraModelRecord: ...
    @overload
    def get_model(self, category: Ti, model_name: str, *, source: Src = ...) -> r.TextualInversionModelRecord: ...
    @overload
    def get_model(self, category: str, model_name: str, *, source: Src = ...) -> r.GenericModelRecord: ...
    def get_model(self, category: str, model_name: str, *, source: Src = HORDE) -> r.GenericModelRecord:
        """One record. Raises `ReferenceUnavailable`, `ModelNotFound` (both `RuntimeError`), `UnknownSource`."""
        if source == HORDE:
            return self.reference.model(category, model_name)
        return _one(self.get_model_reference(category, source=source), category, model_name)

    async def get_model_async(self, category: str, model_name: str, *, source: Src = HORDE) -> r.GenericModelRecord:
        """Like `get_model`, without blocking the loop."""
        if source == HORDE:
            return await self.reference.model_async(category, model_name)
        return _one(await self.get_model_reference_async(category, source=source), category, model_name)

    @overload
    def query(self, category: Blip, *, source: Src = ...) -> q.ModelQuery[r.BlipModelRecord]: ...
    @overload
    def query(self, category: Clip, *, source: Src = ...) -> q.ModelQuery[r.ClipModelRecord]: ...
    @overload
    def query(self, category: Codeformer, *, source: Src = ...) -> q.ModelQuery[r.CodeformerModelRecord]: ...
    @overload
    def query(self, category: Control, *, source: Src = ...) -> q.ControlNetQuery: ...
    @overload
    def query(self, category: Annot, *, source: Src = ...) -> q.ModelQuery[r.ControlNetAnnotatorModelRecord]: ...
    @overload
    def query(self, category: Esrgan, *, source: Src = ...) -> q.ModelQuery[r.EsrganModelRecord]: ...
    @overload
    def query(self, category: Gfpgan, *, source: Src = ...) -> q.ModelQuery[r.GfpganModelRecord]: ...
    @overload
    def query(self, category: Safety, *, source: Src = ...) -> q.ModelQuery[r.SafetyCheckerModelRecord]: ...
    @overload
    def query(self, category: Image, *, source: Src = ...) -> q.ImageGenerationQuery: ...
    @overload
    def query(self, category: Text, *, source: Src = ...) -> q.TextModelQuery: ...
    @overload
    def query(self, category: Video, *, source: Src = ...) -> q.ModelQuery[r.VideoGenerationModelRecord]: ...
    @overload
    def query(self, category: Audio, *, source: Src = ...) -> q.ModelQuery[r.AudioGenerationModelRecord]: ...
    @overload
    def query(self, category: Misc, *, source: Src = ...) -> q.ModelQuery[r.MiscellaneousModelRecord]: ...
    @overload
    def query(self, category: Lora, *, source: Src = ...) -> q.ModelQuery[r.LoraModelRecord]: ...
    @overload
    def query(self, category: Ti, *, source: Src = ...) -> q.ModelQuery[r.TextualInversionModelRecord]: ...
    @overload
    def query(self, category: str, *, source: Src = ...) -> q.ModelQuery[Any]: ...
    def query(self, category: str, *, source: Src = HORDE) -> q.ModelQuery[Any]:
        """A query over the records of a category. Raises `UnknownCategory` (a `ValueError`), `ReferenceUnavailable`."""
        from horde_model_reference.domain.query import build_query  # a start without queries need not load them

        known = find_category(category)
        records = self.reference.read(known) if source == HORDE else list(self._collect(known, source).values())
        return build_query(records, r.get_record_type_for_category(known))

    def get_model_reference(self, category: str, overwrite_existing: bool = False, *, source: Src = HORDE) -> Records:
        """The records of a category by name; `overwrite_existing` asks the source now. Raises `RuntimeError`."""
        if source == HORDE:
            return self.reference.read(category, fresh=overwrite_existing)
        return {name: record for name, (record, _) in self._collect(category, source, overwrite_existing).items()}

    async def get_model_reference_async(
        self, category: str, overwrite_existing: bool = False, *, source: Src = HORDE
    ) -> Records:
        """Like `get_model_reference`, without blocking the loop; providers, which may block, are asked in a thread."""
        if source == HORDE:
            return await self.reference.read_async(category, fresh=overwrite_existing)
        found = await asyncio.to_thread(self._collect, category, source, overwrite_existing)
        return {name: record for name, (record, _) in found.items()}

    def _collect(self, category: str, source: Src, fresh: bool = False) -> dict[str, tuple[r.GenericModelRecord, str]]:
        """Name -> (record, id of the source it came from). The reference being unavailable costs the others nothing."""
        refused: list[ReferenceUnavailable] = []

        def horde() -> Records:
            try:
                return self.reference.read(category, fresh=fresh)
            except ReferenceUnavailable as refusal:
                refused.append(refusal)
                return {}

        record_type = r.get_record_type_for_category(find_category(category))
        found = self._providers.collect(category, source, horde=horde, record_type=record_type, force_refresh=fresh)
        if refused and not found:
            raise refused[0]
        return found

    get_model_reference_or_none = _or_none(get_model_reference)
    get_model_reference_or_none_async = _or_none_async(get_model_reference_async)
    get_model_or_none = _or_none(get_model)
    get_model_or_none_async = _or_none_async(get_model_async)

    def get_all_model_references(self, overwrite_existing: bool = False) -> dict[Category, Records]:
        """Every category that is reference data, `{}` for one that cannot be had. Those managed elsewhere (lora, ti)
        appear only where there are records of them."""
        return _present(self.get_all_model_references_or_none(overwrite_existing))

    def get_all_model_references_or_none(self, overwrite_existing: bool = False) -> dict[Category, Records | None]:
        """Every known category, None for one that cannot be had."""
        with suppress(ReferenceUnavailable):
            self.reference.warm(fresh=overwrite_existing)
        return self.reference.held()

    async def get_all_model_references_async(self, overwrite_existing: bool = False) -> dict[Category, Records]:
        """Like `get_all_model_references`, all categories at once, without blocking the loop."""
        return _present(await self.get_all_model_references_or_none_async(overwrite_existing))

    async def get_all_model_references_or_none_async(
        self, overwrite_existing: bool = False
    ) -> dict[Category, Records | None]:
        """Like `get_all_model_references_or_none`, all categories at once, without blocking the loop."""
        with suppress(ReferenceUnavailable):
            await self.reference.warm_async(fresh=overwrite_existing)
        return self.reference.held()

    def get_raw_model_reference_json(self, category: Category, overwrite_existing: bool = False) -> JsonObject:
        """The documents as plain JSON, a new object. Raises `KeyError` (no such category), `ReferenceUnavailable`."""
        return self.reference.raw(category, fresh=overwrite_existing)

    async def get_raw_model_reference_json_async(
        self, category: Category, overwrite_existing: bool = False
    ) -> JsonObject:
        """Like `get_raw_model_reference_json`, without blocking the loop."""
        return await self.reference.raw_async(category, fresh=overwrite_existing)

    get_raw_model_reference_json_or_none = _or_none(get_raw_model_reference_json)
    get_raw_model_reference_json_or_none_async = _or_none_async(get_raw_model_reference_json_async)

    def query_all(self, *, source: Src = HORDE) -> q.ModelQuery[r.GenericModelRecord]:
        """A query over all categories by the fields every record has, in one stable order."""
        from horde_model_reference.domain.query import build_cross_category_query

        if source == HORDE:
            return build_cross_category_query(self.get_all_model_references())
        found: dict[Category, list[tuple[r.GenericModelRecord, str]]] = {}
        for category in get_all_registered_categories():
            with suppress(ReferenceUnavailable):
                found[category] = list(self._collect(category, source).values())
        return build_cross_category_query(found)

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

    def is_warm(self, category: Category | None = None) -> bool:
        """Whether a read of the category (without one: of anything) is served from memory."""
        return self.reference.is_warm(category)

    async def warm_cache_async(self) -> None:
        """Load every category that is not in memory yet, at once. Raises `ReferenceUnavailable` where none could be."""
        await self.reference.warm_async()

    def ensure_ready(self) -> None:
        """Like `warm_cache_async` on this thread; waits for a prefetch that was begun instead of loading twice."""
        (self.deferred_prefetch_handle or DeferredPrefetchHandle(self.reference)).run()

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
    known = get_all_registered_categories()
    return {c: found or {} for c, found in records.items() if found or not known[c].managed_elsewhere}


def _one(records: Records, category: str, name: str) -> r.GenericModelRecord:
    if name not in records:
        raise model_not_found(name, category, records)
    return records[name]
