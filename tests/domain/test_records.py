"""The record classes, against the recorded contract where it is at hand, and on their own."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from horde_model_reference import model_reference_records as mrr
from horde_model_reference.domain import categories, record_parts, records
from horde_model_reference.domain.findings import Severity
from horde_model_reference.domain.validation import unknown_value_findings, validate_record, validate_records
from horde_model_reference.errors import MalformedInput
from horde_model_reference.process import bulk

_CONTRACT = Path(os.environ.get("HORDE_CONTRACT", Path(__file__).resolve().parents[3] / "shared" / "contract"))
_IMAGE = {"name": "m", "baseline": "stable_diffusion_xl", "nsfw": False}
_GUIDANCE = ("GuidanceSource", "SupportClaim", "TextContextWindow", "TextGuidanceSummary")
_LATER = "TextModelGroupNameSchema"  # comes with what composes and checks the names of text models

# Probes whose outcome differs on purpose (contract README §1): class, input beyond the minimum -> what ours dumps.
_ON_PURPOSE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ImageGenerationModelRecord", {"style": "weird"}, {"style": "weird"}),
    ("ImageGenerationModelRecord", {"style": ""}, {"style": ""}),
    ("ImageGenerationModelRecord", {"bogus": 1}, {"bogus": 1}),
    ("ImageGenerationModelRecord", {"metadata": {"created_at": 1, "zz": 2}}, {"metadata": {"created_at": 1, "zz": 2}}),
    ("ImageGenerationModelRecord", {"config": {"files": []}}, {"config": {"files": []}}),
]


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The recorded schemas and probes; tests that ask for them skip where they are absent."""
    file = _CONTRACT / "record_schemas.json"
    if not file.is_file():
        pytest.skip("the contract is not at hand (set HORDE_CONTRACT)")
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What a test registers is gone when it ends."""
    growing: tuple[dict[str, Any], ...] = (categories._DESCRIPTORS, records._TYPES)
    before = [dict(each) for each in growing]
    yield
    for each, values in zip(growing, before, strict=True):
        each.clear()
        each.update(values)


class Overlay(mrr.LoraModelRecord):
    """What an engine makes of a record class."""

    hits: int = 0


def _image(**more: Any) -> mrr.ImageGenerationModelRecord:
    return mrr.ImageGenerationModelRecord.model_validate(_IMAGE | more)


def _ours(name: str) -> type[BaseModel]:
    for place in (mrr, record_parts, categories):
        found = getattr(place, name, None)
        if found is not None:
            assert isinstance(found, type)
            assert issubclass(found, BaseModel)
            return found
    raise AssertionError(name)


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_prose(v) for k, v in schema.items() if k != "description" or isinstance(v, dict)}
    return [_without_prose(item) for item in schema] if isinstance(schema, list) else schema


def _ordered(schema: Any) -> Any:
    return schema | {"$defs": dict(sorted(schema["$defs"].items()))} if "$defs" in schema else schema


def test_every_class_has_the_recorded_schema(contract: dict[str, Any]) -> None:
    """Fields, order, aliases, defaults, requiredness and types, of records, licensing, guidance and classification."""
    recorded = contract["v2"] | contract["licensing"] | contract["classification"]
    del recorded[_LATER]
    recorded |= {name: contract["text_guidance"][name] for name in _GUIDANCE}
    for name, facts in recorded.items():
        cls = _ours(name)
        assert list(cls.model_fields) == list(facts["fields"]), name
        aliases = {field: info.alias for field, info in cls.model_fields.items()}
        assert aliases == {field: info["alias"] for field, info in facts["fields"].items()}, name
        required = {field: info.is_required() for field, info in cls.model_fields.items()}
        assert required == {field: info["required"] for field, info in facts["fields"].items()}, name
        schema = _without_prose(cls.model_json_schema())
        assert _ordered(schema) == _ordered(facts["json_schema_validation"]), name
        assert list(schema["properties"]) == list(facts["json_schema_validation"]["properties"]), name
        assert bool(cls.model_config.get("frozen")) is facts["frozen"], name


def test_every_probe_gives_what_was_recorded(contract: dict[str, Any]) -> None:
    """Dumps in full, by alias and of set fields, or the place and kind of each error, save what differs on purpose."""
    minima = {"ImageGenerationModelRecord": _IMAGE}
    on_purpose = [(cls, minima[cls] | extra) for cls, extra, _ in _ON_PURPOSE]
    probes = [p for p in contract["probes"] if p["class"] in contract["v2"] and p["class"] != _LATER]
    compared = [p for p in probes if (p["class"], p["input"]) not in on_purpose]
    assert len(probes) - len(compared) == len(_ON_PURPOSE)
    for probe in compared:
        assert _outcome(probe) == _recorded(probe), probe


def _recorded(probe: dict[str, Any]) -> object:
    if "errors" in probe:
        return [(e["type"], e["loc"]) for e in probe["errors"]]
    unset = probe.get("dump_exclude_unset")
    return [json.dumps(part) for part in (probe["dump"], unset, probe.get("dump_by_alias")) if part is not None]


def _outcome(probe: dict[str, Any]) -> object:
    before = copy.deepcopy(probe["input"])
    try:
        record = _ours(probe["class"]).model_validate(probe["input"])
    except ValidationError as error:
        return [(e["type"], list(e["loc"])) for e in error.errors()]
    assert probe["input"] == before
    dumps = [record.model_dump(mode="json", exclude_none=True)]
    if "dump_exclude_unset" in probe:
        dumps.append(record.model_dump(mode="json", exclude_unset=True))
    if "dump_by_alias" in probe:
        dumps.append(record.model_dump(mode="json", exclude_none=True, by_alias=True))
    return [json.dumps(dump) for dump in dumps]


def test_the_lookup_is_as_recorded(contract: dict[str, Any]) -> None:
    """Each category is read as the class that clients expect."""
    ours = {c: cls.__name__ for c, cls in mrr.MODEL_RECORD_TYPE_LOOKUP.items() if c in contract["record_type_lookup"]}
    assert ours == contract["record_type_lookup"]


@pytest.mark.parametrize(("cls", "given", "dumped"), _ON_PURPOSE)
def test_what_nobody_knows_is_kept(cls: str, given: dict[str, Any], dumped: dict[str, Any]) -> None:
    """Unknown fields, in the record and in its parts, and unknown styles survive a read and a write."""
    record = _ours(cls).model_validate_json(json.dumps(_IMAGE | given))
    dump = record.model_dump(mode="json", exclude_unset=True)
    assert dump | dumped == dump


def test_a_test_environment_refuses_unknown_fields() -> None:
    """`AI_HORDE_TESTING` counts when the package is imported, for records, their parts and the clients' own models."""
    code = """
from horde_model_reference.model_reference_records import *
from horde_model_reference.model_reference_records import get_default_config
image = {"name": "m", "baseline": "b", "nsfw": False}
for extra in ({"zz": 1}, {"metadata": {"zz": 1}}, {"config": {"zz": 1}}):
    try:
        ImageGenerationModelRecord.model_validate(image | extra)
    except ValueError as error:
        print([(e["type"], e["loc"]) for e in error.errors()])
print(get_default_config())
"""
    environment = os.environ | {"AI_HORDE_TESTING": "True"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == [
        "[('extra_forbidden', ('zz',))]",
        "[('extra_forbidden', ('metadata', 'zz'))]",
        "[('extra_forbidden', ('config', 'zz'))]",
        "{'extra': 'forbid', 'populate_by_name': True}",
    ]


def test_the_default_config_of_clients_drops_unknown_fields() -> None:
    """Clients assign it to models of their own."""
    assert mrr.get_default_config() == {"extra": "ignore", "populate_by_name": True}


def test_unknown_values_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Baseline, style, scheduler and control type, in the words of the contract."""
    for _ in range(2):
        _image(name="u", baseline="b-1", style="s-1", requirements={"schedulers": ["n-1", "karras"]})
        mrr.ControlNetModelRecord(name="u", controlnet_style="c-1")
    fields = ("baseline 'b-1'", "style 's-1'", "requirements.schedulers 'n-1'", "controlnet_style 'c-1'")
    expected = [f"Unknown {field} (first seen on model u); the value is kept as written." for field in fields]
    assert caplog.messages == expected


def test_known_and_alternative_values_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    """`SDXL` is another name of a known baseline, and is kept as written."""
    assert _image(baseline="SDXL", style="anime", requirements={"schedulers": ["karras"]}).baseline == "SDXL"
    assert caplog.messages == []


def test_a_record_can_be_changed_copied_and_subclassed() -> None:
    """Workers do all three; a copy does not share what the original holds."""

    record = Overlay.model_validate({"name": "l", "hits": 3, "zz": 1})
    record.trigger = ["x"]
    record.config.download.append(mrr.DownloadRecord(file_name="f", file_url="u"))
    again = Overlay.model_validate(record.model_dump(mode="json"))
    assert again == record
    assert (again.hits, again.model_extra) == (3, {"zz": 1})
    assert pickle.loads(pickle.dumps(record)) == record
    deep = record.model_copy(deep=True, update={"name": "n"})
    deep.config.download.clear()
    deep.metadata.created_at = 5
    assert (record.name, record.download_count, record.metadata.created_at) == ("l", 1, None)
    assert "created_at" in deep.metadata.model_fields_set
    assert "created_at" not in record.metadata.model_fields_set


def test_two_records_share_nothing_that_can_be_changed() -> None:
    """A caller who changes what it was given harms nobody else."""
    one, two = (
        r for r in validate_records("image_generation", json.dumps({"a": _IMAGE, "b": _IMAGE}).encode())[0].values()
    )
    assert isinstance(one, mrr.ImageGenerationModelRecord)
    assert isinstance(two, mrr.ImageGenerationModelRecord)
    before = two.model_copy(deep=True)
    one.description, one.metadata.created_at = "d", 1
    one.config.embedded_component_hashes = {"vae": "h"}
    one.model_classification.domain = categories.MODEL_DOMAIN.text
    one.tags = [*(one.tags or []), "t"]
    assert one.trigger == []
    one.trigger.append("x")
    assert two == before
    assert two.model_fields_set == before.model_fields_set
    assert "description" in one.model_fields_set


def test_the_properties_tell_of_the_files() -> None:
    """Counts, addresses and sizes; a file without address or size is no error."""
    assert (_image().declared_total_size_bytes, _image().primary_download_url, _image().download_count) == (
        None,
        None,
        0,
    )
    files: list[dict[str, Any]] = [
        {"file_name": "a", "file_url": ""},
        {"file_name": "b", "file_url": "u", "size_bytes": 5},
    ]
    record = _image(config={"download": files})
    assert (record.download_count, record.all_download_urls, record.primary_download_url) == (2, ["u"], "u")
    assert record.declared_total_size_bytes is None
    files[0] = {"file_name": "a", "file_url": "", "size_bytes": 2}
    assert _image(config={"download": files}).declared_total_size_bytes == 7
    assert _image(config={"download": files}, size_on_disk_bytes=9).declared_total_size_bytes == 9


def test_the_category_is_a_member_where_it_is_one() -> None:
    """Clients use it as a key, beside the enum's members."""
    assert _image().category is categories.MODEL_REFERENCE_CATEGORY.image_generation
    assert _image(record_type="hologram").category == "hologram"


def test_a_subclass_that_refuses_unknown_fields_says_so_in_its_schema() -> None:
    """Only the silence about kept fields is ours; what a client forbids is published."""

    class Closed(mrr.BlipModelRecord):
        model_config = ConfigDict(extra="forbid")

    assert Closed.model_json_schema()["additionalProperties"] is False


def test_a_baseline_equals_its_enum_member() -> None:
    """Clients compare it to members, and call the enum with it."""
    for record in (_image(), mrr.ImageGenerationModelRecord.model_validate_json(json.dumps(_IMAGE))):
        assert record.baseline == "stable_diffusion_xl"
        assert record.model_dump(mode="json")["baseline"] == "stable_diffusion_xl"


def test_scheduler_requirements_are_not_changed_in_place() -> None:
    """The caller's dict stays as it was; what is no dict is left for the field to refuse."""
    given = {"karras": True}
    assert mrr.normalize_scheduler_requirements(given) == {"schedulers": ["karras"]}
    assert given == {"karras": True}
    with pytest.raises(ValidationError, match="valid dictionary"):
        _image(requirements=5)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.lists(st.booleans()), max_size=4))
