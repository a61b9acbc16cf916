"""The record classes: one model's metadata, typed. `GenericModelRecord` holds what all have, a subclass what one adds.

A record is as forgiving as the reference must be: unknown fields are kept, and so are values of open vocabularies that
nobody knows yet, which are reported once. It is mutable, and clients subclass it; nothing in this package changes one
that it has handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from horde_model_reference.domain.categories import (
    MODEL_REFERENCE_CATEGORY,
    Category,
    ModelClassification,
    get_all_registered_categories,
    get_model_classification,
)
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.domain.licensing import ModelLicensing
from horde_model_reference.domain.record_parts import (
    RECORD_CONFIG,
    SCHEMA_VERSION,
    DownloadRecord,
    FineTuneSeriesInfo,
    GenericModelRecordConfig,
    GenericModelRecordMetadata,
    Stripped,
    get_default_config,
)
from horde_model_reference.domain.text_support import (
    SupportClaim,
    TextCapability,
    TextContextWindow,
    TextGuidanceSummary,
    TextInteractionMode,
)
from horde_model_reference.domain.vocabulary import (
    CONTROLNET_STYLE,
    CONTROLNET_STYLES,
    IMAGE_BASELINES,
    IMAGE_SCHEDULERS,
    KNOWN_IMAGE_GENERATION_BASELINE,
    MODEL_STYLE,
    MODEL_STYLES,
    Vocabulary,
)

__all__ = [
    "MODEL_RECORD_TYPE_LOOKUP",
    "SCHEMA_VERSION",
    "AudioGenerationModelRecord",
    "BlipModelRecord",
    "ClipModelRecord",
    "CodeformerModelRecord",
    "ControlNetAnnotatorModelRecord",
    "ControlNetModelRecord",
    "DownloadRecord",
    "EsrganModelRecord",
    "FineTuneSeriesInfo",
    "GenericModelRecord",
    "GenericModelRecordConfig",
    "GenericModelRecordMetadata",
    "GfpganModelRecord",
    "ImageGenerationModelRecord",
    "LoraModelRecord",
    "MiscellaneousModelRecord",
    "SafetyCheckerModelRecord",
    "TextGenerationModelRecord",
    "TextModelGroupNameSchema",
    "TextualInversionModelRecord",
    "VideoGenerationModelRecord",
    "get_default_config",
    "get_record_type_for_category",
    "normalize_scheduler_requirements",
    "register_record_type",
]

_C = MODEL_REFERENCE_CATEGORY

Settings: TypeAlias = dict[str, int | float | str | list[int] | list[float] | list[str] | bool]
"""Generation parameters by name. Which names make sense is the backend's business."""


def normalize_scheduler_requirements(requirements: object) -> object:
    """Requirements in today's form: a true or false `karras` becomes a scheduler, unless `schedulers` are given.

    Gives a new dict where it changes something; what is not a dict passes, for the field's own validation to refuse.
    """
    if not isinstance(requirements, dict) or "karras" not in requirements:
        return requirements
    kept: dict[str, JsonValue] = {key: value for key, value in requirements.items() if key != "karras"}
    if isinstance(requirements["karras"], bool):
        kept.setdefault("schedulers", ["karras" if requirements["karras"] else "normal"])
    return kept


def _classification(category: Category) -> Callable[[], ModelClassification]:
    default = get_model_classification(category)
    return lambda: ModelClassification(domain=default.domain, purpose=default.purpose)


class GenericModelRecord(BaseModel):
    """What every record has. Construct one of a subclass, where all but `name` has a default.

    `record_type` names the category, and is not compared with the one the record is read from.
    """

    model_config = RECORD_CONFIG

    open_fields: ClassVar[tuple[tuple[str, Vocabulary], ...]] = ()
    """Fields whose unknown values are kept and reported."""
    never_null: ClassVar[tuple[str, ...]] = ()
    """List fields that read as empty where they are missing or null; all of them are in `always_set`."""
    always_set: ClassVar[tuple[str, ...]] = ()
    """Fields that count as set although nobody did, so that `exclude_unset` shows them."""

    record_type: str | MODEL_REFERENCE_CATEGORY
    name: str
    description: str | None = None
    version: str | None = None
    finetune_series: FineTuneSeriesInfo | None = None
    metadata: GenericModelRecordMetadata = Field(default_factory=GenericModelRecordMetadata)
    config: GenericModelRecordConfig = Field(default_factory=GenericModelRecordConfig)
    model_classification: ModelClassification
    size_on_disk_bytes: int | None = None
    licensing: ModelLicensing | None = None

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

    def unknown_values(self) -> list[tuple[Vocabulary, str]]:
        """The values that are kept although their vocabulary does not hold them."""
        values, unknown = self.__dict__, []
        for field, vocabulary in self.open_fields:
            value = values[field]
            if value is not None and value not in vocabulary:
                unknown.append((vocabulary, value))
        return unknown

    @model_validator(mode="after")
    def _settle(self) -> Self:
        values, extra = self.__dict__, self.__pydantic_extra__  # plain dicts: this runs for every record that is read
        if values["licensing"] is not None:
            self._refuse_strange_license_files(values["licensing"])
        if self.always_set:
            for field in self.never_null:
                if values[field] is None:
                    values[field] = []
            self.__pydantic_fields_set__.update(self.always_set)
        if extra:  # given by name and by alias: the alias won, and the name is no unknown field
            for field in values.keys() & extra.keys():
                del extra[field]
        if self.open_fields:
            for vocabulary, value in self.unknown_values():
                vocabulary.note_unknown(value, self.name)
        return self

    def _refuse_strange_license_files(self, licensing: ModelLicensing) -> None:
        strange = licensing.files.keys() - {file.file_name for file in self.config.download}
        if strange:
            raise ValueError(f"licensing.files names what config.download does not list: {', '.join(sorted(strange))}")


