"""Reading one category, from the reference and from an application's own providers as if they were one.

`source` selects: `horde` is the reference alone, and as fast as that; else the first source listed wins a name.

A type checker sees a property for each category, and overloads by enum member and by string. `get_model_reference` is
typed as `GenericModelRecord`, as documented: a `dict` of a subclass is no `dict` of the class.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from horde_model_reference.domain import records as r
from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as C
from horde_model_reference.domain.categories import find_category
from horde_model_reference.domain.source_ids import HORDE_SOURCE_ID as HORDE
from horde_model_reference.domain.source_ids import SourceSelector as Src
from horde_model_reference.errors import ReferenceUnavailable
from horde_model_reference.reference import model_not_found

if TYPE_CHECKING:
    from horde_model_reference.domain import query as q
    from horde_model_reference.domain.validation import Records
    from horde_model_reference.providers.registry import ModelProviderRegistry
    from horde_model_reference.reference import Reference

__all__ = ["TypedReads"]

R = TypeVar("R", bound=r.GenericModelRecord)

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


class _Models(Generic[R]):
    """A property that reads one category: its records by name. Raises `ReferenceUnavailable`."""

    def __init__(self, category: C, record_type: type[R]) -> None:  # noqa: ARG002  (says what R is)
        self._category = category
        self.__doc__ = f"The records of `{category}` by name. Raises `ReferenceUnavailable`."

    @overload
    def __get__(self, instance: None, owner: type) -> _Models[R]: ...
    @overload
    def __get__(self, instance: TypedReads, owner: type) -> dict[str, R]: ...
    def __get__(self, instance: TypedReads | None, owner: type) -> _Models[R] | dict[str, R]:
        if instance is None:
            return self
        return cast("dict[str, R]", instance.get_model_reference(self._category))


class TypedReads:
    """What the manager that builds on this reads of one category."""

    _reference: Reference
    _providers: ModelProviderRegistry

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
            return self._reference.model(category, model_name)
        return _one(self.get_model_reference(category, source=source), category, model_name)

    async def get_model_async(self, category: str, model_name: str, *, source: Src = HORDE) -> r.GenericModelRecord:
        """Like `get_model`, without blocking the loop."""
        if source == HORDE:
            return await self._reference.model_async(category, model_name)
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
        if source == HORDE:
            return build_query(self._reference.read(known), r.get_record_type_for_category(known))
        return build_query(list(self._collect(known, source).values()), r.get_record_type_for_category(known))

    def get_model_reference(self, category: str, overwrite_existing: bool = False, *, source: Src = HORDE) -> Records:
        """The records of a category by name; `overwrite_existing` asks the source now. Raises `RuntimeError`."""
        if source == HORDE:
            return self._reference.read(category, fresh=overwrite_existing)
        return {name: record for name, (record, _) in self._collect(category, source, overwrite_existing).items()}

    async def get_model_reference_async(
        self, category: str, overwrite_existing: bool = False, *, source: Src = HORDE
    ) -> Records:
        """Like `get_model_reference`, without blocking the loop; providers, which may block, are asked in a thread."""
        if source == HORDE:
            return await self._reference.read_async(category, fresh=overwrite_existing)
        found = await asyncio.to_thread(self._collect, category, source, overwrite_existing)
        return {name: record for name, (record, _) in found.items()}

    def _collect(self, category: str, source: Src, fresh: bool = False) -> dict[str, tuple[r.GenericModelRecord, str]]:
        """Name -> (record, id of the source it came from). The reference being unavailable costs the others nothing."""
        refused: list[ReferenceUnavailable] = []

        def horde() -> Records:
            try:
                return self._reference.read(category, fresh=fresh)
            except ReferenceUnavailable as refusal:
                refused.append(refusal)
                return {}

        record_type = r.get_record_type_for_category(find_category(category))
        found = self._providers.collect(category, source, horde=horde, record_type=record_type, force_refresh=fresh)
        if refused and not found:
            raise refused[0]
        return found


def _one(records: Records, category: str, name: str) -> r.GenericModelRecord:
    if name not in records:
        raise model_not_found(name, category, records)
    return records[name]
