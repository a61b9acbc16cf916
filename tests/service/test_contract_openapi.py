"""Our OpenAPI document beside the recorded one, fact by fact; each deliberate difference is a line with its reason."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.service.application import create_app

Facts = dict[str, dict[str, str]]
"""What is documented: of each operation or schema, by its name, the facts by theirs."""
Line = tuple[str, str, str | None, str | None]
"""Where, which fact, what they say, what we say; None where there is no such fact."""

LATER = {
    "statistics": """
        statistics/{model_category_name} statistics/{model_category_name}/with-stats
        statistics/{model_category_name}/deletion-risk v2/{model_category_name}/popular""",
    "licensing": """
        v2/licensing/licenses v2/licensing/licenses/{license_id} v2/licensing/assets v2/licensing/summary
        v2/licensing/assets/{asset_kind}/{asset_identifier} v2/licensing/models/{category}/{model_name}
        v2/licensing/export""",
    "baselines": """
        v2/image_generation/baselines/ v2/image_generation/baselines/export
        v2/image_generation/baselines/{baseline_name}""",
    "guidance": """
        v2/text_generation/guidance/profiles v2/text_generation/guidance/profiles/{profile_id}
        v2/text_generation/guidance/assignments v2/text_generation/guidance/model v2/text_generation/guidance/export""",
    "text models": """
        v2/text_generation/parse_name v2/text_generation/group v2/text_generation/distinct_baselines
        v2/text_generation/groups v2/text_generation/groups/summary v2/text_generation/groups/health
        v2/text_generation/group/name_schema v2/text_generation/aliases v2/text_generation/aliases/{canonical}
        v2/text_generation/families v2/text_generation/families/detect v2/text_generation/families/{family_name}""",
    "moderation": """
        v2/{model_category_name}/pending v2/me/roles
        v1/pending_queue/changes v1/pending_queue/my_changes v1/pending_queue/changes/{change_id}
        v1/pending_queue/changes/{change_id}/diff v1/pending_queue/diffs v1/pending_queue/audit/current
        v1/pending_queue/audit/batches v1/pending_queue/audit/batches/{batch_id}
        v1/pending_queue/audit/batches/{batch_id}/net_changes
        v2/pending_queue/changes v2/pending_queue/my_changes v2/pending_queue/changes/{change_id}
        v2/pending_queue/changes/{change_id}/diff v2/pending_queue/diffs v2/pending_queue/audit/current
        v2/pending_queue/audit/batches v2/pending_queue/audit/batches/{batch_id}
        v2/pending_queue/audit/batches/{batch_id}/net_changes""",
}
"""Reads that need what is not there yet: they are left out, not stubbed."""
OURS_ONLY = {"/model_references/v2/changes", "/model_references/v2/changes/stream", "/model_references/v2/manifest"}

_WITH_PAST = "read_v2_*_all read_v2_*_one read_v2_reference read_v2_single_model read_legacy_reference"
_WITH_PAST += " read_legacy_text_generation_reference"
_V1_LISTS = "read_legacy_reference_api_info read_legacy_references_names"
_WITHOUT_PARAMETERS = "read_legacy_last_updated read_v2_last_updated read_all_legacy_metadata read_all_v2_metadata"
_V1_READS = "read_legacy_reference read_legacy_text_generation_reference"
_ROOT = "read_root__get heartbeat_heartbeat_get replicate_mode_replicate_mode_get"


@dataclass(frozen=True)
class Deliberate:
    """One fact that differs in the places that `where` has patterns of: what they say, what we say, and why."""

    where: str
    fact: str
    theirs: str | None
    ours: str | None
    reason: str

    def lines(self, names: set[str]) -> set[Line]:
        """It is what differs there, in all of these places."""
        matching = {name for name in names for pattern in self.where.split() if fnmatchcase(name, pattern)}
        return {(name, self.fact, self.theirs, self.ours) for name in matching}


DELIBERATE = (
    Deliberate(_WITH_PAST, "query at", None, "null|integer minimum=0", "a past revision can be read"),
    Deliberate(_WITH_PAST, "status 410", None, "documented", "and one that is not kept is gone"),
    Deliberate("search_*", "status 400", None, "documented", "theirs answers 400 and does not say so"),
    Deliberate("search_*", "status 503", None, "documented", "the store may be away for a moment"),
    Deliberate(_ROOT, "status 503", None, "documented", "the store may be away for a moment"),
    Deliberate(f"{_V1_LISTS} {_V1_READS}", "status 503", None, "documented", "the store may be away for a moment"),
    Deliberate(_V1_LISTS, "status 422", None, "documented", "v1 and v2 are one factory, and theirs says so of v2"),
    Deliberate(_WITHOUT_PARAMETERS, "status 422", None, "documented", "what all of them may answer is said once"),
    Deliberate(
        "read_legacy_reference",
        "path model_category_name",
        "required const stable_diffusion|one of {categories}|string",
        "required string",
        "the other alternatives are strings, too",
    ),
    Deliberate(_V1_READS, "answer", "any", "object", "it is one"),
    Deliberate(
        "CategoryMetadata",
        "category",
        "required one of {categories}",
        "required string",
        "also one that was registered",
    ),
    Deliberate(
        "HeartbeatResponse",
        "reference",
        None,
        "required dict[integer|list[string]]",
        "says what is served and how old it is",
    ),
)
_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "default")


def contract_folder() -> Path:
    """The folder with the recorded facts; the test that asks skips where it is absent."""
    folder = Path(os.environ.get("HORDE_CONTRACT", Path(__file__).resolve().parents[3] / "shared" / "contract"))
    if not (folder / "openapi.json").is_file():
        pytest.skip("the contract is not at hand (set HORDE_CONTRACT)")
    return folder


@dataclass(frozen=True)
class Described:
    """An OpenAPI document."""

    paths: dict[str, dict[str, JsonValue]]
    schemas: dict[str, JsonValue]

    @classmethod
    def of(cls, document: JsonValue) -> Described:
        """The document as JSON."""
        members = _object(document)
        paths = {path: _object(operations) for path, operations in _object(members["paths"]).items()}
        return cls(paths, _object(_object(members["components"])["schemas"]))

    def reads(self) -> dict[str, dict[str, JsonValue]]:
        """The GET operations by path."""
        return {path: _object(operations["get"]) for path, operations in self.paths.items() if "get" in operations}

    def facts(self, paths: set[str]) -> Facts:
        """What is said of the GETs of those paths, and of the schemas that are in their answers."""
        told: Facts = {}
        for path in paths:
            operation = self.reads()[path]
            name = str(operation["operationId"])
            told[name] = {
                "path": path,
                "tags": ", ".join(sorted({str(tag) for tag in _list(operation["tags"])})),
            } | dict(self._of_operation(operation))
            for schema in self._within(self._answer(operation)):
                told[schema] = dict(self._of_schema(_object(self.schemas[schema])))
        return told

    def _of_operation(self, operation: dict[str, JsonValue]) -> Iterator[tuple[str, str]]:
        for parameter in map(_object, _list(operation.get("parameters", []))):
            required = "required " if parameter["required"] else ""
            yield f"{parameter['in']} {parameter['name']}", required + self.shape(parameter["schema"])
        for status in _object(operation["responses"]):
            yield f"status {status}", "documented"
        yield "answer", self.shape(self._answer(operation))

    def _answer(self, operation: dict[str, JsonValue]) -> JsonValue:
        success = _object(_object(operation["responses"])["200"])
        return _object(_object(success["content"])["application/json"])["schema"]

    def _of_schema(self, schema: dict[str, JsonValue]) -> Iterator[tuple[str, str]]:
        required = _list(schema.get("required", []))
        for name, described in _object(schema.get("properties", {})).items():
            yield name, ("required " if name in required else "") + self.shape(described)
        yield "all in all", self.shape({key: value for key, value in schema.items() if key != "properties"})

    def _within(self, schema: JsonValue) -> set[str]:
        """The names of all schemas that this one is made of, but for enumerations."""
        seen: set[str] = set()
        left = [schema]
        while left:
            if isinstance(each := left.pop(), list):
                left += each
            elif isinstance(each, dict):
                left += [value for key, value in each.items() if key != "$ref"]
                name = str(each.get("$ref", "")).rpartition("/")[2]
                if name and name not in seen and "enum" not in _object(self.schemas[name]):
                    seen.add(name)
                    left.append(self.schemas[name])
        return seen

    def shape(self, schema: JsonValue) -> str:
        """A schema in one line. An enumeration is what it lists, with a name or without."""
        described = _object(schema)
        if "$ref" in described:
            name = str(described["$ref"]).rpartition("/")[2]
            kind = self.shape(enumeration) if "enum" in (enumeration := _object(self.schemas[name])) else name
        elif "anyOf" in described:
            kind = "|".join(sorted(map(self.shape, _list(described["anyOf"])), key=lambda each: (each != "null", each)))
        elif "enum" in described:
            kind = f"one of {' '.join(map(str, _list(described['enum'])))}"
        elif "const" in described:
            kind = f"const {described['const']}"
        elif described.get("type") == "array":
            kind = f"list[{self.shape(described['items'])}]"
        elif isinstance(values := described.get("additionalProperties"), dict) and values:
            kind = f"dict[{self.shape(values)}]"
        else:
            kind = str(described.get("type", "any"))
        return " ".join([kind, *(f"{bound}={json.dumps(described[bound])}" for bound in _BOUNDS if bound in described)])


def _object(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    assert isinstance(value, list)
    return value


@pytest.fixture(scope="module")
def recorded() -> Described:
    """The recorded document."""
    return Described.of(json.loads((contract_folder() / "openapi.json").read_bytes()))


@pytest.fixture(scope="module")
def ours() -> Described:
    """Our document."""
    return Described.of(create_app().openapi())


def _later() -> set[str]:
    return {f"/model_references/{path}" for paths in LATER.values() for path in paths.split()}


def test_every_recorded_read_is_there_or_put_off_by_name(ours: Described) -> None:
    """All GETs of the table of endpoints: no path is forgotten, none is both, and what is put off is not stubbed."""
    with (contract_folder() / "endpoints.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["method"] == "GET"]
    there = {path: str(operation["operationId"]) for path, operation in ours.reads().items() if path not in OURS_ONLY}
    asked = {row["path"].removeprefix("/api"): row["operationId"] for row in rows}
    later = _later()
    assert len(asked) == len(rows)
    assert (there.keys() & later, asked.keys() - there.keys() - later) == (set(), set())
    assert (there.keys() | later) - asked.keys() == set()
    assert there == {path: name for path, name in asked.items() if path not in later}
    assert ours.reads().keys() >= OURS_ONLY


def test_each_operation_is_documented_as_recorded_but_for_the_list(recorded: Described, ours: Described) -> None:
    """Parameters, bounds, statuses and answers with their schemas. A line that no longer differs fails as well."""
    paths = recorded.reads().keys() - _later()
    theirs, our = recorded.facts(paths), ours.facts(paths)
    differing = {
        (name, fact, said.get(fact), told.get(fact))
        for name, said in theirs.items()
        for told in [our.get(name, {})]
        for fact in said | told
        if said.get(fact) != told.get(fact)
    }
    categories = ours.shape({"enum": list(_categories(ours))}).removeprefix("one of ")
    expected = set[Line]()
    for each in DELIBERATE:
        lines = each.lines(set(theirs))
        assert lines, f"no place is called {each.where}"
        expected |= {(*line[:2], line[2] and line[2].replace("{categories}", categories), line[3]) for line in lines}
    assert differing - expected == set(), "differs, and nobody says why"
    assert expected - differing == set(), "is said to differ, and does not"


def _categories(document: Described) -> list[JsonValue]:
    return _list(_object(document.schemas["MODEL_REFERENCE_CATEGORY"])["enum"])


def test_a_failure_is_documented_as_a_problem(ours: Described) -> None:
    """With the media type that it has (RFC 9457), everywhere."""
    for path, operation in ours.reads().items():
        for status, response in _object(operation["responses"]).items():
            if int(status) >= 400:
                content = _object(_object(response)["content"])
                assert set(content) == {"application/problem+json"}, (path, status)
