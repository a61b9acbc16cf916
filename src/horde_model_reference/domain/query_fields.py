"""The fields of each record class as names to compare, for editors and type checkers: `ImageFields.nsfw == False`.

The annotations are the table; at run time each becomes a `FieldRef` of that name. Numbers are declared `float`, which
takes an `int` as well.
"""

from __future__ import annotations

from horde_model_reference.domain.predicates import FieldRef

__all__ = ["AudioFields", "BlipFields", "ClipFields", "CodeformerFields", "ControlNetFields", "EsrganFields"]
__all__ += ["GenericFields", "GfpganFields", "ImageFields", "MiscellaneousFields", "SafetyCheckerFields", "TextFields"]
__all__ += ["VideoFields"]


class _Namespace:
    def __init_subclass__(cls) -> None:
        for name in cls.__annotations__:
            setattr(cls, name, FieldRef(name))


class GenericFields(_Namespace):
    """Fields that every record has."""

    record_type: FieldRef[str]
    name: FieldRef[str]
    description: FieldRef[str | None]
    version: FieldRef[str | None]
    finetune_series: FieldRef[object]
    metadata: FieldRef[object]
    config: FieldRef[object]
    model_classification: FieldRef[object]
    size_on_disk_bytes: FieldRef[float | None]
    licensing: FieldRef[object]


class _BaselineFields(GenericFields):
    baseline: FieldRef[str | None]
    nsfw: FieldRef[bool]
    tags: FieldRef[list[str] | None]


class ImageFields(GenericFields):
    """Fields of `image_generation`."""

    inpainting: FieldRef[bool | None]
    baseline: FieldRef[str]
    optimization: FieldRef[str | None]
    tags: FieldRef[list[str] | None]
    showcases: FieldRef[list[str] | None]
    min_bridge_version: FieldRef[float | None]
    trigger: FieldRef[list[str] | None]
    homepage: FieldRef[str | None]
    nsfw: FieldRef[bool]
    style: FieldRef[str | None]
    requirements: FieldRef[object]


class TextFields(_BaselineFields):
    """Fields of `text_generation`."""

    parameters_count: FieldRef[float]
    style: FieldRef[str | None]
    display_name: FieldRef[str | None]
    url: FieldRef[str | None]
    instruct_format: FieldRef[str | None]
    settings: FieldRef[object]
    text_model_group: FieldRef[str | None]
    name_schema_exception: FieldRef[str | None]
    context_window: FieldRef[object]
    interaction_modes: FieldRef[object]
    capabilities: FieldRef[object]
    guidance: FieldRef[object]


class ControlNetFields(GenericFields):
    """Fields of `controlnet`."""

    controlnet_style: FieldRef[str | None]


class ClipFields(GenericFields):
    """Fields of `clip`."""

    pretrained_name: FieldRef[str | None]


AudioFields = VideoFields = _BaselineFields
BlipFields = CodeformerFields = EsrganFields = GfpganFields = MiscellaneousFields = SafetyCheckerFields = GenericFields