class ImageGenerationModelRecord(GenericModelRecord):
    """A model that makes images.

    `baseline` compares equal to a `KNOWN_IMAGE_GENERATION_BASELINE` member where it is one, and is any other text as
    written. Example: `ImageGenerationModelRecord(name="m", baseline="stable_diffusion_xl", nsfw=False)`.
    """

    open_fields = (("baseline", IMAGE_BASELINES), ("style", MODEL_STYLES))
    never_null = ("tags", "showcases", "trigger")
    always_set = ("tags", "showcases", "trigger", "requirements")

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.image_generation
    model_classification: ModelClassification = Field(default_factory=_classification(_C.image_generation))
    inpainting: bool | None = False
    baseline: KNOWN_IMAGE_GENERATION_BASELINE | str
    optimization: str | None = None
    tags: list[Stripped] | None = None
    showcases: list[str] | None = None
    min_bridge_version: int | None = None
    trigger: list[str] | None = None
    homepage: str | None = None
    nsfw: bool
    style: Stripped | MODEL_STYLE | None = None
    requirements: Annotated[Settings | None, BeforeValidator(normalize_scheduler_requirements)] = None

    def unknown_values(self) -> list[tuple[Vocabulary, str]]:
        unknown = super().unknown_values()
        schedulers = self.requirements and self.requirements.get("schedulers")
        if isinstance(schedulers, list):
            unknown += [(IMAGE_SCHEDULERS, str(name)) for name in schedulers if name not in IMAGE_SCHEDULERS]
        return unknown


class ControlNetModelRecord(GenericModelRecord):
    """A model that makes an image model follow a control image."""

    open_fields = (("controlnet_style", CONTROLNET_STYLES),)

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.controlnet
    model_classification: ModelClassification = Field(default_factory=_classification(_C.controlnet))
    controlnet_style: CONTROLNET_STYLE | str | None = None


class ControlNetAnnotatorModelRecord(GenericModelRecord):
    """A model that makes control images; `control_types` are those it serves."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.controlnet_annotator
    model_classification: ModelClassification = Field(default_factory=_classification(_C.controlnet_annotator))
    control_types: list[str] = Field(default_factory=list)
    preprocessors: list[str] = Field(default_factory=list)


class TextGenerationModelRecord(GenericModelRecord):
    """A model that writes text.

    `parameters_count` is called `parameters` in files and on the wire: both names are read, and `model_dump` writes
    the short one with `by_alias=True`.
    """

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.text_generation
    model_classification: ModelClassification = Field(default_factory=_classification(_C.text_generation))
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
    context_window: TextContextWindow | None = None
    interaction_modes: dict[TextInteractionMode, SupportClaim] | None = None
    capabilities: dict[TextCapability, SupportClaim] | None = None
    guidance: TextGuidanceSummary | None = None


class BlipModelRecord(GenericModelRecord):
    """A model that describes images."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.blip
    model_classification: ModelClassification = Field(default_factory=_classification(_C.blip))


class ClipModelRecord(GenericModelRecord):
    """A model that compares images with text; `pretrained_name` is the training set its library asks for."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.clip
    model_classification: ModelClassification = Field(default_factory=_classification(_C.clip))
    pretrained_name: str | None = None


class CodeformerModelRecord(GenericModelRecord):
    """A model that restores faces."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.codeformer
    model_classification: ModelClassification = Field(default_factory=_classification(_C.codeformer))


class EsrganModelRecord(GenericModelRecord):
    """A model that enlarges images."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.esrgan
    model_classification: ModelClassification = Field(default_factory=_classification(_C.esrgan))


class GfpganModelRecord(GenericModelRecord):
    """A model that restores faces."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.gfpgan
    model_classification: ModelClassification = Field(default_factory=_classification(_C.gfpgan))


