"""The legacy format of the text repository: `models.csv`, one row a model, every cell a string.

An entry is the row as written, cell by cell, so that nothing is lost where a cell says more than its meaning (a space
in front, `7.0` for 7). Rows are read one by one: a bad one costs itself, also where a quote is never closed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import cast

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue
from horde_model_reference.domain.text_names import BACKEND_PREFIXES, text_model_group
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats.json_codec import decode
from horde_model_reference.formats.legacy_config import NO_FILES
from horde_model_reference.formats.legacy_fields import (
    Field,
    Layout,
    Notes,
    Read,
    decoded_text,
    merged_entry,
    model_name,
    object_or_none,
    option_values,
    read_document,
)

__all__ = ["COLUMNS", "LegacyCsv"]

COLUMNS = (
    "name",
    "parameters_bn",
    "display_name",
    "url",
    "baseline",
    "description",
    "style",
    "tags",
    "instruct_format",
    "settings",
)
"""The columns of the repository's file; further ones are written after them where an entry has them."""

_BILLION = 10**9
_MOST_BILLIONS = 10**6
_LONGEST_NUMBER = 40
_EXACT = Context(prec=64)


@dataclass(frozen=True)
class LegacyCsv:
    """Reads and writes `models.csv`."""

    def read(self, data: bytes, *, where: str = "") -> tuple[dict[str, JsonObject], list[Finding]]:
        """Name -> cells by column, and what is wrong with rows. Raises `MalformedInput` without a usable header."""
        lines = io.StringIO(decoded_text(data, where=where), newline="").readlines()
        entries: dict[str, JsonObject] = {}
        findings: list[Finding] = []
        header: list[str] | None = None
        for line, row in _rows(lines):
            if header is None:
                header = _header(row, where)
                continue
            notes = Notes(f"line {line}", where)
            entry = _entry(header, row, notes)
            if entry is not None:
                name = str(entry["name"]).strip()
                if name in entries:
                    notes = Notes(name, where)
                    notes.warning("", f"is listed more than once; line {line} counts")
                entries[name] = entry
            findings += notes.findings
        return entries, findings

    def to_v2(self, category: Category, key: str, origin: JsonObject) -> tuple[JsonObject | None, list[Finding]]:
        """The v2 document of a row; `None` where a finding says why it must be set aside."""
        notes = Notes(key)
        if key.startswith(BACKEND_PREFIXES):
            notes.error("name", "begins with a backend's prefix; the model is listed without it")
        document = read_document(category, _LAYOUT, origin, notes)
        return document and {**document, "text_model_group": text_model_group(key)}, notes.findings

    def from_v2(self, category: Category, key: str, document: JsonObject, origin: JsonObject | None) -> JsonObject:
        """The row of a document: `origin`, with what the document says differently than `origin` did."""
        before = None if origin is None else self.to_v2(category, key, origin)[0]
        if origin is None or before is None:
            origin, before = {**dict.fromkeys(COLUMNS, ""), "name": key}, None
        return merged_entry(_LAYOUT, origin, before, document)

    def write(self, entries: Mapping[str, JsonObject]) -> bytes:
        """The file as the text repository has it: CRLF line ends, quotes where a cell needs them."""
        used = dict.fromkeys(column for entry in entries.values() for column in entry) or dict.fromkeys(COLUMNS)
        columns = [c for c in COLUMNS if c in used] + [c for c in used if c not in COLUMNS]
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(entries.values())
        return out.getvalue().encode()


# -- the file


