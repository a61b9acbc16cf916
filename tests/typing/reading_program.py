"""A program as a user of the manager writes it; `test_reading_types` has mypy check it. It is not run."""

from __future__ import annotations

from typing import Any, assert_type

from horde_model_reference import MODEL_REFERENCE_CATEGORY, ModelReferenceManager
from horde_model_reference.model_reference_records import (
    AudioGenerationModelRecord,
    BlipModelRecord,
    ClipModelRecord,
    CodeformerModelRecord,
    ControlNetAnnotatorModelRecord,
    ControlNetModelRecord,
    EsrganModelRecord,
    GenericModelRecord,
    GfpganModelRecord,
    ImageGenerationModelRecord,
    LoraModelRecord,
    MiscellaneousModelRecord,
    SafetyCheckerModelRecord,
    TextGenerationModelRecord,
    TextualInversionModelRecord,
    VideoGenerationModelRecord,
)
from horde_model_reference.query import ControlNetQuery, ImageGenerationQuery, ModelQuery, TextModelQuery

C = MODEL_REFERENCE_CATEGORY


def properties(m: ModelReferenceManager) -> None:
    """All fifteen."""
    assert_type(m.blip_models, dict[str, BlipModelRecord])
    assert_type(m.clip_models, dict[str, ClipModelRecord])
    assert_type(m.codeformer_models, dict[str, CodeformerModelRecord])
    assert_type(m.controlnet_models, dict[str, ControlNetModelRecord])
    assert_type(m.controlnet_annotator_models, dict[str, ControlNetAnnotatorModelRecord])
    assert_type(m.esrgan_models, dict[str, EsrganModelRecord])
    assert_type(m.gfpgan_models, dict[str, GfpganModelRecord])
    assert_type(m.safety_checker_models, dict[str, SafetyCheckerModelRecord])
    assert_type(m.image_generation_models, dict[str, ImageGenerationModelRecord])
    assert_type(m.text_generation_models, dict[str, TextGenerationModelRecord])
    assert_type(m.video_generation_models, dict[str, VideoGenerationModelRecord])
    assert_type(m.audio_generation_models, dict[str, AudioGenerationModelRecord])
    assert_type(m.miscellaneous_models, dict[str, MiscellaneousModelRecord])
    assert_type(m.lora_models, dict[str, LoraModelRecord])
    assert_type(m.ti_models, dict[str, TextualInversionModelRecord])


def models(m: ModelReferenceManager, any_category: str) -> None:
    """By member and by string; what is only known at run time is generic."""
    assert_type(m.get_model(C.blip, "x"), BlipModelRecord)
    assert_type(m.get_model("clip", "x"), ClipModelRecord)
    assert_type(m.get_model(C.codeformer, "x"), CodeformerModelRecord)
    assert_type(m.get_model("controlnet", "x"), ControlNetModelRecord)
    assert_type(m.get_model(C.controlnet_annotator, "x"), ControlNetAnnotatorModelRecord)
    assert_type(m.get_model("esrgan", "x", source="any"), EsrganModelRecord)
    assert_type(m.get_model(C.gfpgan, "x"), GfpganModelRecord)
    assert_type(m.get_model("safety_checker", "x"), SafetyCheckerModelRecord)
    assert_type(m.get_model(C.image_generation, "x"), ImageGenerationModelRecord)
    assert_type(m.get_model("image_generation", "x", source=["mine", "horde"]), ImageGenerationModelRecord)
    assert_type(m.get_model(C.text_generation, "x"), TextGenerationModelRecord)
    assert_type(m.get_model("video_generation", "x"), VideoGenerationModelRecord)
    assert_type(m.get_model(C.audio_generation, "x"), AudioGenerationModelRecord)
    assert_type(m.get_model("miscellaneous", "x"), MiscellaneousModelRecord)
    assert_type(m.get_model(C.lora, "x"), LoraModelRecord)
    assert_type(m.get_model("ti", "x"), TextualInversionModelRecord)
    assert_type(m.get_model(any_category, "x"), GenericModelRecord)
    assert_type(m.get_model_or_none("esrgan", "x"), EsrganModelRecord | None)


def queries(m: ModelReferenceManager, any_category: str) -> None:
    """The helpers of a category are there where the category is known."""
    assert_type(m.query(C.image_generation), ImageGenerationQuery)
    assert_type(m.query("image_generation"), ImageGenerationQuery)
    assert_type(m.query(C.text_generation), TextModelQuery)
    assert_type(m.query("controlnet"), ControlNetQuery)
    assert_type(m.query(C.blip), ModelQuery[BlipModelRecord])
    assert_type(m.query("esrgan").first(), EsrganModelRecord | None)
    assert_type(m.query(C.lora), ModelQuery[LoraModelRecord])
    assert_type(m.query(any_category), ModelQuery[Any])
    assert_type(m.query_all().to_list(), list[GenericModelRecord])


async def dictionaries(m: ModelReferenceManager) -> None:
    """Whole categories, in both colours."""
    assert_type(m.get_model_reference(C.esrgan), dict[str, GenericModelRecord])
    assert_type(m.get_model_reference_or_none("esrgan"), dict[str, GenericModelRecord] | None)
    assert_type(await m.get_model_reference_async("esrgan"), dict[str, GenericModelRecord])
    everything = m.get_all_model_references()
    for record in everything[C.image_generation].values():
        assert_type(record, GenericModelRecord)
        if isinstance(record, ImageGenerationModelRecord):
            assert_type(record.baseline.upper(), str)
    handle = m.deferred_prefetch_handle
    if handle:
        await handle
    m.get_model(C.image_generation)  # type: ignore[call-overload]
    ModelReferenceManager("PRIMARY")  # type: ignore[call-arg, arg-type]
