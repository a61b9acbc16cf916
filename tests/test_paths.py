"""Where the files lie: the same names and places that other programs expect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from horde_model_reference import path_consts
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.path_consts import HordeModelReferencePaths
from horde_model_reference.settings import AuditSettings, HordeModelReferenceSettings
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
    """v2 and legacy files, and the metadata of both, for all 15 categories."""
    paths = HordeModelReferencePaths(ROOT)
    getters = {
        "v2_path_template": paths.get_model_reference_filename,
        "legacy_path_template": paths.get_legacy_model_reference_filename,
        "v2_metadata_path_template": paths.get_metadata_filename,
        "legacy_metadata_path_template": paths.get_legacy_metadata_filename,
    }
    for row in facts["category_descriptors"]:
        for template, getter in getters.items():
            assert getter(row["category"]) == Path(row[template].replace("<AIWORKER_CACHE_HOME>", "data"))


def test_every_folder_lies_where_the_contract_says(facts: dict[str, Any]) -> None:
    """Folders by their names, files of groups by theirs."""
    paths = HordeModelReferencePaths(ROOT)
    attributes = {"meta_legacy": "meta_legacy_path", "meta_v2": "meta_v2_path", "baselines": "image_baseline_path"}
    for name, place in facts["default_paths"]["subfolders"].items():
        assert getattr(paths, attributes.get(name, f"{name}_path")) == ROOT / place
    files = facts["default_paths"]["files"]
    for name in ("group_schemas", "group_aliases", "group_families"):
        assert getattr(path_consts, f"resolve_{name}_path")(ROOT) == ROOT / files[name]


def test_the_constants_are_those_of_the_contract(facts: dict[str, Any]) -> None:
    """All constants that the contract lists for this module."""
    expected = {
        name: row["value"]
        for name, row in facts["scalar_constants"].items()
        if "horde_model_reference.path_consts" in row["modules"]
    }
    assert {name: getattr(path_consts, name) for name in expected} == expected


def test_the_file_names_that_differ_from_their_category() -> None:
    """Image generation and text generation are the two exceptions; a base path stands in for the root."""
    paths = HordeModelReferencePaths(ROOT)
    assert paths.get_model_reference_filename("image_generation") == ROOT / "stable_diffusion.json"
    assert paths.get_legacy_model_reference_filename("text_generation", base_path="x") == Path("x/legacy/models.csv")


def test_an_unknown_category_has_no_file() -> None:
    """Nor could its name become a path."""
    with pytest.raises(UnknownCategory):
        HordeModelReferencePaths(ROOT).get_metadata_filename("../../etc/passwd")


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
        "import sys; from horde_model_reference.path_consts import *; from horde_model_reference.path_consts import"
        " make_folders; from horde_model_reference.settings import *; from pathlib import Path;"
        f"make_folders(HordeModelReferencePaths(Path({str(paths.base_path)!r})),"
        f" HordeModelReferenceSettings(audit={audit.model_dump()!r}))",
        LOGS_FOLDER=str(tmp_path / "logs"),
    )
    made = {str(folder.relative_to(tmp_path)) for folder in tmp_path.rglob("*")}
    inside = ("legacy", "meta", "meta/legacy", "meta/v2", "pending_queue", "licensing", "text_guidance", "baselines")
    assert made == {"root", "logs", "elsewhere", "elsewhere/log", *(f"root/{name}" for name in inside)}


def test_resolving_honours_the_settings_of_the_process(tmp_path: Path) -> None:
    """The folder's name under the given root."""
    code = "from horde_model_reference.path_consts import *; print(resolve_licensing_path('r'))"
    assert python(code, HORDE_MODEL_REFERENCE_LICENSING__RELATIVE_SUBDIR="law") == "r/law"


def test_a_legacy_folder_is_taken_for_its_root() -> None:
    """So that `legacy` is never appended twice."""
    assert path_consts.normalize_legacy_base_path(ROOT / "legacy") == ROOT
    assert path_consts.normalize_legacy_base_path(str(ROOT)) == ROOT
    assert HordeModelReferenceSettings.model_fields["make_folders"].default is False
