"""Where the files of the reference lie: names and places, nothing is opened.

The data root is `horde_model_reference` in `AIWORKER_CACHE_HOME`. It is resolved when it is first asked for, not at
import. Only `make_folders` touches the disk, and it is called when a manager is built with `MAKE_FOLDERS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from horde_model_reference.domain.categories import get_category_descriptor
from horde_model_reference.horde_environment import horde_environment

if TYPE_CHECKING:
    from horde_model_reference.settings import HordeModelReferenceSettings

__all__ = ["DEFAULT_SHOWCASE_FOLDER_NAME", "HordeModelReferencePaths", "horde_model_reference_paths", "make_folders"]

DEFAULT_SHOWCASE_FOLDER_NAME = "showcase"

horde_model_reference_paths: HordeModelReferencePaths


@dataclass
class HordeModelReferencePaths:
    """The places under one data root."""

    base_path: Path = field(
        default_factory=lambda: Path(horde_environment().aiworker_cache_home).resolve() / "horde_model_reference"
    )

    @property
    def legacy_path(self) -> Path:
        """Files in the format of the two GitHub repositories."""
        return self.base_path / "legacy"

    def get_model_reference_filename(self, category: str, *, base_path: str | Path | None = None) -> Path:
        """The v2 file, `<root>/stable_diffusion.json` for image_generation. Raises `UnknownCategory`."""
        return Path(base_path or self.base_path) / get_category_descriptor(category).v2_filename(category)


def make_folders(paths: HordeModelReferencePaths, settings: HordeModelReferenceSettings) -> None:
    """Create the root, logs and every folder that programs expect in it. Raises `OSError` where that is impossible."""
    root, s = paths.base_path, settings
    fixed = (root, Path(horde_environment().logs_folder), root / "legacy", root / "meta/legacy", root / "meta/v2")
    groups = (s.audit, s.pending_queue, s.licensing, s.text_guidance, s.image_baselines)
    for folder in (*fixed, *(Path(group.root_path_override or root) / group.relative_subdir for group in groups)):
        folder.mkdir(parents=True, exist_ok=True)


def __getattr__(name: str) -> object:
    if name == "horde_model_reference_paths":
        return globals().setdefault(name, HordeModelReferencePaths())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