def _rows(lines: list[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """(line number, cells or why there are none) of each row that is not blank.

    After an error reading goes on with the next line, so a quote that nobody closes does not swallow the file. A cell
    of more than `csv.field_size_limit()` characters, 131,072 if nobody changed it, is such an error: that limit belongs
    to the whole process, so it is left alone.
    """
    start = 0
    while start < len(lines):
        reader = csv.reader((lines[number] for number in range(start, len(lines))), strict=True)
        try:
            row = next(reader)
        except csv.Error as error:
            yield start + 1, error
            start += 1
            continue
        if row:
            yield start + 1, row
        start += reader.line_num


def _header(row: list[str] | csv.Error, where: str) -> list[str]:
    if isinstance(row, csv.Error) or "name" not in row:
        raise MalformedInput("the first row must name the columns, and 'name' among them", where=where)
    if len(set(row)) < len(row):
        raise MalformedInput("two columns have the same name", where=where)
    return row


def _entry(header: list[str], row: list[str] | csv.Error, notes: Notes) -> JsonObject | None:
    if isinstance(row, csv.Error):
        notes.error("", f"no row of CSV: {row}")
    elif len(row) != len(header):
        notes.error("", f"has {len(row)} cells, expected {len(header)}")
    elif not row[header.index("name")].strip():
        notes.error("name", "is blank")
    else:
        return dict(zip(header, row, strict=True))
    return None


# -- the rows


def _cell(value: JsonValue, _place: str, _notes: Notes) -> str:
    return str(value or "")


def _cell_if_set(value: JsonValue, _place: str, _notes: Notes) -> str | None:
    return str(value) if value else None


def _name(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    return model_name(str(value or "").strip(), place, notes)


def _parameters(value: JsonValue, place: str, notes: Notes) -> int | None:
    """Billions as a decimal number, exactly; floating point would make 8,029,999,999 of 8.03."""
    text = str(value or "").strip()
    if not text:
        notes.warning(place, "is blank; 0 is assumed")
        return 0
    try:
        billions = Decimal(text) if len(text) <= _LONGEST_NUMBER else Decimal("NaN")
    except InvalidOperation:
        billions = Decimal("NaN")
    if not billions.is_finite() or not 0 <= billions <= _MOST_BILLIONS:
        notes.error(place, f"must be a number of billions, not {text[:_LONGEST_NUMBER]!r}")
        return None
    return int(_EXACT.multiply(billions, Decimal(_BILLION)))


def _tags(value: JsonValue, _place: str, _notes: Notes) -> JsonValue:
    return [tag.strip() for tag in str(value or "").split(",") if tag.strip()]


def _json_cell(check: Read) -> Read:
    def read(value: JsonValue, place: str, notes: Notes) -> JsonValue:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            inner = decode(text)
        except MalformedInput as error:
            notes.error(place, error.reason)
            return None
        if inner is None:
            notes.wrong_kind(place, "an object", inner)
        return check(inner, place, notes)

    return read


def _is_true(value: JsonValue, _place: str, _notes: Notes) -> bool:
    return str(value or "").strip().lower() == "true"


def _always(constant: JsonObject) -> Read:
    return lambda _value, _place, _notes: deepcopy(constant)


def _to_cell(render: Callable[[JsonValue], str]) -> Callable[[JsonValue, JsonValue, JsonValue], JsonValue]:
    return lambda _old, _before, after: "" if after is None else render(after)


def _billions(parameters: JsonValue) -> str:
    number = _EXACT.divide(Decimal(cast("int", parameters)), Decimal(_BILLION))
    return f"{number.normalize(_EXACT):f}"


def _joined(tags: JsonValue) -> str:
    return ",".join(map(str, cast("list[JsonValue]", tags)))


_JSON_TEXT = _to_cell(lambda value: json.dumps(value, ensure_ascii=False))
_FLAG = _to_cell(lambda value: "true" if value else "false")


def _text_column(name: str, *, in_every_file: bool = True) -> Field:
    return Field(name, (name,), _cell, default="", writes_default=in_every_file)


_LAYOUT: Layout = (
    Field("name", ("name",), _name),
    _text_column("description"),
    _text_column("version", in_every_file=False),
    Field("metadata", (), _always({"schema_version": "2.1.0"})),
    Field("config", (), _always(NO_FILES)),
    _text_column("baseline"),
    Field("parameters", ("parameters_bn",), _parameters, _to_cell(_billions), writes_default=True),
    Field("nsfw", ("nsfw",), _is_true, _FLAG, default=False),
    _text_column("style"),
    _text_column("display_name"),
    _text_column("url"),
    Field("tags", ("tags",), _tags, _to_cell(_joined), default=[], writes_default=True),
    Field("instruct_format", ("instruct_format",), _cell_if_set, default="", writes_default=True),
    Field("settings", ("settings",), _json_cell(option_values), _JSON_TEXT, writes_default=True),
    Field("context_window", ("context_window",), _json_cell(object_or_none), _JSON_TEXT),
    Field("interaction_modes", ("interaction_modes",), _json_cell(object_or_none), _JSON_TEXT),
    Field("capabilities", ("capabilities",), _json_cell(object_or_none), _JSON_TEXT),
)
