"""The data the package carries: a starter catalogue of true facts in our own words, and the baseline catalogue."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.record_parts import DownloadRecord
from horde_model_reference.domain.records import get_record_type_for_category
from horde_model_reference.domain.text_names import text_model_group
from horde_model_reference.domain.validation import unknown_value_findings, validate_records
from horde_model_reference.domain.vocabulary import (
    KNOWN_IMAGE_GENERATION_BASELINE,
    KNOWN_TAGS,
    BaselineDescriptor,
    get_baseline_descriptor,
)
from horde_model_reference.formats.json_codec import decode_object, encode_pretty

DATA = resources.files("horde_model_reference") / "data"
EMPTY_CATEGORIES = {"video_generation", "audio_generation"}
CATEGORIES = [c.value for c in CANONICAL_CATEGORIES if c.value not in EMPTY_CATEGORIES]
LEGACY_BASELINES = {"stable diffusion 1": "stable_diffusion_1", "stable diffusion 2": "stable_diffusion_2_768"}


class Entry(NamedTuple):
    """One starter record and where it stands."""

    category: str
    key: str
    record: JsonObject


def _objects(value: JsonValue) -> list[JsonObject]:
    return cast("list[JsonObject]", value)


def _starter(category: str) -> JsonObject:
    name = get_category_descriptor(category).v2_filename(category)
    return decode_object((DATA / "starter" / name).read_bytes(), where=name)


def _entries() -> list[Entry]:
    return [Entry(c, key, cast("JsonObject", record)) for c in CATEGORIES for key, record in _starter(c).items()]


def _downloads(record: JsonObject) -> list[JsonObject]:
    return _objects(cast("JsonObject", record["config"])["download"])


ENTRIES = _entries()
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=[f"{e.category}:{e.key}" for e in ENTRIES])


def test_the_starter_has_about_thirty_records_over_all_categories_with_data() -> None:
    """Each category with canonical data has its file, no other file lies beside, and the size is as promised."""
    expected = {get_category_descriptor(c).v2_filename(c) for c in CATEGORIES}
    assert {item.name for item in (DATA / "starter").iterdir()} == expected
    assert all(_starter(category) for category in CATEGORIES)
    assert 27 <= len(ENTRIES) <= 36


def test_the_starter_covers_several_baselines_and_a_name_with_a_slash() -> None:
    """Demo, docs and tests rely on it: five baselines, an inpainting model, ViT-L/14, two models of one group."""
    images = [e.record for e in ENTRIES if e.category == "image_generation"]
    groups = [e.record["text_model_group"] for e in ENTRIES if e.category == "text_generation"]
    used = {"stable_diffusion_1", "stable_diffusion_2_768", "stable_diffusion_xl", "stable_cascade", "flux_1"}
    assert {r["baseline"] for r in images} == used
    assert [r["name"] for r in images if r.get("inpainting")] == ["stable_diffusion_inpainting"]
    assert "ViT-L/14" in _starter("clip")
    assert len(groups) > len(set(groups)) >= 6


def test_the_groups_of_the_starter_text_models_are_what_their_names_say() -> None:
    """A stored group that the name parser would not give splits one family in two."""
    records = [e.record for e in ENTRIES if e.category == "text_generation"]
    stored = {str(record["name"]): record["text_model_group"] for record in records}
    assert stored == {name: text_model_group(name) for name in stored}


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_starter_file_is_written_the_way_our_codec_writes(category: str) -> None:
    """Two spaces, UTF-8, one newline at the end: rewriting the file changes nothing."""
    name = get_category_descriptor(category).v2_filename(category)
    assert encode_pretty(_starter(category)) == (DATA / "starter" / name).read_bytes()


@every_entry
def test_a_starter_record_stands_under_its_own_name_and_category(entry: Entry) -> None:
    """Key, name, record type and classification agree."""
    classification = get_category_descriptor(entry.category).classification.model_dump(mode="json")
    assert entry.record["name"] == entry.key
    assert entry.record["record_type"] == entry.category
    assert entry.record["model_classification"] == classification


def _field_names(record_type: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in record_type.model_fields.items()]


@every_entry
def test_a_starter_record_has_its_fields_in_the_order_of_its_class(entry: Entry) -> None:
    """No unknown field, no null, and the documented order in the record and in its downloads."""
    known = _field_names(get_record_type_for_category(entry.category))
    of_download = _field_names(DownloadRecord)
    assert list(entry.record) == sorted(entry.record, key=known.index)
    assert None not in entry.record.values()
    for download in _downloads(entry.record):
        assert list(download) == sorted(download, key=of_download.index)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_starter_record_is_valid_and_of_known_values(category: str) -> None:
    """Validation sets nothing aside, warns of nothing, and what was read writes back as the same documents."""
    documents = _starter(category)
    records, findings = validate_records(category, encode_pretty(documents))
    written = {
        name: record.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        for name, record in records.items()
    }
    assert [*findings, *unknown_value_findings(records)] == []
    assert written == documents


@every_entry
def test_a_starter_record_says_in_a_sentence_or_two_what_the_model_is(entry: Entry) -> None:
    """Descriptions are neither empty nor essays, and tags of image models are of the known vocabulary."""
    description = str(entry.record["description"])
    assert 50 <= len(description) <= 200
    assert description.endswith(".")
    if entry.category == "image_generation":
        assert set(cast("list[str]", entry.record["tags"])) <= KNOWN_TAGS


@every_entry
def test_a_starter_download_can_be_fetched_and_verified(entry: Entry) -> None:
    """https addresses, lower-case hashes or the sentinel, no file name that leaves its folder, slow hosts marked."""
    assert _downloads(entry.record) or entry.category == "text_generation"
    for download in _downloads(entry.record):
        url, name = urlsplit(str(download["file_url"])), str(download["file_name"])
        assert url.scheme == "https"
        assert url.hostname
        assert re.fullmatch(r"[0-9a-f]{64}|FIXME", str(download["sha256sum"]))
        assert name[0] != "/"
        assert ".." not in name.split("/")
        assert download["known_slow_download"] is (url.hostname == "civitai.com")


def test_only_files_whose_hash_nobody_published_have_the_sentinel() -> None:
    """FIXME stands for a fact that is truly unknown: three small or unhashed files, no more."""
    unknown = [d["file_name"] for e in ENTRIES for d in _downloads(e.record) if d["sha256sum"] == "FIXME"]
    assert unknown == ["annotators/lllyasviel/Annotators/ControlNetHED.pth", "config.json", "preprocessor_config.json"]


def _legacy_image(folder: Path, category: str) -> JsonObject:
    name = get_category_descriptor(category).legacy_filename(category)
    return decode_object((folder / "image" / name).read_bytes(), where=name)


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "text" / "models.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def _real_descriptions(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "image").glob("*.json")):
        for record in decode_object(path.read_bytes()).values():
            yield str(cast("JsonObject", record).get("description") or "")
    yield from (row["description"] for row in _rows(folder).values())


def _runs_of_words(text: str, length: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def test_no_starter_description_borrows_from_the_real_reference(real_data: Path) -> None:
    """None equals a real description, nor shares eight words in a row with one."""
    real = list(_real_descriptions(real_data))
    runs = set().union(*map(_runs_of_words, real))
    for entry in ENTRIES:
        description = str(entry.record["description"])
        assert description not in real
        assert not _runs_of_words(description) & runs, entry.key


def _real_files(record: JsonObject) -> dict[str, tuple[str, str, str]]:
    """Of a legacy record: file name -> (URL, hash or sentinel, purpose); yaml files are no downloads."""
    config = cast("JsonObject", record["config"])
    urls = {str(d["file_name"]): str(d["file_url"]) for d in _objects(config["download"])}
    return {
        path: (urls[path], str(f.get("sha256sum") or "FIXME").lower(), str(f.get("file_type")))
        for f in _objects(config["files"])
        if not (path := str(f["path"])).endswith(".yaml")
    }


def _our_files(record: JsonObject) -> dict[str, tuple[str, str, str]]:
    return {
        str(d["file_name"]): (str(d["file_url"]), str(d["sha256sum"]).lower(), str(d.get("file_purpose")))
        for d in _downloads(record)
    }


@pytest.mark.parametrize(
    "entry",
    [e for e in ENTRIES if e.category not in ("text_generation", "controlnet_annotator")],
    ids=lambda entry: f"{entry.category}:{entry.key}",
)
def test_the_facts_of_a_starter_record_are_those_of_the_real_one(entry: Entry, real_data: Path) -> None:
    """Files, addresses, hashes, size, version, baseline, flags and requirements equal the published reference's."""
    real = cast("JsonObject", _legacy_image(real_data, entry.category)[entry.key])
    ours = entry.record
    assert _our_files(ours) == _real_files(real)
    assert ours.get("version") == real.get("version")
    if "size_on_disk_bytes" in ours:
        assert ours["size_on_disk_bytes"] == real["size_on_disk_bytes"]
    if entry.category == "controlnet":
        assert ours["controlnet_style"] == real["type"]
    if entry.category == "image_generation":
        assert ours["baseline"] == LEGACY_BASELINES.get(str(real["baseline"]), real["baseline"])
        same = ("nsfw", "style", "homepage", "requirements", "optimization")
        assert [ours.get(field) for field in same] == [real.get(field) for field in same]
        assert ours.get("inpainting", False) == real["inpainting"]
        assert ours["trigger"] == real.get("trigger", [])


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.category == "text_generation"], ids=lambda entry: str(entry.key)
)
def test_the_facts_of_a_starter_text_model_are_those_of_the_real_row(entry: Entry, real_data: Path) -> None:
    """Parameters are exact, and address, baseline and instruction format equal the published row's."""
    row = _rows(real_data)[entry.key]
    assert entry.record["parameters"] == Decimal(row["parameters_bn"]) * 10**9
    assert entry.record["url"] == row["url"]
    assert entry.record["baseline"] == row["baseline"]
    assert entry.record.get("instruct_format", "") == row["instruct_format"]
    assert not row["style"] or entry.record["style"] == row["style"]


