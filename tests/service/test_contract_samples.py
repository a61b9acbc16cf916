"""The recorded requests, made again over the real reference; and what people type to read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import httpx
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import CanonicalFormat, ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, assemble
from tests.service.servers import running
from tests.service.test_contract_openapi import LATER, contract_folder

WRITTEN = ("CT Annot", "CT Lora", "New Model")
"""Records that writes had created when the samples were taken: they are put in for the time of one request."""
_OTHERS = {"read_v2_reference": "its sample is one of licensing, which the same request once fell through to"}
_EVER_HAD_RECORDS = ("controlnet_annotator", "video_generation", "audio_generation", "lora")
_EXAMPLES = ("image_generation", "text_generation", "controlnet")
_CHECKS = [status_code_conformance, response_schema_conformance]
_ONE_RENDERING = "one rendering of a record everywhere: what a raw read has, and the class"
_COUNTED_FROM_THE_FIRST = "counts go back to the first event, the import included"


@dataclass(frozen=True)
class Deliberate:
    """A difference: in answers to which operations, where in the answer, what differs, and why."""

    operations: str
    where: str
    what: str
    reason: str


DELIBERATE = (
    Deliberate("heartbeat*", "ai_horde.*", "value", "it is asked nothing yet, so it cannot have failed"),
    Deliberate("heartbeat*", "ai_horde.seconds_until_retry", "type", "null where nothing failed, as documented"),
    Deliberate("heartbeat*", "reference", "added", "says what is served, and how old it is"),
    Deliberate("read_v2_image_generation_one", "record_type", "added", _ONE_RENDERING),
    Deliberate("read_v2_image_generation_one", "model_classification", "added", _ONE_RENDERING),
    Deliberate("read_v2_image_generation_one", "*", "order", _ONE_RENDERING),
    Deliberate("search_category*", "results.?", "order", _ONE_RENDERING),
    Deliberate("search_category*", "results.*.inpainting", "missing", _ONE_RENDERING),
    Deliberate("search_category*", "results.*.metadata.schema_version", "missing", _ONE_RENDERING),
    Deliberate("read_*_category_metadata read_all_*_metadata", "*total_creates", "value", _COUNTED_FROM_THE_FIRST),
    Deliberate("read_*_category_metadata read_all_*_metadata", "*total_models", "value", _COUNTED_FROM_THE_FIRST),
    Deliberate("read_*_category_metadata read_all_*_metadata", "*last_operation_type", "type", _COUNTED_FROM_THE_FIRST),
    Deliberate(
        "read_*_category_metadata read_all_*_metadata", "*last_operation_model", "type", _COUNTED_FROM_THE_FIRST
    ),
    Deliberate("read_all_*_metadata", "*total_deletes", "value", "the test made room for samples"),
    Deliberate("read_*_category_metadata read_all_*_metadata", "*backend_type", "value", "it is another one"),
    Deliberate("read_all_*_metadata", "ti", "missing", "a category that never had a record has no history"),
)


@dataclass(frozen=True)
class Sample:
    """One recorded request and its answer."""

    operation: str
    path: str
    status: int
    body: JsonValue


def _samples() -> list[Sample]:
    """Those of reads that are there and need no key."""
    lines = (contract_folder() / "http_samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["request"]["method"] == "GET"]
    rows = [row for row in rows if not any(word in row["request"]["path"] for word in ("pending", "roles"))]
    paths = create_app().openapi()["paths"].values()
    ours = {path["get"]["operationId"] for path in paths if "get" in path} - _OTHERS.keys()
    return [
        Sample(row["operationId"], row["request"]["path"], row["status"], row["body"])
        for row in rows
        if row["operationId"] in ours
    ]


def _without_times(record: JsonValue) -> JsonValue:
    """A record without what says only that something was written then."""
    if not isinstance(record, dict):
        return record
    return {key: _without_times(value) for key, value in record.items() if value != "<ts>"}


@dataclass(frozen=True)
class Real:
    """The real reference, served once for each format in which changes may be accepted."""

    store: SqlStore
    urls: dict[CanonicalFormat, str]

    @contextmanager
    def with_what_is_shown(self, sample: Sample) -> Iterator[None]:
        """The records of the sample that only writes could have created are there while the block runs."""
        body = sample.body if isinstance(sample.body, dict) else {}
        shown = {str(body["name"]): body} if "name" in body else body
        written = {name: _without_times(record) for name, record in shown.items() if name in WRITTEN}
        self.write(sample.path, written)
        yield
        self.write(sample.path, dict.fromkeys(written))

    def write(self, path: str, records: Mapping[str, JsonValue]) -> None:
        """In one commit; None deletes. The path is one of the category."""
        category = path.removeprefix("/api/model_references/v2/").partition("/")[0]
        with self.store.begin(actor="tests") as unit:
            for name, record in records.items():
                if record is None:
                    unit.delete(category, name)
                else:
                    unit.put(category, name, encode(record).decode())


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The real reference as it was imported, in categories that writes had once filled and emptied."""
    formats = (CanonicalFormat.v2, CanonicalFormat.legacy)
    primary = {"replicate_mode": ReplicateMode.PRIMARY, "mirror_enabled": False}
    of_v2, of_legacy = (make_settings(canonical_format=each, **primary) for each in formats)
    parts = assemble(Mode(ReplicateMode.PRIMARY, False, tmp_path_factory.mktemp("real")), of_v2)
    assert parts.store is not None
    import_records(parts.store, read_path(real_data), actor="tests")
    with running(create_app(parts, of_v2)) as one, running(create_app(parts, of_legacy)) as other:
        real = Real(parts.store, dict(zip(formats, (one, other), strict=True)))
        for category in _EVER_HAD_RECORDS:
            real.write(category, {"x": {"name": "x"}})
            real.write(category, {"x": None})
        yield real
    parts.close()


