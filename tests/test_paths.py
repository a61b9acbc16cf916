"""Where the files lie: the same names and places that other programs expect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from horde_model_reference import path_consts
from horde_model_reference.domain.categories import get_category_descriptor
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.path_consts import HordeModelReferencePaths
from horde_model_reference.settings import AuditSettings
from tests.test_environment import python

ROOT = Path("data") / "horde_model_reference"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """The facts about paths; skips where the contract is not at hand."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "contract"
    file = Path(os.environ.get("HORDE_CONTRACT", beside)) / "enums.json"
    if not file.is_file():
        pytest.skip("the contract is not at hand (set HORDE_CONTRACT)")
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return facts


def test_every_category_lies_where_the_contract_says(facts: dict[str, Any]) -> None:
    """v2 and legacy files, for all 15 categories."""
    paths = HordeModelReferencePaths(ROOT)
    for row in facts["category_descriptors"]:
        category = row["category"]
        legacy = paths.legacy_path / get_category_descriptor(category).legacy_filename(category)
        files = {"v2_path_template": paths.get_model_reference_filename(category), "legacy_path_template": legacy}
        for template, file in files.items():
            assert file == Path(row[template].replace("<AIWORKER_CACHE_HOME>", "data"))


def test_the_legacy_folder_lies_where_the_contract_says(facts: dict[str, Any]) -> None:
    """Clients keep files of their own in it."""
    assert HordeModelReferencePaths(ROOT).legacy_path == ROOT / facts["default_paths"]["subfolders"]["legacy"]
    showcase = facts["scalar_constants"]["DEFAULT_SHOWCASE_FOLDER_NAME"]["value"]
    assert showcase == path_consts.DEFAULT_SHOWCASE_FOLDER_NAME


def test_the_file_names_that_differ_from_their_category() -> None:
    """Image generation and text generation are the two exceptions; a base path stands in for the root."""
    paths = HordeModelReferencePaths(ROOT)
    assert paths.get_model_reference_filename("image_generation") == ROOT / "stable_diffusion.json"
    assert paths.get_model_reference_filename("text_generation", base_path="x") == Path("x/text_generation.json")
    assert get_category_descriptor("text_generation").legacy_filename("text_generation") == "models.csv"


def test_an_unknown_category_has_no_file() -> None:
    """Nor could its name become a path."""
    with pytest.raises(UnknownCategory):
        HordeModelReferencePaths(ROOT).get_model_reference_filename("../../etc/passwd")


def test_the_root_follows_the_worker_cache(tmp_path: Path) -> None:
    """By the environment at import; the module-level object is the same each time."""
    code = (
        "from horde_model_reference import path_consts as p;"
        "assert p.horde_model_reference_paths is p.horde_model_reference_paths;"
        "print(p.horde_model_reference_paths.base_path)"
    )
    assert python(code, AIWORKER_CACHE_HOME=str(tmp_path)) == str(tmp_path.resolve() / "horde_model_reference")


def test_folders_are_made_only_when_asked_for(tmp_path: Path) -> None:
    """All folders of the contract, under the root, and one group elsewhere as its setting says."""
    paths = HordeModelReferencePaths(tmp_path / "root")
    assert not paths.base_path.exists()
    audit = AuditSettings(root_path_override=str(tmp_path / "elsewhere"), relative_subdir="log")
    python(
        "from horde_model_reference.path_consts import *; from horde_model_reference.settings import *;"
        "from pathlib import Path;"
        f"make_folders(HordeModelReferencePaths(Path({str(paths.base_path)!r})),"
        f" HordeModelReferenceSettings(audit={audit.model_dump()!r}))",
        LOGS_FOLDER=str(tmp_path / "logs"),
    )
    made = {str(folder.relative_to(tmp_path)) for folder in tmp_path.rglob("*")}
    inside = ("legacy", "meta", "meta/legacy", "meta/v2", "pending_queue", "licensing", "text_guidance", "baselines")
    assert made == {"root", "logs", "elsewhere", "elsewhere/log", *(f"root/{name}" for name in inside)}