class SafetyCheckerModelRecord(GenericModelRecord):
    """A model that recognises images which must not be shown."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.safety_checker
    model_classification: ModelClassification = Field(default_factory=_classification(_C.safety_checker))


class VideoGenerationModelRecord(GenericModelRecord):
    """A model that makes videos."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.video_generation
    model_classification: ModelClassification = Field(default_factory=_classification(_C.video_generation))
    baseline: str | None = None
    nsfw: bool = False
    tags: list[Stripped] | None = None


class AudioGenerationModelRecord(GenericModelRecord):
    """A model that makes sound."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.audio_generation
    model_classification: ModelClassification = Field(default_factory=_classification(_C.audio_generation))
    baseline: str | None = None
    nsfw: bool = False
    tags: list[Stripped] | None = None


class MiscellaneousModelRecord(GenericModelRecord):
    """A model that fits no other category."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.miscellaneous
    model_classification: ModelClassification = Field(default_factory=_classification(_C.miscellaneous))


class _PatchModelRecord(GenericModelRecord):
    baseline: str | None = None
    nsfw: bool = False
    tags: list[Stripped] | None = None
    trigger: list[str] | None = None
    homepage: str | None = None
    showcases: list[str] | None = None


class LoraModelRecord(_PatchModelRecord):
    """A patch of an image model's weights; the engine keeps these records, and subclasses this."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.lora
    model_classification: ModelClassification = Field(default_factory=_classification(_C.lora))


class TextualInversionModelRecord(_PatchModelRecord):
    """A learnt word for an image model; the engine keeps these records, and subclasses this."""

    record_type: MODEL_REFERENCE_CATEGORY | str = _C.ti
    model_classification: ModelClassification = Field(default_factory=_classification(_C.ti))


class TextModelGroupNameSchema(BaseModel):
    """How the names of a group of text models are put together, for composing and checking them."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    separator: str = "-"
    part_order: list[str] = Field(default_factory=lambda: ["base", "size", "variant", "version", "quant"])
    author_included: bool = True
    common_author: str | None = None
    template: str | None = None
    extra_parts: list[str] = Field(default_factory=list)


_TYPES: dict[str, type[GenericModelRecord]] = {
    _C.image_generation: ImageGenerationModelRecord,
    _C.controlnet: ControlNetModelRecord,
    _C.controlnet_annotator: ControlNetAnnotatorModelRecord,
    _C.text_generation: TextGenerationModelRecord,
    _C.blip: BlipModelRecord,
    _C.clip: ClipModelRecord,
    _C.codeformer: CodeformerModelRecord,
    _C.esrgan: EsrganModelRecord,
    _C.gfpgan: GfpganModelRecord,
    _C.safety_checker: SafetyCheckerModelRecord,
    _C.video_generation: VideoGenerationModelRecord,
    _C.audio_generation: AudioGenerationModelRecord,
    _C.miscellaneous: MiscellaneousModelRecord,
    _C.lora: LoraModelRecord,
    _C.ti: TextualInversionModelRecord,
}

MODEL_RECORD_TYPE_LOOKUP: Mapping[str, type[GenericModelRecord]] = MappingProxyType(_TYPES)
"""Category to record class; a live view that shows registered classes too."""


def get_record_type_for_category(category: str) -> type[GenericModelRecord]:
    """The class that records of that category are read as; never raises.

    A category that was registered without a class gets one of its own, with all that `GenericModelRecord` has and the
    category's defaults; one that nobody registered is read as `GenericModelRecord`.
    """
    known = _TYPES.get(category)
    if known is not None or category not in get_all_registered_categories():
        return known or GenericModelRecord
    made = create_model(
        f"GenericModelRecord[{category}]",
        __base__=GenericModelRecord,
        record_type=(MODEL_REFERENCE_CATEGORY | str, category),
        model_classification=(ModelClassification, Field(default_factory=_classification(category))),
    )
    return _TYPES.setdefault(category, made)


def register_record_type(category: str, record_type: type[GenericModelRecord], *, replace: bool = False) -> None:
    """Read records of that category as `record_type` from now on; what has been read stays as it is.

    Raises `TypeError` for a class that is no `GenericModelRecord`, `ValueError` where the category has a class already
    and `replace` is false.
    """
    if not issubclass(record_type, GenericModelRecord):
        raise TypeError(f"a record class must derive from GenericModelRecord; {record_type!r} does not")
    if category in _TYPES and not replace:
        raise ValueError(f"category {category!r} has a record class already; pass replace=True to change it")
    _TYPES[category] = record_type
