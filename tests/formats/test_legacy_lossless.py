"""Legacy -> v2 -> legacy over whole references: the invented one always, the real one where it is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from horde_model_reference.domain.categories import get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import Finding, JsonObject, Severity
from horde_model_reference.formats.legacy import legacy_format, v1_body

INVENTED = Path(__file__).parents[1] / "fixtures" / "legacy"
CATEGORIES = [str(c) for c, row in get_all_registered_categories().items() if row.has_legacy_format]

Loaded: TypeAlias = tuple[dict[str, JsonObject], dict[str, JsonObject], list[Finding]]
"""Origins and documents by key, and all findings."""


@pytest.fixture(params=["invented", "real"])
def reference(request: pytest.FixtureRequest) -> Path:
    """A folder with the ten categories in the legacy format."""
    folder = INVENTED if request.param == "invented" else request.getfixturevalue("real_data")
    assert isinstance(folder, Path)
    return folder


def load(folder: Path, category: str) -> Loaded:
    """Read and convert one category."""
    row, form = get_category_descriptor(category), legacy_format(category)
    path = folder / str(row.github_source) / row.legacy_filename(category)
    origins, findings = form.read(path.read_bytes(), path.name)
    documents = {}
    for key, origin in origins.items():
        document, more = form.to_v2(category, key, origin)
        findings += more
        if document is not None:
            documents[key] = document
    return origins, documents, findings


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_record_nobody_changed_is_its_original(reference: Path, category: str) -> None:
    """Every field of every record, and the file written anew is the same data."""
    origins, documents, _ = load(reference, category)
    form = legacy_format(category)
    assert origins
    assert {key: form.from_v2(category, key, documents[key], origins[key]) for key in origins} == origins
    again, findings = form.read(form.write(origins), "")
    assert (list(again.items()), findings) == (list(origins.items()), [])


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_document_survives_being_written_without_an_original(reference: Path, category: str) -> None:
    """Built from the document alone, the legacy entry still says all that v2 knows."""
    _, documents, _ = load(reference, category)
    form = legacy_format(category)
    for key, document in documents.items():
        entry = form.from_v2(category, key, document, None)
        assert form.to_v2(category, key, entry)[0] == document


def test_the_text_body_of_v1_is_db_json(reference: Path) -> None:
    """As data, for all three names of all models."""
    origins, documents, _ = load(reference, "text_generation")
    published = json.loads((reference / "text" / "db.json").read_text(encoding="utf-8"))
    assert v1_body("text_generation", documents, origins) == published
    assert len(published) in (2157, 17)


def test_the_real_reference_has_few_findings(real_data: Path) -> None:
    """No record is set aside, and what is worth a look is a handful; the counts are those of the contract."""
    loaded = {category: load(real_data, category) for category in CATEGORIES}
    findings = [finding for _, _, of_category in loaded.values() for finding in of_category]
    assert not [finding for finding in findings if finding.severity is Severity.ERROR]
    assert len(findings) < 20
    counts = {category: len(documents) for category, (_, documents, _) in loaded.items()}
    assert (counts["image_generation"], counts["text_generation"], sum(counts.values())) == (161, 719, 913)
    all_documents: list[Any] = [document for _, documents, _ in loaded.values() for document in documents.values()]
    downloads = [download for document in all_documents for download in document["config"]["download"]]
    assert len(downloads) == 205
    assert sum(download["known_slow_download"] for download in downloads) == 9


def _download(document: Any, position: int = 0) -> Any:
    return document["config"]["download"][position]


def _set(field: str, value: Any) -> Callable[[Any], None]:
    return lambda document: document.__setitem__(field, value)


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "description": (_set("description", "Another."), "description"),
    "no description": (lambda document: document.pop("description"), "description"),
    "version": (_set("version", "9.9"), "version"),
    "baseline": (_set("baseline", "stable_diffusion_2_512"), "baseline"),
    "tags": (_set("tags", ["new", "tags"]), "tags"),
    "nsfw": (lambda document: document.update(nsfw=not document["nsfw"]), "nsfw"),
    "size": (_set("size_on_disk_bytes", 7), "size_on_disk_bytes"),
    "inpainting": (lambda document: document.update(inpainting=True), "inpainting"),
    "requirements": (_set("requirements", {"min_steps": 5}), "requirements"),
    "metadata": (_set("metadata", {"schema_version": "2.1.0", "created_by": "someone"}), "metadata"),
    "URL": (lambda document: _download(document).update(file_url="https://example.org/new"), "config"),
    "hash": (lambda document: _download(document).update(sha256sum="0" * 64), "config"),
    "purpose": (lambda document: _download(document).update(file_purpose="vae"), "config"),
    "embedded": (lambda document: document["config"].update(embedded_component_hashes={"vae": "1"}), "config"),
    "one more": (
        lambda document: document["config"]["download"].append(
            {"file_name": "new.pt", "file_url": "u", "sha256sum": "0" * 64, "known_slow_download": False}
        ),
        "config",
    ),
    "one before": (
        lambda document: document["config"]["download"].insert(
            0, {"file_name": "new.pt", "file_url": "", "sha256sum": "FIXME", "known_slow_download": False}
        ),
        "config",
    ),
    "none left": (lambda document: document["config"]["download"].clear(), "config"),
}


@pytest.mark.parametrize(("change", "touched"), CHANGES.values(), ids=CHANGES)
def test_a_changed_image_record_keeps_what_the_change_did_not_touch(
    reference: Path, change: Callable[[Any], None], touched: str
) -> None:
    """Every other field is the original's, configuration files stay, and the change can be read back."""
    origins, documents, _ = load(reference, "image_generation")
    form = legacy_format("image_generation")
    for key, origin in origins.items():
        document: Any = deepcopy(documents[key])
        change(document)
        entry: Any = form.from_v2("image_generation", key, document, origin)
        assert {k: v for k, v in entry.items() if k != touched} == {k: v for k, v in origin.items() if k != touched}
        assert (form.to_v2("image_generation", key, entry)[0] or {}) | {"config": 0} == document | {"config": 0}
        files: Any = origin["config"]
        assert [f for f in entry["config"]["files"] if "yaml" in f["path"]] == [
            f for f in files["files"] if "yaml" in f["path"]
        ]
        read_back: Any = form.to_v2("image_generation", key, entry)[0]
        for was, now in zip(document["config"]["download"], read_back["config"]["download"], strict=True):
            assert was | {"known_slow_download": 0} == now | {"known_slow_download": 0}


