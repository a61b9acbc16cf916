"""Reading many records: one pass over the bytes where all is well, record by record where something is not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TypeAlias, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, from_json, to_json

from horde_model_reference.domain import record_parts
from horde_model_reference.domain.categories import MODEL_DOMAIN, MODEL_PURPOSE, Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity, not_finite
from horde_model_reference.domain.names import require_relative_file
from horde_model_reference.domain.records import GenericModelRecord, get_record_type_for_category
from horde_model_reference.domain.vocabulary import MODEL_DOMAINS, MODEL_PURPOSES
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.process import bulk

__all__ = ["Records", "as_read", "unknown_value_findings", "validate_record", "validate_records"]

Records: TypeAlias = dict[str, GenericModelRecord]
"""The records of a category by name. The key names the record, whatever its field `name` says."""
_MANY = 5_000
"""From so many records on memory matters more than a fifth of the time."""
_OPEN = {"domain": (MODEL_DOMAINS, MODEL_DOMAIN.image), "purpose": (MODEL_PURPOSES, MODEL_PURPOSE.miscellaneous)}
"""The words of a classification, with a known one to stand in for one that is not."""
_BOM = b"\xef\xbb\xbf"
_NOT_FINITE = (b"NaN", b"Infinity")
_MAY_ESCAPE = re.compile(
    rb"""\.\./|/\.\.|\\|"file_name":\s*"(?:/|\.\.|[A-Za-z]:)|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]"""
)
"""Only where this is found can a file name leave its folder: written so, or by an escape."""
_PARTS = (
    *(record_parts.LicenseEvidence, record_parts.LicenseAssignment, record_parts.ModelLicensing),
    *(record_parts.DownloadRecord, record_parts.GenericModelRecordConfig),
    *(record_parts.GenericModelRecordMetadata, record_parts.FineTuneSeriesInfo),
)
_building = threading.Lock()
_error = partial(Finding, Severity.ERROR)


def validate_records(category: Category, body: bytes) -> tuple[Records, list[Finding]]:
    """The records in a v2 document `{name: record}`, in its order, and what is wrong with those that are left out.

    An unknown category, field, baseline, style, domain or purpose is never wrong; a file name that would leave its
    folder is. Raises `MalformedInput` where the document itself cannot be read: it is no JSON, or no object.
    """
    with bulk():
        records, findings = _read_all(category, body.removeprefix(_BOM))
        if _MAY_ESCAPE.search(body):
            findings += [finding for name in list(records) for finding in _set_aside_escaping(records, name)]
        if len(records) >= _MANY:
            record_parts.share(
                part
                for record in records.values()
                for part in (
                    record,
                    record.metadata,
                    record.model_classification,
                    record.config,
                    *record.config.download,
                )
            )
    return records, findings


def validate_record(
    category: Category, name: str, document: JsonValue
) -> tuple[GenericModelRecord | None, list[Finding]]:
    """The same for one record: it, or None and the reasons, one for each field that is wrong."""
    record_type = get_record_type_for_category(category)
    try:
        data = to_json(document)  # because pydantic reads JSON and Python values by different rules (an enum, a date)
        if any(word in data for word in _NOT_FINITE) and (places := list(not_finite(document))):
            return None, [_error("a number must be finite", name, path) for path in places]
        return record_type.model_validate_json(data), []
    except PydanticSerializationError as error:
        return None, [_error(f"cannot be written as JSON: {error}", name)]
    except ValidationError as error:
        if kept := _newly_classified(record_type, document, error):
            return kept, []
        # One finding a field; what the members of a union say is joined.
        reasons: dict[str, list[str]] = {}
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            reasons.setdefault(_field(document, detail), []).append(detail["msg"].removeprefix("Value error, "))
        return None, [_error(" or: ".join(dict.fromkeys(texts)), name, field) for field, texts in reasons.items()]