def _catalog() -> JsonObject:
    return decode_object((DATA / "baselines" / "catalog.json").read_bytes(), where="catalog.json")


def test_the_baseline_catalogue_knows_every_baseline_of_this_version() -> None:
    """Each known baseline has a record under its own name, with the resolution and names that the library knows."""
    baselines = cast("dict[str, JsonObject]", _catalog()["baselines"])
    assert list(baselines) == list(KNOWN_IMAGE_GENERATION_BASELINE)
    for name, record in baselines.items():
        names = tuple(cast("list[str]", record["alternative_names"]))
        assert record["name"] == name
        assert BaselineDescriptor(cast("int | None", record["native_resolution"]), names) == get_baseline_descriptor(
            name
        )


def test_every_image_model_of_the_starter_stands_on_a_baseline_of_the_catalogue() -> None:
    """By its canonical name, so that a record can be proposed again as it is."""
    used = {e.record["baseline"] for e in ENTRIES if e.category == "image_generation"}
    assert used <= set(cast("JsonObject", _catalog()["baselines"]))


def test_no_spelling_in_the_baseline_catalogue_means_two_baselines() -> None:
    """An alternative name leads to one baseline only."""
    baselines = cast("dict[str, JsonObject]", _catalog()["baselines"])
    owners: dict[str, set[str]] = {}
    for name, record in baselines.items():
        for spelling in (name, *cast("list[str]", record["alternative_names"])):
            owners.setdefault(spelling.casefold(), set()).add(name)
    assert {spelling: names for spelling, names in owners.items() if len(names) > 1} == {}
