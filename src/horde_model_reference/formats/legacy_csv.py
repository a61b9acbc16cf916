"""The legacy formats of the text repository: `models.csv`, one row a model, and `db.json`, which is rendered from it.

An entry is the row as written, every cell a string, so that nothing is lost where a cell says more than its meaning (a
space in front, `7.0` for 7). Rows are read one by one: a bad one costs itself, also where a quote is never closed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import cast

from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.text_names import BACKEND_PREFIXES, parse_text_model_name, text_model_group
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats import legacy_fields
from horde_model_reference.formats.json_codec import decode
from horde_model_reference.formats.legacy_fields import NO_FILES, Field, Layout, LegacyFormat, Merge, Notes, Read

__all__ = ["COLUMNS", "LEGACY_CSV", "text_db", "with_groups"]

COLUMNS = tuple("name parameters_bn display_name url baseline description style tags instruct_format settings".split())
"""The columns of the repository's file; further ones are written after them where an entry has them."""
_MOST_BILLIONS = 10**6
_LONGEST_NUMBER = 40
_MOST_LINES = 200
_EXACT = Context(prec=64)


# -- the file


def _read(data: bytes, where: str) -> tuple[dict[str, JsonObject], list[Finding]]:
    entries: dict[str, JsonObject] = {}
    findings: list[Finding] = []
    rows = _rows(io.StringIO(legacy_fields.decoded_text(data, where=where), newline="").readlines())
    _, header, _ = next(rows, (0, [], ""))
    if "name" not in header or len(set(header)) < len(header):
        raise MalformedInput("the first row must name the columns, 'name' among them and none twice", where=where)
    for line, row, fault in rows:
        entry: JsonObject = dict(zip(header, row, strict=False))
        name = str(entry.get("name", "")).strip()
        uneven = f"has {len(row)} cells, expected {len(header)}" if len(row) != len(header) else ""
        if wrong := fault or uneven or ("" if name else "the name is blank"):
            findings.append(Finding(Severity.ERROR, wrong, field=f"line {line}", file=where))
            continue
        if name in entries:
            reason = f"is listed more than once; line {line} counts"
            findings.append(Finding(Severity.WARNING, reason, name, file=where))
        entries[name] = entry
    return entries, findings


def _write(entries: Mapping[str, JsonObject]) -> bytes:
    """The file as the text repository has it: CRLF line ends, quotes where a cell needs them."""
    used = dict.fromkeys(column for entry in entries.values() for column in entry) or dict.fromkeys(COLUMNS)
    columns = [c for c in COLUMNS if c in used] + [c for c in used if c not in COLUMNS]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(entries.values())
    return out.getvalue().encode()


def _rows(lines: list[str]) -> Iterator[tuple[int, list[str], str]]:
    """(line number, cells, why there are none) of each row that is not blank.

    After an error reading goes on with the next line, so a quote that nobody closes does not swallow the file; a row
    ends within 200 lines, so that many such quotes do not cost the square of the file. A cell of more than
    `csv.field_size_limit()` characters is such an error: that limit belongs to the whole process and is left alone.
    """
    start = 0
    while start < len(lines):
        reader = csv.reader(lines[start : start + _MOST_LINES], strict=True)
        try:
            row = next(reader)
        except csv.Error as error:
            yield start + 1, [], f"no row of CSV: {error}"
            start += 1
        else:
            if row:
                yield start + 1, row, ""
            start += reader.line_num


# -- the cells


def _cell(meaning: Callable[[str], JsonValue]) -> Read:
    return lambda value, _place, _notes: meaning(str(value or ""))


