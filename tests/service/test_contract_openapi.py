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
from horde_model_reference.settings import CanonicalFormat, ReplicateMode, make_settings

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
}
"""Reads that need what is not there yet: they are left out, not stubbed."""
OURS_ONLY = {
    *("/model_references/v2/changes", "/model_references/v2/changes/stream", "/model_references/v2/manifest"),
    *(f"/model_references/{version}/pending_queue/audit/export" for version in ("v1", "v2")),
}
WRITES_LATER = """
    text_generation/compose_name text_generation/group/common_fields text_generation/{model_name}/name_exception
    text_generation/group/name_schema text_generation/aliases text_generation/families licensing baselines guidance"""
"""Writes that need what is not there yet, by what their paths have in them."""

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
_ASK = "apply_* purge_* process_* get_* list_* read_*"
_WRITE = "create_* update_* delete_* set_legacy_model_metadata"
_SAID = "the recorded service answers so, too, and does not say it"
_KEYS = "keys are asked about: it may take too many attempts, or the AI Horde may be away"
_INLINE = "it is described where it stands; a name in the document costs more than it says"
MODERATION = (
    Deliberate(_WRITE, "header X-Reference-Revision", None, "null|integer minimum=0", "who has read may say how far"),
    Deliberate("apply_batch_*", "query atomic", None, "boolean default=true", "all or nothing can be turned off"),
    *(Deliberate(f"{_ASK} {_WRITE}", f"status {each}", None, "documented", _SAID) for each in (400, 401, 403, 404)),
    *(Deliberate(f"{_ASK} {_WRITE}", f"status {each}", None, "documented", _SAID) for each in (409, 413, 422, 503)),
    Deliberate(f"{_ASK} {_WRITE}", "status 429", None, "documented", _KEYS),
    Deliberate("update_v2_model", "status 200", "documented", None, "a change is proposed: 202"),
    Deliberate("list_*", "query statuses", "*", "*", "withdrawn is a status of its own"),
    Deliberate("PendingChangeRecord", "status", "*", "*", "withdrawn is a status of its own"),
    Deliberate("PendingChangeRecord", "resource_kind", "*", "*", "one kind until there are others"),
    Deliberate("PendingChangeRecord", "*_at", "*", "*", "always there"),
    Deliberate("PendingChangeRecord", "category", "*", "*", "also one that was registered"),
    *(
        Deliberate("PendingChangeRecord", fact, None, "*", "what it was made against, and what was said of it")
        for fact in ("domain", "base_revision", "applied_revision", "reverts", "findings", "comments")
    ),
    Deliberate("*", "body", "*", "object", _INLINE),
    Deliberate("*", "answer", "*", "object", _INLINE),
)
"""The same of what is asked with a key; `*` stands for anything."""
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

    def operations(self) -> dict[tuple[str, str], dict[str, JsonValue]]:
        """All operations by method and path."""
        return {
            (method, path): _object(operation)
            for path, operations in self.paths.items()
            for method, operation in operations.items()
        }

    def facts(self, asked: set[tuple[str, str]]) -> Facts:
        """What is said of those operations, and of the schemas that are in their answers."""
        told: Facts = {}
        for method, path in asked:
            operation = self.operations()[method, path]
            name = str(operation["operationId"])
            told[name] = {
                "path": path,
                "tags": ", ".join(sorted({str(tag) for tag in _list(operation["tags"])})),
            } | dict(self.told(operation))
            for schema in self._within(self._answer(operation)):
                told[schema] = dict(self.schema(schema))
        return told

    def told(self, operation: dict[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The facts about an operation."""
        for parameter in map(_object, _list(operation.get("parameters", []))):
            required = "required " if parameter["required"] else ""
            yield f"{parameter['in']} {parameter['name']}", required + self.shape(parameter["schema"])
        for status in _object(operation["responses"]):
            yield f"status {status}", "documented"
        yield "answer", self.shape(self._answer(operation))
        if "requestBody" in operation:
            yield "body", self.shape(self._content(operation["requestBody"]))

    def _answer(self, operation: dict[str, JsonValue]) -> JsonValue:
        """Of the first status that is a success."""
        told = _object(operation["responses"])
        return self._content(told[min(status for status in told if "content" in _object(told[status]))])

    def _content(self, said: JsonValue) -> JsonValue:
        return _object(_object(_object(said)["content"])["application/json"])["schema"]

    def schema(self, name: str) -> Iterator[tuple[str, str]]:
        """The facts about a schema."""
        schema = _object(self.schemas[name])
        required = _list(schema.get("required", []))
        for field, described in _object(schema.get("properties", {})).items():
            yield field, ("required " if field in required else "") + self.shape(described)
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
    asked = {("get", path) for path in paths if "pending" not in path and "roles" not in path}
    theirs, our = recorded.facts(asked), ours.facts(asked)
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


@pytest.mark.parametrize("kind", list(CanonicalFormat), ids=str)
def test_each_operation_of_the_queue_is_documented_as_recorded_but_for_the_list(kind: CanonicalFormat) -> None:
    """Every write, and every read of the queue, in both canonical formats. A line that says nothing fails as well."""
    file = {CanonicalFormat.v2: "openapi.json", CanonicalFormat.legacy: "openapi_legacy.json"}[kind]
    recorded = Described.of(json.loads((contract_folder() / file).read_bytes()))
    settings = make_settings(replicate_mode=ReplicateMode.PRIMARY, canonical_format=kind)
    ours = Described.of(create_app(settings=settings).openapi())
    asked = {each for each in recorded.operations() if each[0] != "get" or "pending" in each[1] or "roles" in each[1]}
    asked = {each for each in asked if not any(word in each[1] for word in WRITES_LATER.split())}
    assert len(asked) == {CanonicalFormat.v2: 63, CanonicalFormat.legacy: 85}[kind]
    assert asked - ours.operations().keys() == set()
    differing = [
        (name, fact, told.get(fact), our.get(fact))
        for name, told, our in _beside(recorded, ours, asked)
        for fact in told | our
        if told.get(fact) != our.get(fact)
    ]
    unused = set(MODERATION)
    for line in differing:
        found = {each for each in MODERATION if _says(each, line)}
        assert found, line
        unused -= found
    assert kind is CanonicalFormat.v2 or unused == set(), "is said to differ, and does not"


def _beside(
    recorded: Described, ours: Described, asked: set[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """(name, what they say, what we say) of operations, and of the schemas that both name."""
    for each in asked:
        theirs, our = recorded.operations()[each], ours.operations()[each]
        yield str(theirs["operationId"]), dict(recorded.told(theirs)), dict(ours.told(our))
    for name in ("PendingChangeRecord", "PendingQueuePage"):
        yield name, dict(recorded.schema(name)), dict(ours.schema(name))


def _says(line: Deliberate, differing: Line) -> bool:
    name, fact, theirs, ours = differing
    return (
        any(fnmatchcase(name, pattern) for pattern in line.where.split())
        and fnmatchcase(fact, line.fact)
        and line.theirs in (theirs, "*")
        and line.ours in (ours, "*")
    )


def _categories(document: Described) -> list[JsonValue]:
    return _list(_object(document.schemas["MODEL_REFERENCE_CATEGORY"])["enum"])


def test_a_failure_is_documented_as_a_problem(ours: Described) -> None:
    """With the media type that it has (RFC 9457), everywhere."""
    for path, operation in ours.reads().items():
        for status, response in _object(operation["responses"]).items():
            if int(status) >= 400:
                content = _object(_object(response)["content"])
                assert set(content) == {"application/problem+json"}, (path, status)
