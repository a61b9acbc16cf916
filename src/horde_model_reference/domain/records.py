"""The record classes: one model's metadata, typed. `GenericModelRecord` holds what all have, a subclass what one adds.

Unknown fields are kept, and so are unknown values of open vocabularies, which are reported once. Records are mutable,
and clients subclass them; nothing in this package changes one that it has handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, ClassVar, Self, TypeAlias, Unpack

from pydantic import BeforeValidator, ConfigDict, Field, create_model, model_validator

from horde_model_reference.domain import categories, record_parts, vocabulary
from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY, Category, ModelClassification
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.domain.record_parts import Stripped

__all__ = ["MODEL_RECORD_TYPE_LOOKUP", "AudioGenerationModelRecord", "BlipModelRecord", "ClipModelRecord"]
__all__ += ["CodeformerModelRecord", "ControlNetAnnotatorModelRecord", "ControlNetModelRecord", "EsrganModelRecord"]
__all__ += ["GenericModelRecord", "GfpganModelRecord", "ImageGenerationModelRecord", "LoraModelRecord"]
__all__ += ["MiscellaneousModelRecord", "SafetyCheckerModelRecord", "TextGenerationModelRecord"]
__all__ += ["TextualInversionModelRecord", "VideoGenerationModelRecord", "get_record_type_for_category"]
__all__ += ["normalize_scheduler_requirements", "register_record_type"]

_C = MODEL_REFERENCE_CATEGORY

Settings: TypeAlias = dict[str, int | float | str | list[int] | list[float] | list[str] | bool]
"""Generation parameters by name. Which names make sense is the backend's business."""


def normalize_scheduler_requirements(requirements: object) -> object:
    """Requirements in today's form: a true or false `karras` becomes a scheduler, unless `schedulers` are given."""
    if not isinstance(requirements, dict) or "karras" not in requirements:
        return requirements
    kept: dict[str, JsonValue] = dict(requirements)
    if isinstance(karras := kept.pop("karras"), bool):
        kept.setdefault("schedulers", ["karras" if karras else "normal"])
    return kept


_TYPES: dict[str, type[GenericModelRecord]] = {}
MODEL_RECORD_TYPE_LOOKUP: Mapping[str, type[GenericModelRecord]] = MappingProxyType(_TYPES)
"""Category to record class; a live view that shows registered classes too."""