def test_unknown_fields_survive_a_round_trip(extra: dict[str, Any]) -> None:
    """Whatever they are called and hold, as long as no field of ours has the name."""
    extra = {k: v for k, v in extra.items() if k not in mrr.MiscellaneousModelRecord.model_fields}
    written = {"name": "m", "config": {"download": [], **extra}, **extra}
    if "download" in extra or "embedded_component_hashes" in extra:
        return
    record = mrr.MiscellaneousModelRecord.model_validate_json(json.dumps(written))
    assert record.model_dump(mode="json", exclude_unset=True) == written


def test_one_bad_record_is_one_bad_record() -> None:
    """The others are served in order, and each finding names record, field and reason."""
    bad = _IMAGE | {"requirements": {"x": {"y": 1}}, "config": {"download": [{"file_name": "q"}]}}
    document = {"a": _IMAGE, "b": bad, "c": 5, "d": [], "e": _IMAGE | {"zz": [1, float("nan")]}, "f": _IMAGE}
    kept, findings = validate_records("image_generation", json.dumps(document).encode())
    assert list(kept) == ["a", "f"]
    assert {(f.record, f.field) for f in findings} == {
        ("b", "config.download.0.file_url"), ("b", "requirements.x"), ("c", ""), ("d", ""), ("e", "zz.1")
    }  # fmt: skip
    assert all(f.severity is Severity.ERROR and f.reason for f in findings)


