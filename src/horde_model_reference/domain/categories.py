"""The categories of the reference, each described by one row of a table.

What differs between categories (files, folders, repository, purpose) is data here, and nowhere else an `if`.
`register_category` adds a row at run time; code that meets a category it does not know keeps it as a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

from pydantic import BaseModel

from horde_model_reference.domain.names import require_safe_name
from horde_model_reference.errors import UnknownCategory

__all__ = [
    "CANONICAL_CATEGORIES",
    "MODEL_CLASSIFICATION_LOOKUP",
    "MODEL_DOMAIN",
    "MODEL_PURPOSE",
    "MODEL_REFERENCE_CATEGORY",
    "Category",
    "CategoryDescriptor",
    "ModelClassification",
    "find_category",
    "get_all_registered_categories",
    "get_category_descriptor",
    "get_github_image_categories",
    "get_github_text_categories",
    "get_model_classification",
    "get_no_legacy_format_categories",
    "get_weights_marker_folders",
    "register_category",
]


class MODEL_DOMAIN(StrEnum):
    """What a model works on."""

    image = "image"
    text = "text"
    video = "video"
    audio = "audio"
    rendered_3d = "rendered_3d"


class MODEL_PURPOSE(StrEnum):
    """What a model does with it."""

    generation = "generation"
    post_processing = "post_processing"
    auxiliary_or_patch = "auxiliary_or_patch"
    feature_extractor = "feature_extractor"
    safety_checker = "safety_checker"
    miscellaneous = "miscellaneous"


class MODEL_REFERENCE_CATEGORY(StrEnum):
    """The categories known when this version was released. Each member equals its name as a string."""

    blip = "blip"
    clip = "clip"
    codeformer = "codeformer"
    controlnet = "controlnet"
    controlnet_annotator = "controlnet_annotator"
    esrgan = "esrgan"
    gfpgan = "gfpgan"
    safety_checker = "safety_checker"
    image_generation = "image_generation"
    text_generation = "text_generation"
    video_generation = "video_generation"
    audio_generation = "audio_generation"
    miscellaneous = "miscellaneous"
    lora = "lora"
    ti = "ti"


_MEMBERS: dict[str, MODEL_REFERENCE_CATEGORY] = {member.value: member for member in MODEL_REFERENCE_CATEGORY}

Category: TypeAlias = str
"""A category by name: a `MODEL_REFERENCE_CATEGORY` member is one, and so is a name registered at run time."""


class ModelClassification(BaseModel):
    """The (domain, purpose) pair of a record."""

    domain: MODEL_DOMAIN
    purpose: MODEL_PURPOSE


@dataclass(frozen=True)
class CategoryDescriptor:
    """One category: what its models are for, which files hold it, where its weights lie.

    `github_source` names the repository that publishes it in the legacy format, if any. `managed_elsewhere` marks
    categories whose records belong to another program (the engine's LoRA and TI databases): they are never served as
    reference data, never converted, and their files are never written. `on_disk_folder_name` is the folder of the
    weights under a worker's root; `weights_marker` folders together mark that root.
    """

    domain: MODEL_DOMAIN
    purpose: MODEL_PURPOSE
    github_source: Literal["image", "text"] | None = None
    has_legacy_format: bool = False
    managed_elsewhere: bool = False
    filename_override: str | None = None
    legacy_filename_override: str | None = None
    on_disk_folder_name: str | None = None
    weights_marker: bool = False
    managed_download_elsewhere: bool = False

    def v2_filename(self, category: Category) -> str:
        """The name of the v2 JSON file under the data root."""
        return self.filename_override or f"{category}.json"

    def legacy_filename(self, category: Category) -> str:
        """The name of the file under `legacy/`, and in the GitHub repository where there is one."""
        return self.legacy_filename_override or self.v2_filename(category)

    @property
    def classification(self) -> ModelClassification:
        """A new `ModelClassification` of this category."""
        return ModelClassification(domain=self.domain, purpose=self.purpose)


def _legacy_image(purpose: MODEL_PURPOSE, folder: str, *, marker: bool = False, file: str | None = None) -> CategoryDescriptor:
    return CategoryDescriptor(
        MODEL_DOMAIN.image,
        purpose,
        github_source="image",
        has_legacy_format=True,
        filename_override=file,
        on_disk_folder_name=folder,
        weights_marker=marker,
    )


def _elsewhere(folder: str) -> CategoryDescriptor:
    return CategoryDescriptor(
        MODEL_DOMAIN.image,
        MODEL_PURPOSE.auxiliary_or_patch,
        managed_elsewhere=True,
        on_disk_folder_name=folder,
        managed_download_elsewhere=True,
    )


_C = MODEL_REFERENCE_CATEGORY
_DESCRIPTORS: dict[Category, CategoryDescriptor] = {
    _C.blip: _legacy_image(MODEL_PURPOSE.feature_extractor, "blip"),
    _C.clip: _legacy_image(MODEL_PURPOSE.feature_extractor, "clip", marker=True),
    _C.codeformer: _legacy_image(MODEL_PURPOSE.post_processing, "codeformer"),
    _C.controlnet: _legacy_image(MODEL_PURPOSE.auxiliary_or_patch, "controlnet"),
    _C.controlnet_annotator: CategoryDescriptor(
        MODEL_DOMAIN.image, MODEL_PURPOSE.auxiliary_or_patch, on_disk_folder_name="controlnet"
    ),
    _C.esrgan: _legacy_image(MODEL_PURPOSE.post_processing, "esrgan"),
    _C.gfpgan: _legacy_image(MODEL_PURPOSE.post_processing, "gfpgan"),
    _C.safety_checker: _legacy_image(MODEL_PURPOSE.safety_checker, "safety_checker"),
    _C.image_generation: _legacy_image(
        MODEL_PURPOSE.generation, "compvis", marker=True, file="stable_diffusion.json"
    ),
    _C.text_generation: CategoryDescriptor(
        MODEL_DOMAIN.text,
        MODEL_PURPOSE.generation,
        github_source="text",
        has_legacy_format=True,
        filename_override="text_generation.json",
        legacy_filename_override="models.csv",
    ),
    _C.video_generation: CategoryDescriptor(MODEL_DOMAIN.video, MODEL_PURPOSE.generation),
    _C.audio_generation: CategoryDescriptor(MODEL_DOMAIN.audio, MODEL_PURPOSE.generation),
    _C.miscellaneous: _legacy_image(MODEL_PURPOSE.miscellaneous, "miscellaneous"),
    _C.lora: _elsewhere("lora"),
    _C.ti: _elsewhere("ti"),
}

CANONICAL_CATEGORIES: tuple[MODEL_REFERENCE_CATEGORY, ...] = tuple(
    c for c in MODEL_REFERENCE_CATEGORY if not _DESCRIPTORS[c].managed_elsewhere
)
"""The 13 categories whose records are the reference; the other two are managed elsewhere."""

MODEL_CLASSIFICATION_LOOKUP: Mapping[Category, ModelClassification] = MappingProxyType(
    {category: descriptor.classification for category, descriptor in _DESCRIPTORS.items()}
)


def register_category(category: str, descriptor: CategoryDescriptor, *, replace: bool = False) -> None:
    """Make a category known to this process.

    Raises `UnsafeName` for a name that could not be a file's, `ValueError` where it is known already and `replace`
    is false. Example: `register_category("upscale_video", CategoryDescriptor(MODEL_DOMAIN.video, ...))`.
    """
    require_safe_name(category, kind="category")
    if category in _DESCRIPTORS and not replace:
        raise ValueError(f"category {category!r} is registered already; pass replace=True to change it")
    _DESCRIPTORS[category] = descriptor


def find_category(name: str) -> Category:
    """The category of that name, as an enum member where it is one. Raises `UnknownCategory`."""
    if name not in _DESCRIPTORS:
        raise UnknownCategory(name, tuple(map(str, _DESCRIPTORS)))
    return _MEMBERS.get(name, name)


def get_category_descriptor(category: str) -> CategoryDescriptor:
    """The row of that category. Raises `UnknownCategory`."""
    return _DESCRIPTORS[find_category(category)]


def get_all_registered_categories() -> dict[Category, CategoryDescriptor]:
    """Every category known now, built in or registered, in order; a copy."""
    return dict(_DESCRIPTORS)


def get_model_classification(category: str) -> ModelClassification:
    """The (domain, purpose) pair of that category, a new object."""
    return get_category_descriptor(category).classification


def get_github_image_categories() -> list[Category]:
    """Categories published by the image repository."""
    return [c for c, d in _DESCRIPTORS.items() if d.github_source == "image"]


def get_github_text_categories() -> list[Category]:
    """Categories published by the text repository."""
    return [c for c, d in _DESCRIPTORS.items() if d.github_source == "text"]


def get_no_legacy_format_categories() -> list[Category]:
    """Categories that exist in v2 only."""
    return [c for c, d in _DESCRIPTORS.items() if not d.has_legacy_format]


def get_weights_marker_folders() -> list[str]:
    """Folders that together mark the root of a worker's weights."""
    return [d.on_disk_folder_name for d in _DESCRIPTORS.values() if d.weights_marker and d.on_disk_folder_name]