def as_read(record: GenericModelRecord, document: JsonValue) -> JsonValue:
    """The document with each value of the kind that the record read it as (`"7"` as 7), under its documented name.

    So what is stored means the same to readers that do not go through the record class.
    """
    read = record.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    names = {key: field.alias or key for key, field in type(record).model_fields.items()}
    named = {names.get(key, key): value for key, value in document.items()} if isinstance(document, dict) else document
    return _of_the_same_kinds(named, read)


def _of_the_same_kinds(value: JsonValue, read: JsonValue) -> JsonValue:
    if isinstance(value, dict) and isinstance(read, dict):
        return {key: _of_the_same_kinds(each, read[key]) if key in read else each for key, each in value.items()}
    if isinstance(value, list) and isinstance(read, list) and len(value) == len(read):
        return [_of_the_same_kinds(each, other) for each, other in zip(value, read, strict=True)]
    return value if type(value) is type(read) or None in (value, read) else read


def unknown_value_findings(records: Records) -> Iterator[Finding]:
    """A warning for every value that is kept although its vocabulary does not hold it, for a validation report."""
    for name, record in records.items():
        for vocabulary, value in record.unknown_values():
            reason = f"{value!r} is not known to this version; it is kept as written"
            yield Finding(Severity.WARNING, reason, name, vocabulary.field)


@lru_cache(maxsize=256)
def _adapter(record_type: type[GenericModelRecord]) -> TypeAdapter[Records]:
    with _building:  # the classes are built when they are first needed, and one thread shall do it
        for part in _PARTS:  # built on its own, a part is built once; otherwise once more for each record class
            part.model_rebuild()
        return cast("TypeAdapter[Records]", TypeAdapter(dict[str, record_type]))  # type: ignore[valid-type]  # known at run time


def _read_all(category: Category, data: bytes) -> tuple[Records, list[Finding]]:
    if not any(word in data for word in _NOT_FINITE):
        try:
            return _adapter(get_record_type_for_category(category)).validate_json(data), []
        except ValidationError:
            pass  # one pass cannot tell the good from the bad
    try:
        document: JsonValue = from_json(data, cache_strings="keys")
    except ValueError as error:
        raise MalformedInput(f"not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedInput("the root must be an object of records by name")
    results = {name: validate_record(category, name, value) for name, value in document.items()}
    records = {name: record for name, (record, _) in results.items() if record is not None}
    return records, [finding for _, findings in results.values() for finding in findings]


def _set_aside_escaping(records: Records, name: str) -> Iterator[Finding]:
    for index, download in enumerate(records[name].config.download):
        try:
            require_relative_file(download.file_name)
        except UnsafeName as error:
            records.pop(name, None)
            yield _error(str(error), name, f"config.download.{index}.file_name")


def _newly_classified(
    record_type: type[GenericModelRecord], document: JsonValue, error: ValidationError
) -> GenericModelRecord | None:
    """The record, if all that is wrong is a domain or purpose that a later version has added; kept as plain text."""
    wrong = error.errors()
    if not all(
        e["type"] == "enum" and e["loc"][0] == "model_classification" and isinstance(e["input"], str) for e in wrong
    ):
        return None
    new = {str(each["loc"][1]): each["input"] for each in wrong}
    fields = cast("dict[str, JsonObject]", document)  # else something else were wrong
    readable = fields["model_classification"] | {name: _OPEN[name][1] for name in new}
    record = record_type.model_validate_json(to_json({**fields, "model_classification": readable}))
    for name, word in new.items():
        setattr(record.model_classification, name, word)
        if word not in _OPEN[name][0]:
            _OPEN[name][0].note_unknown(word, record.name)
    return record


def _field(document: JsonValue, detail: ErrorDetails) -> str:
    """The path that an error speaks of, without the names pydantic adds to it for members of a union."""
    path, value = [], document
    for part in detail["loc"]:
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif detail["type"] != "missing":
            break
        path.append(str(part))
    return ".".join(path)