def _name(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    if notes.record.startswith(BACKEND_PREFIXES):
        notes.error(place, "begins with a backend's prefix; the model is listed without it")
    return legacy_fields.model_name(str(value or "").strip(), place, notes)


def _parameters(value: JsonValue, place: str, notes: Notes) -> int | None:
    """Billions as a decimal number, exactly; floating point would make 8,029,999,999 of 8.03."""
    text = str(value or "").strip()
    if not text:
        notes.warning(place, "is blank; 0 is assumed")
        return 0
    with suppress(InvalidOperation):  # no number at all, or one that cannot be compared
        if len(text) <= _LONGEST_NUMBER and 0 <= (billions := Decimal(text)) <= _MOST_BILLIONS:
            return int(billions.scaleb(9, _EXACT))
    notes.error(place, f"must be a number of billions, not {text[:_LONGEST_NUMBER]!r}")
    return None


def _json(name: str, check: Read = legacy_fields.as_object, *, in_every_file: bool = False) -> Field:
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

    write = _to_cell(lambda value: json.dumps(value, ensure_ascii=False))
    return Field(name, read, write, writes_default=in_every_file)


def _to_cell(render: Callable[[JsonValue], str]) -> Merge:
    return lambda _old, _before, after: "" if after is None else render(after)


def _billions(parameters: JsonValue) -> str:
    return f"{Decimal(cast('int', parameters)).scaleb(-9, _EXACT).normalize(_EXACT):f}"


def _text(name: str, *, in_every_file: bool = True) -> Field:
    return Field(name, _cell(str), default="", writes_default=in_every_file)


_NSFW = _cell(lambda cell: cell.strip().lower() == "true")
_TAGS = _cell(lambda cell: [tag.strip() for tag in cell.split(",") if tag.strip()])
_JOINED = _to_cell(lambda tags: ",".join(map(str, cast("list[JsonValue]", tags))))
_LAYOUT: Layout = (
    Field("name", _name),
    _text("description"),
    _text("version", in_every_file=False),
    Field("metadata", lambda *_: {"schema_version": "2.1.0"}, legacy=()),
    Field("config", lambda *_: deepcopy(NO_FILES), legacy=()),
    _text("baseline"),
    Field("parameters", _parameters, _to_cell(_billions), writes_default=True, legacy=("parameters_bn",)),
    Field("nsfw", _NSFW, _to_cell(lambda nsfw: str(bool(nsfw)).lower()), False),
    _text("style"),
    _text("display_name"),
    _text("url"),
    Field("tags", _TAGS, _JOINED, default=[], writes_default=True),
    Field("instruct_format", _cell(lambda cell: cell or None), default="", writes_default=True),
    _json("settings", legacy_fields.option_values, in_every_file=True),
    _json("context_window"),
    _json("interaction_modes"),
    _json("capabilities"),
    Field("text_model_group", lambda _value, _place, notes: text_model_group(notes.record), legacy=()),
)
LEGACY_CSV = LegacyFormat(_read, _write, lambda _category: _LAYOUT)
"""The format of `models.csv`."""


# -- db.json

_OPTIONAL = tuple("settings display_name url instruct_format context_window interaction_modes capabilities".split())


def text_db(documents: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Name -> entry for each v2 document and each of its three names: its own, and with each worker program's prefix.

    Two authors who use the same model name share one `koboldcpp/` entry, and the later one is in it.
    """
    rendered: dict[str, JsonObject] = {}
    for key, document in documents.items():
        model = key.split("/")[1] if "/" in key else key
        for name in (key, f"aphrodite/{key}", f"koboldcpp/{model}"):
            rendered[name] = _db_entry(name, model, document)
    return rendered


def with_groups(entries: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """The same entries, each with its group and a summary of the group (prefixed copies count as members)."""
    groups = {name: text_model_group(name) for name in entries}
    members: dict[str, list[JsonObject]] = {}
    for name, entry in entries.items():
        members.setdefault(groups[name], []).append(entry)
    summaries = {group: _summary(of_group) for group, of_group in members.items()}
    return {
        name: {**entry, "text_model_group": groups[name], "text_model_group_summary": summaries[groups[name]]}
        for name, entry in entries.items()
    }


def _db_entry(name: str, model: str, document: JsonObject) -> JsonObject:
    entry: JsonObject = {
        "name": name,
        "model_name": model,
        "baseline": document.get("baseline") or "",
        "parameters": document.get("parameters") or None,
        "description": document.get("description") or "",
        "version": document.get("version") or "1",
        "style": document.get("style") or "generalist",
        "nsfw": bool(document.get("nsfw")),
        "tags": _db_tags(document),
    }
    display = document.get("display_name") or re.sub(" +", " ", re.sub("[-_]", " ", model)).strip()
    optional = {field: document.get(field) for field in _OPTIONAL} | {"display_name": display}
    return entry | {field: value for field, value in optional.items() if value}


def _db_tags(document: JsonObject) -> list[JsonValue]:
    tags, parameters = document.get("tags"), document.get("parameters")
    words = {str(tag) for tag in tags} if isinstance(tags, list) else set()
    if document.get("style"):
        words.add(str(document["style"]))
    words.add(f"{round(Fraction(parameters if isinstance(parameters, int) else 0, 10**9))}B")
    return [*sorted(words)]


def _summary(members: list[JsonObject]) -> JsonObject:
    parsed = [parse_text_model_name(str(member["model_name"])) for member in members]
    baselines = {str(member["baseline"]) for member in members if member["baseline"]}
    return {
        "member_count": len(members),
        "available_sizes": [*sorted({name.size for name in parsed if name.size})],
        "available_quants": [*sorted({name.quant for name in parsed if name.quant})],
        "common_baseline": baselines.pop() if len(baselines) == 1 else None,
    }