TEXT_CHANGES: dict[str, tuple[str, Any, str, str]] = {
    "description": ("description", "Another.", "description", "Another."),
    "no description": ("description", None, "description", ""),
    "parameters": ("parameters", 8_030_000_000, "parameters_bn", "8.03"),
    "whole parameters": ("parameters", 120_000_000_000, "parameters_bn", "120"),
    "tags": ("tags", ["a", "b"], "tags", "a,b"),
    "settings": ("settings", {"top_k": 1, "stop": ["é"]}, "settings", '{"top_k": 1, "stop": ["é"]}'),
    "no settings": ("settings", None, "settings", ""),
    "instruct_format": ("instruct_format", "Alpaca", "instruct_format", "Alpaca"),
    "no instruct_format": ("instruct_format", None, "instruct_format", ""),
    "nsfw": ("nsfw", True, "nsfw", "true"),
    "version": ("version", "2", "version", "2"),
    "context_window": ("context_window", {"native": 4096}, "context_window", '{"native": 4096}'),
}


@pytest.mark.parametrize(("field", "value", "column", "cell"), TEXT_CHANGES.values(), ids=TEXT_CHANGES)
def test_a_changed_text_record_keeps_the_other_cells(
    reference: Path, field: str, value: Any, column: str, cell: str
) -> None:
    """Verbatim, with their spaces; and the change can be read back."""
    origins, documents, _ = load(reference, "text_generation")
    form = legacy_format("text_generation")
    for key, origin in origins.items():
        document = documents[key] | {field: value}
        if value is None:
            del document[field]
        entry = form.from_v2("text_generation", key, document, origin)
        expected = origin if documents[key].get(field) == value else origin | {column: cell}
        assert entry == expected
        assert {k: v for k, v in (form.to_v2("text_generation", key, entry)[0] or {}).items() if v != ""} == {
            k: v for k, v in document.items() if v != ""
        }


def test_the_times_a_primary_stamps_are_no_change(reference: Path) -> None:
    """A v2 file of a running service carries created_at and updated_at; the legacy entry stays the original."""
    for category in ("image_generation", "esrgan"):
        origins, documents, _ = load(reference, category)
        for key, origin in origins.items():
            stamped: Any = deepcopy(documents[key])
            stamped.setdefault("metadata", {}).update(created_at=1_700_000_000, updated_at=1_700_000_001)
            assert legacy_format(category).from_v2(category, key, stamped, origin) == origin
