"""The categories of the reference, each described by one row of a table.

What differs between categories (files, folders, repository, purpose) is data here, and nowhere else an `if`.
`register_category` adds a row at run time; code that meets a category it does not know keeps it as a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

from horde_model_reference.domain.names import require_safe_name
from horde_model_reference.domain.record_parts import Sharing
from horde_model_reference.errors import UnknownCategory

__all__ = ["CANONICAL_CATEGORIES", "MODEL_CLASSIFICATION_LOOKUP", "MODEL_DOMAIN", "MODEL_PURPOSE"]
__all__ += ["MODEL_REFERENCE_CATEGORY", "Category", "CategoryDescriptor", "ModelClassification", "find_category"]
__all__ += ["get_all_registered_categories", "get_category_descriptor", "get_model_classification"]
__all__ += ["get_weights_marker_folders", "register_category"]

MODEL_DOMAIN = StrEnum("MODEL_DOMAIN", "image text video audio rendered_3d")
"""What a model works on."""
MODEL_PURPOSE = StrEnum(
    "MODEL_PURPOSE", "generation post_processing auxiliary_or_patch feature_extractor safety_checker miscellaneous"
)
"""What a model does with it."""
MODEL_REFERENCE_CATEGORY = StrEnum(
    "MODEL_REFERENCE_CATEGORY",
    "blip clip codeformer controlnet controlnet_annotator esrgan gfpgan safety_checker image_generation "
    "text_generation video_generation audio_generation miscellaneous lora ti",
)
"""The categories known when this version was released. Each member equals its name as a string."""
Category: TypeAlias = str
"""A category by name: a `MODEL_REFERENCE_CATEGORY` member is one, and so is a name registered at run time."""


class ModelClassification(Sharing):
    """The (domain, purpose) pair of a record."""

    domain: MODEL_DOMAIN
    purpose: MODEL_PURPOSE


@dataclass(frozen=True)
class CategoryDescriptor:
    """One category: what its models are for, which files hold it, where its weights lie.

    `github_source` names the repository that publishes it in the legacy format. `managed_elsewhere` marks categories
    whose records belong to another program (the engine's LoRA and TI databases): never served, converted or written.
    `on_disk_folder_name` holds the weights under a worker's root; `weights_marker` folders together mark that root.
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


_C, _P = MODEL_REFERENCE_CATEGORY, MODEL_PURPOSE
_image = partial(CategoryDescriptor, MODEL_DOMAIN.image)
_legacy = partial(_image, github_source="image", has_legacy_format=True)
_text = partial(CategoryDescriptor, MODEL_DOMAIN.text, github_source="text", has_legacy_format=True)
_elsewhere = partial(_image, _P.auxiliary_or_patch, managed_elsewhere=True, managed_download_elsewhere=True)
_DESCRIPTORS: dict[Category, CategoryDescriptor] = {
    _C.blip: _legacy(_P.feature_extractor, on_disk_folder_name="blip"),
    _C.clip: _legacy(_P.feature_extractor, on_disk_folder_name="clip", weights_marker=True),
    _C.codeformer: _legacy(_P.post_processing, on_disk_folder_name="codeformer"),
    _C.controlnet: _legacy(_P.auxiliary_or_patch, on_disk_folder_name="controlnet"),
    _C.controlnet_annotator: _image(_P.auxiliary_or_patch, on_disk_folder_name="controlnet"),
    _C.esrgan: _legacy(_P.post_processing, on_disk_folder_name="esrgan"),
    _C.gfpgan: _legacy(_P.post_processing, on_disk_folder_name="gfpgan"),
    _C.safety_checker: _legacy(_P.safety_checker, on_disk_folder_name="safety_checker"),
    _C.image_generation: _legacy(
        _P.generation, filename_override="stable_diffusion.json", on_disk_folder_name="compvis", weights_marker=True
    ),
    _C.text_generation: _text(
        _P.generation, filename_override="text_generation.json", legacy_filename_override="models.csv"
    ),
    _C.video_generation: CategoryDescriptor(MODEL_DOMAIN.video, _P.generation),
    _C.audio_generation: CategoryDescriptor(MODEL_DOMAIN.audio, _P.generation),
    _C.miscellaneous: _legacy(_P.miscellaneous, on_disk_folder_name="miscellaneous"),
    _C.lora: _elsewhere(on_disk_folder_name="lora"),
    _C.ti: _elsewhere(on_disk_folder_name="ti"),
}

get_all_registered_categories = _DESCRIPTORS.copy
"""Every category known now, built in or registered, in order; a copy."""
CANONICAL_CATEGORIES: tuple[MODEL_REFERENCE_CATEGORY, ...] = tuple(
    c for c in MODEL_REFERENCE_CATEGORY if not _DESCRIPTORS[c].managed_elsewhere
)
"""The 13 categories whose records are the reference; the other two are managed elsewhere."""
MODEL_CLASSIFICATION_LOOKUP: Mapping[Category, ModelClassification] = MappingProxyType(
    {category: descriptor.classification for category, descriptor in _DESCRIPTORS.items()}
)


def register_category(category: str, descriptor: CategoryDescriptor, *, replace: bool = False) -> None:
    """Make a category known. Raises `UnsafeName` if it could not name a file, `ValueError` if known (see `replace`)."""
    require_safe_name(category, kind="category")
    if category in _DESCRIPTORS and not replace:
        raise ValueError(f"category {category!r} is registered already; pass replace=True to change it")
    _DESCRIPTORS[category] = descriptor


def find_category(name: str) -> Category:
    """The category of that name, as an enum member where it is one. Raises `UnknownCategory`."""
    if name not in _DESCRIPTORS:
        raise UnknownCategory(name, tuple(map(str, _DESCRIPTORS)))
    return MODEL_REFERENCE_CATEGORY.__members__.get(name, name)


def get_category_descriptor(category: str) -> CategoryDescriptor:
    """The row of that category. Raises `UnknownCategory`."""
    return _DESCRIPTORS[find_category(category)]


def get_model_classification(category: str) -> ModelClassification:
    """The (domain, purpose) pair of that category, a new object."""
    return get_category_descriptor(category).classification


def get_weights_marker_folders() -> list[str]:
    """Folders that together mark the root of a worker's weights."""
    return [d.on_disk_folder_name for d in _DESCRIPTORS.values() if d.weights_marker and d.on_disk_folder_name]