class GenericModelRecord(record_parts.RecordPart):
    """What every record has. `record_type` is not compared with the category that the record is read from."""

    open_fields: ClassVar[tuple[tuple[str, vocabulary.Vocabulary], ...]] = ()
    """Fields whose unknown values are kept and reported."""
    never_null: ClassVar[tuple[str, ...]] = ()
    """List fields that read as empty where they are missing or null; all of them are in `always_set`."""
    always_set: ClassVar[tuple[str, ...]] = ()
    """Fields that count as set although nobody did, so that `exclude_unset` shows them."""

    record_type: str | MODEL_REFERENCE_CATEGORY
    name: str
    description: str | None = None
    version: str | None = None
    finetune_series: record_parts.FineTuneSeriesInfo | None = None
    metadata: record_parts.GenericModelRecordMetadata = Field(default_factory=record_parts.GenericModelRecordMetadata)
    config: record_parts.GenericModelRecordConfig = Field(default_factory=record_parts.GenericModelRecordConfig)
    model_classification: ModelClassification
    size_on_disk_bytes: int | None = None
    licensing: record_parts.ModelLicensing | None = None

    @property
    def category(self) -> Category:
        """The category of `record_type`, as an enum member where it is one."""
        return MODEL_REFERENCE_CATEGORY.__members__.get(self.record_type, self.record_type)

    @property
    def download_count(self) -> int:
        """How many files the record lists."""
        return len(self.config.download)

    @property
    def all_download_urls(self) -> list[str]:
        """The address of each file that has one, in order."""
        return [file.file_url for file in self.config.download if file.file_url]

    @property
    def primary_download_url(self) -> str | None:
        """The address of the first file that has one."""
        return next(iter(self.all_download_urls), None)

    @property
    def declared_total_size_bytes(self) -> int | None:
        """The bytes of all files together: `size_on_disk_bytes`, else the sum over the files where each has a size."""
        if self.size_on_disk_bytes is not None:
            return self.size_on_disk_bytes
        sizes = [file.size_bytes for file in self.config.download if file.size_bytes is not None]
        return sum(sizes) if sizes and len(sizes) == self.download_count else None

    def unknown_values(self) -> list[tuple[vocabulary.Vocabulary, str]]:
        """The values that are kept although their vocabulary does not hold them."""
        values = self.__dict__
        fields = ((known, values[field]) for field, known in self.open_fields)
        return [(known, value) for known, value in fields if value is not None and value not in known]

    @model_validator(mode="after")
    def _settle(self) -> Self:
        values, extra = self.__dict__, self.__pydantic_extra__  # plain dicts: this runs for every record that is read
        named = values["licensing"].files.keys() if values["licensing"] is not None else set()
        if named and (strange := named - {file.file_name for file in self.config.download}):
            raise ValueError(f"licensing.files names what config.download does not list: {sorted(strange)}")
        if self.always_set:
            for field in self.never_null:
                if values[field] is None:
                    values[field] = []
            self.__pydantic_fields_set__.update(self.always_set)
        if extra:  # given by name and by alias: the alias won, and the name is no unknown field
            for field in values.keys() & extra.keys():
                del extra[field]
        for known, value in self.unknown_values() if self.open_fields else ():
            known.note_unknown(value, self.name)
        return self


class _CategoryRecord(GenericModelRecord):
    # What a type checker sees; each class puts the defaults of its own category in the place of these.
    record_type: MODEL_REFERENCE_CATEGORY | str = _C.miscellaneous
    model_classification: ModelClassification = Field(
        default_factory=partial(categories.get_model_classification, _C.miscellaneous)
    )

    def __init_subclass__(cls, category: Category | None = None, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**config)
        if category is not None:
            cls.record_type = category
            cls.model_classification = Field(default_factory=partial(categories.get_model_classification, category))
            _TYPES.setdefault(category, cls)


class ImageGenerationModelRecord(_CategoryRecord, category=_C.image_generation):
    """A model that makes images: `ImageGenerationModelRecord(name="m", baseline="stable_diffusion_xl", nsfw=False)`.

    `baseline` equals a `KNOWN_IMAGE_GENERATION_BASELINE` member where it is one, and is any other text as written.
    """

    open_fields = (("baseline", vocabulary.IMAGE_BASELINES), ("style", vocabulary.MODEL_STYLES))
    never_null = ("tags", "showcases", "trigger")
    always_set = ("tags", "showcases", "trigger", "requirements")

    inpainting: bool | None = False
    baseline: vocabulary.KNOWN_IMAGE_GENERATION_BASELINE | str
    optimization: str | None = None
    tags: list[Stripped] | None = None
    showcases: list[str] | None = None
    min_bridge_version: int | None = None
    trigger: list[str] | None = None
    homepage: str | None = None
    nsfw: bool
    style: Stripped | vocabulary.MODEL_STYLE | None = None
    requirements: Annotated[Settings | None, BeforeValidator(normalize_scheduler_requirements)] = None

    def unknown_values(self) -> list[tuple[vocabulary.Vocabulary, str]]:
        known, schedulers = vocabulary.IMAGE_SCHEDULERS, self.requirements and self.requirements.get("schedulers")
        names = schedulers if isinstance(schedulers, list) else []
        return [*super().unknown_values(), *((known, str(name)) for name in names if name not in known)]


class ControlNetModelRecord(_CategoryRecord, category=_C.controlnet):
    """A model that makes an image model follow a control image."""

    open_fields = (("controlnet_style", vocabulary.CONTROLNET_STYLES),)

    controlnet_style: vocabulary.CONTROLNET_STYLE | str | None = None