def test_a_number_that_is_not_finite_sets_its_record_aside() -> None:
    """Also where a field knows its type, and the words NaN and Infinity in a text do no harm."""
    document = {"NaN": _IMAGE | {"description": "to Infinity"}, "b": _IMAGE | {"requirements": {"cfg": float("inf")}}}
    kept, findings = validate_records("image_generation", json.dumps(document).encode())
    assert list(kept) == ["NaN"]
    assert [str(f) for f in findings] == ["b: requirements.cfg: a number must be finite"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b'{"a": 1', b"\xff", b'{"a": "\\ud800"}', b"[" * 100_000, b"<html>"]
)
def test_a_document_that_is_no_object_is_refused_whole(body: bytes) -> None:
    """There is nothing in it that could be served."""
    with pytest.raises(MalformedInput):
        validate_records("image_generation", body)


def test_a_byte_order_mark_is_skipped() -> None:
    """Editors on Windows write one."""
    assert list(validate_records("blip", b'\xef\xbb\xbf{"a": {"name": "a"}}')[0]) == ["a"]


@pytest.mark.parametrize("category", ["image_generation", "hologram_generation"])
def test_a_domain_of_a_later_version_is_kept(category: str, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is a version behind still gets the record."""
    classification = {"domain": f"holo-{category}", "purpose": "generation"}
    document = _IMAGE | {"record_type": category, "model_classification": classification}
    kept, findings = validate_records(category, json.dumps({"a": document}).encode())
    assert findings == []
    dumped = kept["a"].model_dump(mode="json", warnings=False)
    assert dumped["model_classification"] == classification
    assert f"'holo-{category}'" in caplog.text


@pytest.mark.parametrize("classification", [{"domain": 5, "purpose": "generation"}, {"domain": "x"}, 5, None])
def test_a_classification_that_is_none_sets_its_record_aside(classification: object) -> None:
    """Only the word may be new, not the form."""
    record, findings = validate_record("blip", "a", {"name": "a", "model_classification": classification})  # type: ignore[dict-item]
    assert record is None
    assert all(f.field.startswith("model_classification") for f in findings)


def test_text_that_is_no_unicode_is_a_finding() -> None:
    """A document made in Python can hold what JSON cannot."""
    record, findings = validate_record("blip", "a", {"name": "\ud800"})
    assert record is None
    assert "cannot be written as JSON" in findings[0].reason


def test_a_category_without_a_class_gets_one() -> None:
    """Registered at run time, its records need no more than a name; an unregistered one needs the generic fields."""
    descriptor = categories.CategoryDescriptor(categories.MODEL_DOMAIN.rendered_3d, categories.MODEL_PURPOSE.generation)
    categories.register_category("test_meshes", descriptor)
    cls = mrr.get_record_type_for_category("test_meshes")
    record = cls(name="m")  # type: ignore[call-arg]  # the class has the category's defaults
    assert (record.category, record.model_classification.domain) == ("test_meshes", "rendered_3d")
    assert mrr.get_record_type_for_category("test_meshes") is cls
    assert mrr.get_record_type_for_category("nobody knows") is mrr.GenericModelRecord


def test_a_record_class_can_be_registered() -> None:
    """It must derive from the generic class, and must say that it replaces."""

    class Mine(mrr.BlipModelRecord):
        mine: int = 1

    mrr.register_record_type("test_mine", Mine)
    assert validate_records("test_mine", b'{"a": {"name": "a"}}')[0]["a"] == Mine(name="a")
    with pytest.raises(ValueError, match="replace=True"):
        mrr.register_record_type("test_mine", Mine)
    with pytest.raises(TypeError, match="GenericModelRecord"):
        mrr.register_record_type("test_other", dict)  # type: ignore[arg-type]
    mrr.register_record_type("test_mine", mrr.BlipModelRecord, replace=True)
    assert mrr.MODEL_RECORD_TYPE_LOOKUP["test_mine"] is mrr.BlipModelRecord


def test_a_report_lists_unknown_values_as_warnings() -> None:
    """Every one, although the log names each only once."""
    body = json.dumps({name: _IMAGE | {"baseline": "b-2"} for name in "ab"}).encode()
    findings = list(unknown_value_findings(validate_records("image_generation", body)[0]))
    assert [(f.severity, f.record, f.field) for f in findings] == [
        (Severity.WARNING, name, "baseline") for name in "ab"
    ]


@pytest.mark.parametrize(
    ("expression", "licenses", "exceptions"),
    [
        ("MIT", {"MIT"}, set()),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", {"MIT", "Apache-2.0", "BSD-3-Clause"}, set()),
        ("GPL-2.0-only+ WITH GCC-exception-2.0", {"GPL-2.0-only"}, {"GCC-exception-2.0"}),
        ("DocumentRef-a:LicenseRef-b", {"DocumentRef-a:LicenseRef-b"}, set()),
        ("NOASSERTION", set(), set()),
        ("(" * 5000 + "MIT" + ")" * 5000, {"MIT"}, set()),
    ],
)
def test_a_license_expression_names_its_licenses(expression: str, licenses: set[str], exceptions: set[str]) -> None:
    """Operators and parentheses are no identifiers; nesting of any depth is read."""
    assert record_parts.license_identifiers(expression) == (frozenset(licenses), frozenset(exceptions))


@pytest.mark.parametrize(
    "expression",
    ["", " ", "(((", "MIT)", ")MIT(", "MIT Apache-2.0", "MIT OR", "OR MIT", "(MIT) WITH x", "MIT WITH", "a/b"],
)
def test_what_is_no_license_expression_is_refused(expression: str) -> None:
    """The error names the expression."""
    with pytest.raises(ValueError, match="Invalid license expression"):
        record_parts.license_identifiers(expression)


def test_a_conclusion_agrees_with_itself_and_cannot_be_changed() -> None:
    """Identifiers match the expression, exceptions may be listed, and values are frozen."""
    allowed = {"commercial_use": "allowed", "redistribution": "allowed"}
    expression = "MIT WITH x"
    for ids in (["MIT"], ["MIT", "x"]):
        made = record_parts.ModelLicensing.model_validate(
            allowed | {"license_expression": expression, "license_ids": ids}
        )
        with pytest.raises(ValidationError, match="frozen"):
            made.notes = "n"
    for ids in ([], ["MIT", "y"]):
        with pytest.raises(ValidationError, match="license_ids"):
            record_parts.ModelLicensing.model_validate(allowed | {"license_expression": expression, "license_ids": ids})
    unknown = record_parts.unknown_model_licensing()
    assert (unknown.license_expression, unknown.license_ids, unknown.redistribution) == ("NOASSERTION", (), "unknown")


def test_bulk_pauses_the_collector_and_always_resumes_it() -> None:
    """Nested, after an error, and while another thread is still inside."""
    assert gc.isenabled()
    with bulk(), bulk():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(LookupError), bulk():
        raise LookupError
    assert gc.isenabled()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with bulk():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(10)
    with bulk():
        pass
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_bulk_leaves_a_collector_off_that_was_off() -> None:
    """Programs that manage the collector themselves keep their choice."""
    gc.disable()
    try:
        with bulk():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_inside_bulk_has_its_collector() -> None:
    """Nobody in the child would ever leave the block of a thread that was not copied."""
    with bulk():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitpid(child, 0)[1] == 0