def differences_between(theirs: JsonValue, ours: JsonValue, where: str = "") -> Iterator[tuple[str, str]]:
    """Where two values differ, and what does: a key is missing or added, the order, a length, a type or a value."""
    if theirs in ("<ts>", "<float>"):
        theirs = ours if isinstance(ours, int | float) else 0
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from ((f"{where}{key}", "missing") for key in theirs if key not in ours)
        yield from ((f"{where}{key}", "added") for key in ours if key not in theirs)
        both = [key for key in theirs if key in ours]
        if both != [key for key in ours if key in theirs]:
            yield where.removesuffix("."), "order"
        for key in both:
            yield from differences_between(theirs[key], ours[key], f"{where}{key}.")
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield where.removesuffix("."), "length"
        for number, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            yield from differences_between(one, other, f"{where}{number}.")
    elif type(theirs) is not type(ours):
        yield where.removesuffix("."), "type"
    elif theirs != ours:
        yield where.removesuffix("."), "value"


def matches(name: str, patterns: str) -> bool:
    """Whether one of these patterns, with spaces between them, is that of the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def test_every_sample_of_a_read_is_answered_alike(real: Real, subtests: pytest.Subtests) -> None:
    """Status, keys, types and values; what differs is a line with its reason, and each line differs somewhere."""
    unused = set(DELIBERATE)
    samples = _samples()
    assert len(samples) > 40
    for sample in samples:
        told = {"v1/metadata": CanonicalFormat.legacy, "replicate_mode": CanonicalFormat.legacy}
        kind = next((kind for part, kind in told.items() if part in sample.path), CanonicalFormat.v2)
        with subtests.test(sample.operation), real.with_what_is_shown(sample):
            answer = httpx.get(real.urls[kind] + sample.path, timeout=20)
            assert (answer.status_code, answer.headers["content-type"]) == (sample.status, "application/json")
            lines = [line for line in DELIBERATE if matches(sample.operation, line.operations)]
            for where, what in differences_between(sample.body, answer.json()):
                found = {line for line in lines if line.what == what and matches(where, line.where)}
                assert found, (where, what)
                unused -= found
    assert unused == set(), "is said to differ, and does not"


def test_every_answer_is_what_the_recorded_document_promises(real: Real, subtests: pytest.Subtests) -> None:
    """Of all reads that are there, also those without a sample: clients generated from that document can read ours."""
    recorded = json.loads((contract_folder() / "openapi.json").read_bytes())
    document = schemathesis.openapi.from_dict(recorded)
    later = {f"/model_references/{path}" for paths in LATER.values() for path in paths.split()}
    reads = [path for path, operations in recorded["paths"].items() if "get" in operations and path not in later]
    for path in [path for path in reads if "pending" not in path and "roles" not in path]:
        kind = CanonicalFormat.legacy if "v1/metadata" in path else CanonicalFormat.v2
        typed = path.removeprefix("/model_references/v2/").partition("/")[0]
        for category in _EXAMPLES if "{model_category_name}" in path else [typed]:
            name = next(iter(real.store.entries(category)), "nobody")
            with subtests.test(path, category=category):
                parameters = {"model_category_name": category, "model_name": name}
                asked = {key: value for key, value in parameters.items() if f"{{{key}}}" in path}
                case = document[path]["GET"].Case(path_parameters=asked)
                answer = case.call_and_validate(base_url=f"{real.urls[kind]}/api", checks=_CHECKS, timeout=20)
                assert answer.status_code == (404 if name == "nobody" and "model_name" in asked else 200)
