"""Reading one category, as a type checker sees it: a property each, and overloads by enum member and by string.

`get_model_reference` itself is typed as `GenericModelRecord`, as documented: a `dict` of a subclass is no `dict` of the
class. Everything here narrows: `manager.image_generation_models`, `get_model("image_generation", name)`,
`query(MODEL_REFERENCE_CATEGORY.image_generation)`; the `_or_none` and async forms of `get_model` do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from horde_model_reference.domain import records as r
from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as C
from horde_model_reference.domain.categories import find_category
from horde_model_reference.domain.source_ids import HORDE_SOURCE_ID as HORDE
from horde_model_reference.domain.source_ids import SourceSelector as Src

if TYPE_CHECKING:
    from horde_model_reference.domain import query as q
    from horde_model_reference.sourced_reference import SourcedReference

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
        return cast("dict[str, R]", instance._reading.read(self._category))  # noqa: SLF001  (part of TypedReads)


class TypedReads:
    """Reads that are narrowed by their category. `_reading` is set by the manager that builds on this."""

    _reading: SourcedReference

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
        return self._reading.model(category, model_name, source=source)

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
            return build_query(self._reading.read(known), r.get_record_type_for_category(known))
        found = list(self._reading.collect(known, source).values())
        return build_query(found, r.get_record_type_for_category(known))
