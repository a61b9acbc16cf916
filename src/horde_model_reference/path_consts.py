"""Where the files of the reference lie: names and places, nothing is opened.

The data root is `horde_model_reference` in `AIWORKER_CACHE_HOME`. It is resolved when it is first asked for, not at
import. Only `make_folders` touches the disk, and it is called when a manager is built with `MAKE_FOLDERS`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from horde_model_reference import horde_environment
from horde_model_reference.domain.categories import find_category, get_category_descriptor

if TYPE_CHECKING:
    from horde_model_reference.settings import HordeModelReferenceSettings

__all__ = [
    "AUDIT_FOLDER_NAME",
    "DEFAULT_SHOWCASE_FOLDER_NAME",
    "GROUP_ALIASES_FILENAME",
    "GROUP_FAMILIES_FILENAME",
    "GROUP_SCHEMAS_FILENAME",
    "IMAGE_BASELINE_FOLDER_NAME",
    "LEGACY_REFERENCE_FOLDER_NAME",
    "LICENSING_FOLDER_NAME",
    "META_FOLDER_NAME",
    "META_LEGACY_FOLDER_NAME",
    "META_V2_FOLDER_NAME",
    "PACKAGE_NAME",
    "PENDING_QUEUE_FOLDER_NAME",
    "TEXT_GUIDANCE_FOLDER_NAME",
    "HordeModelReferencePaths",
    "horde_model_reference_paths",
    "make_folders",
    "normalize_legacy_base_path",
    "resolve_audit_path",
    "resolve_group_aliases_path",
    "resolve_group_families_path",
    "resolve_group_schemas_path",
    "resolve_image_baseline_path",
    "resolve_licensing_path",
    "resolve_pending_queue_path",
    "resolve_text_guidance_path",
]

PACKAGE_NAME = "horde_model_reference"
LEGACY_REFERENCE_FOLDER_NAME = "legacy"
DEFAULT_SHOWCASE_FOLDER_NAME = "showcase"
META_FOLDER_NAME = "meta"
META_LEGACY_FOLDER_NAME = "legacy"
META_V2_FOLDER_NAME = "v2"
AUDIT_FOLDER_NAME = "audit"
PENDING_QUEUE_FOLDER_NAME = "pending_queue"
LICENSING_FOLDER_NAME = "licensing"
TEXT_GUIDANCE_FOLDER_NAME = "text_guidance"
IMAGE_BASELINE_FOLDER_NAME = "baselines"
GROUP_SCHEMAS_FILENAME = "text_generation_group_schemas.json"
GROUP_ALIASES_FILENAME = "text_generation_group_aliases.json"
GROUP_FAMILIES_FILENAME = "text_generation_group_families.json"

horde_model_reference_paths: HordeModelReferencePaths


def _default_root() -> Path:
    return Path(horde_environment.ai_horde_worker_settings.aiworker_cache_home).resolve() / PACKAGE_NAME


@dataclass
class HordeModelReferencePaths:
    """The places under one data root; without an argument, under the one of this process.

    A method's `base_path` stands in for the root, for that call only. Methods raise `UnknownCategory`.
    """

    base_path: Path = field(default_factory=_default_root)

    @property
    def legacy_path(self) -> Path:
        """Files in the format of the two GitHub repositories."""
        return self.base_path / LEGACY_REFERENCE_FOLDER_NAME

    @property
    def showcase_path(self) -> Path:
        """Example pictures of image models."""
        return self.base_path / DEFAULT_SHOWCASE_FOLDER_NAME

    @property
    def meta_path(self) -> Path:
        """When each category last changed, one folder a format."""
        return self.base_path / META_FOLDER_NAME

    @property
    def meta_legacy_path(self) -> Path:
        """That of the legacy format."""
        return self.meta_path / META_LEGACY_FOLDER_NAME

    @property
    def meta_v2_path(self) -> Path:
        """That of the v2 format."""
        return self.meta_path / META_V2_FOLDER_NAME

    @property
    def audit_path(self) -> Path:
        """The audit files, unless the settings put them elsewhere (`resolve_audit_path`; so for those below)."""
        return self.base_path / AUDIT_FOLDER_NAME

    @property
    def pending_queue_path(self) -> Path:
        """The queue of proposed changes."""
        return self.base_path / PENDING_QUEUE_FOLDER_NAME

    @property
    def licensing_path(self) -> Path:
        """Licences and assets."""
        return self.base_path / LICENSING_FOLDER_NAME

    @property
    def text_guidance_path(self) -> Path:
        """The guidance catalogue."""
        return self.base_path / TEXT_GUIDANCE_FOLDER_NAME

    @property
    def image_baseline_path(self) -> Path:
        """The baseline catalogue."""
        return self.base_path / IMAGE_BASELINE_FOLDER_NAME

    def get_model_reference_filename(self, category: str, *, base_path: str | Path | None = None) -> Path:
        """The v2 file: `<root>/stable_diffusion.json` for image_generation."""
        return self._root(base_path) / get_category_descriptor(category).v2_filename(category)

    def get_legacy_model_reference_filename(self, category: str, *, base_path: str | Path | None = None) -> Path:
        """The legacy file: `<root>/legacy/models.csv` for text_generation."""
        name = get_category_descriptor(category).legacy_filename(category)
        return self._root(base_path) / LEGACY_REFERENCE_FOLDER_NAME / name

    def get_metadata_filename(self, category: str, *, base_path: str | Path | None = None) -> Path:
        """The v2 metadata file, named after the category: `<root>/meta/v2/image_generation_metadata.json`."""
        folder = self._root(base_path) / META_FOLDER_NAME / META_V2_FOLDER_NAME
        return folder / f"{find_category(category)}_metadata.json"

    def get_legacy_metadata_filename(self, category: str, *, base_path: str | Path | None = None) -> Path:
        """The same of the legacy format, in `<root>/meta/legacy`."""
        folder = self._root(base_path) / META_FOLDER_NAME / META_LEGACY_FOLDER_NAME
        return folder / f"{find_category(category)}_metadata.json"

    def _root(self, base_path: str | Path | None) -> Path:
        return self.base_path if base_path is None else Path(base_path)


def normalize_legacy_base_path(base_path: str | Path) -> Path:
    """The data root, where either the root or its `legacy` folder was given."""
    path = Path(base_path)
    return path.parent if path.name == LEGACY_REFERENCE_FOLDER_NAME else path


def resolve_audit_path(base_path: str | Path | None = None) -> Path:
    """Where the settings put the audit files: under `base_path` or the data root, unless they name another root."""
    return _of_group("audit", base_path)


def resolve_pending_queue_path(base_path: str | Path | None = None) -> Path:
    """The same for the queue."""
    return _of_group("pending_queue", base_path)


def resolve_licensing_path(base_path: str | Path | None = None) -> Path:
    """The same for licences."""
    return _of_group("licensing", base_path)


def resolve_text_guidance_path(base_path: str | Path | None = None) -> Path:
    """The same for the guidance catalogue."""
    return _of_group("text_guidance", base_path)


def resolve_image_baseline_path(base_path: str | Path | None = None) -> Path:
    """The same for the baseline catalogue."""
    return _of_group("image_baselines", base_path)


def resolve_group_schemas_path(base_path: str | Path | None = None) -> Path:
    """The file of the naming schemas of text-model groups, in the data root or `base_path`."""
    return _root(base_path) / GROUP_SCHEMAS_FILENAME


def resolve_group_aliases_path(base_path: str | Path | None = None) -> Path:
    """The file of their other names."""
    return _root(base_path) / GROUP_ALIASES_FILENAME


def resolve_group_families_path(base_path: str | Path | None = None) -> Path:
    """The file of the families they belong to."""
    return _root(base_path) / GROUP_FAMILIES_FILENAME


_FOLDER_GROUPS = ("audit", "pending_queue", "licensing", "text_guidance", "image_baselines")


def make_folders(paths: HordeModelReferencePaths, settings: HordeModelReferenceSettings | None = None) -> None:
    """Create the root, logs and every folder that programs expect in it. Raises `OSError` where that is impossible."""
    logs = Path(horde_environment.ai_horde_worker_settings.logs_folder)
    fixed = (paths.base_path, logs, paths.legacy_path, paths.meta_legacy_path, paths.meta_v2_path)
    for folder in (*fixed, *(_of_group(group, paths.base_path, settings) for group in _FOLDER_GROUPS)):
        folder.mkdir(parents=True, exist_ok=True)


def _of_group(group: str, base_path: str | Path | None, settings: HordeModelReferenceSettings | None = None) -> Path:
    if settings is None:
        from horde_model_reference.settings import get_settings

        settings = get_settings()
    chosen = getattr(settings, group)
    root = Path(chosen.root_path_override) if chosen.root_path_override else _root(base_path)
    return root / str(chosen.relative_subdir)


def _root(base_path: str | Path | None) -> Path:
    return _paths().base_path if base_path is None else Path(base_path)


_lock = threading.Lock()
_of_this_process: list[HordeModelReferencePaths] = []


def _paths() -> HordeModelReferencePaths:
    with _lock:
        if not _of_this_process:
            _of_this_process.append(HordeModelReferencePaths())
        return _of_this_process[0]


def __getattr__(name: str) -> object:
    if name == "horde_model_reference_paths":
        return _paths()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