class ControlNetAnnotatorModelRecord(_CategoryRecord, category=_C.controlnet_annotator):
    """A model that makes control images; `control_types` are those it serves."""

    control_types: list[str] = Field(default_factory=list)
    preprocessors: list[str] = Field(default_factory=list)


class TextGenerationModelRecord(_CategoryRecord, category=_C.text_generation):
    """A model that writes text. `parameters_count` is `parameters` in files; `by_alias=True` writes it so."""

    baseline: str | None = None
    parameters_count: int = Field(alias="parameters")
    nsfw: bool = False
    style: str | None = None
    display_name: str | None = None
    url: str | None = None
    tags: list[Stripped] | None = None
    instruct_format: str | None = None
    settings: Settings | None = None
    text_model_group: str | None = None
    name_schema_exception: str | None = None
    context_window: record_parts.TextContextWindow | None = None
    interaction_modes: dict[record_parts.TextInteractionMode, record_parts.SupportClaim] | None = None
    capabilities: dict[record_parts.TextCapability, record_parts.SupportClaim] | None = None
    guidance: record_parts.TextGuidanceSummary | None = None


class BlipModelRecord(_CategoryRecord, category=_C.blip):
    """A model that describes images."""


class ClipModelRecord(_CategoryRecord, category=_C.clip):
    """A model that compares images with text; `pretrained_name` is the training set its library asks for."""

    pretrained_name: str | None = None


class CodeformerModelRecord(_CategoryRecord, category=_C.codeformer):
    """A model that restores faces."""


class EsrganModelRecord(_CategoryRecord, category=_C.esrgan):
    """A model that enlarges images."""


class GfpganModelRecord(_CategoryRecord, category=_C.gfpgan):
    """A model that restores faces."""


class SafetyCheckerModelRecord(_CategoryRecord, category=_C.safety_checker):
    """A model that recognises images which must not be shown."""


class _BaselineRecord(_CategoryRecord):
    baseline: str | None = None
    nsfw: bool = False
    tags: list[Stripped] | None = None


class VideoGenerationModelRecord(_BaselineRecord, category=_C.video_generation):
    """A model that makes videos."""


class AudioGenerationModelRecord(_BaselineRecord, category=_C.audio_generation):
    """A model that makes sound."""


class MiscellaneousModelRecord(_CategoryRecord, category=_C.miscellaneous):
    """A model that fits no other category."""


class _PatchModelRecord(_BaselineRecord):
    trigger: list[str] | None = None
    homepage: str | None = None
    showcases: list[str] | None = None


class LoraModelRecord(_PatchModelRecord, category=_C.lora):
    """A patch of an image model's weights; the engine keeps these records, and subclasses this."""


class TextualInversionModelRecord(_PatchModelRecord, category=_C.ti):
    """A learnt word for an image model; the engine keeps these records, and subclasses this."""


def get_record_type_for_category(category: str) -> type[GenericModelRecord]:
    """The class that records of that category are read as; never raises.

    A category registered without one gets a class of its own with its defaults; an unknown one is `GenericModelRecord`.
    """
    known = _TYPES.get(category)
    if known is not None or category not in categories.get_all_registered_categories():
        return known or GenericModelRecord
    create_model(f"GenericModelRecord[{category}]", __base__=_CategoryRecord, __cls_kwargs__={"category": category})
    return _TYPES[category]


def register_record_type(category: str, record_type: type[GenericModelRecord], *, replace: bool = False) -> None:
    """Read that category as this class from now on. Raises `TypeError` for no record class, `ValueError` if taken."""
    if not issubclass(record_type, GenericModelRecord):
        raise TypeError(f"a record class must derive from GenericModelRecord; {record_type!r} does not")
    if category in _TYPES and not replace:
        raise ValueError(f"category {category!r} has a record class already; pass replace=True to change it")
    _TYPES[category] = record_type
