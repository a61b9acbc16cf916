"""The legacy formats: which one a category has, that of the text repository, and the v1 body of a category.

A format gives, for each entry of a file, the *origin*: the entry exactly as written. Who keeps it beside the v2
document gets it back from `from_v2` with every field, as far as the document was not changed.

In `models.csv` an entry is the row as written, every cell a string, so that nothing is lost where a cell says more than
its meaning (a space in front, `7.0` for 7). A bad row costs itself alone, also where a quote is never closed.
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

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.text_names import BACKEND_PREFIXES, parse_text_model_name, text_model_group
from horde_model_reference.errors import MalformedInput, UnknownCategory
from horde_model_reference.formats import legacy_fields
from horde_model_reference.formats.json_codec import decode
from horde_model_reference.formats.legacy_fields import NO_FILES, Field, Layout, LegacyFormat, Merge, Notes, Read
from horde_model_reference.formats.legacy_json import LEGACY_JSON

__all__ = ["COLUMNS", "LEGACY_CSV", "LegacyFormat", "legacy_format", "read_entries", "v1_body"]

COLUMNS = tuple("name parameters_bn display_name url baseline description style tags instruct_format settings".split())
"""The columns of the repository's file; further ones are written after them where an entry has them."""
_MOST_BILLIONS = 10**6
_LONGEST_NUMBER = 40
_MOST_LINES = 200
_EXACT = Context(prec=64)


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


def _text(name: str, *, in_every_file: bool = True) -> Field:
    return Field(name, _cell(str), default="", writes_default=in_every_file)


_TAGS = _cell(lambda cell: [tag.strip() for tag in cell.split(",") if tag.strip()])
_BILLIONS = _to_cell(lambda number: f"{Decimal(cast('int', number)).scaleb(-9, _EXACT).normalize(_EXACT):f}")
_JOINED = _to_cell(lambda tags: ",".join(map(str, cast("list[JsonValue]", tags))))
_LAYOUT: Layout = (
    Field("name", _name),
    _text("description"),
    _text("version", in_every_file=False),
    Field("metadata", lambda *_: {"schema_version": "2.1.0"}, legacy=()),
    Field("config", lambda *_: deepcopy(NO_FILES), legacy=()),
    _text("baseline"),
    Field("parameters", _parameters, _BILLIONS, writes_default=True, legacy=("parameters_bn",)),
    Field(
        "nsfw",
        _cell(lambda cell: cell.strip().lower() == "true"),
        _to_cell(lambda nsfw: str(bool(nsfw)).lower()),
        False,
    ),
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
"""The format of `models.csv`, written as the text repository has it: CRLF line ends, quotes only where needed."""
_BY_SUFFIX = {"csv": LEGACY_CSV, "json": LEGACY_JSON}


def read_entries(data: bytes, *, suffix: str = "json", where: str = "") -> tuple[dict[str, JsonObject], list[Finding]]:
    """The entries of a file of either format, or of v2, each as written; what is wrong with one costs it alone."""
    return _BY_SUFFIX[suffix].read(data, where)


def legacy_format(category: Category) -> LegacyFormat:
    """The format of the category's legacy file. Raises `UnknownCategory`, also for one that exists in v2 only."""
    descriptor = get_category_descriptor(category)
    if not descriptor.has_legacy_format:
        known = tuple(str(name) for name, each in get_all_registered_categories().items() if each.has_legacy_format)
        raise UnknownCategory(f"{category} (in the legacy format)", known)
    return _BY_SUFFIX[descriptor.legacy_filename(category).rpartition(".")[2]]


def v1_body(
    category: Category,
    documents: Mapping[str, JsonObject],
    origins: Mapping[str, JsonObject],
    *,
    include_group: bool = False,
) -> JsonObject:
    """What `GET v1/{category}` answers: the legacy entries, or for text models the rendering of `db.json`.

    `origins` holds the entries of those that were imported; `include_group` adds the group of each text model.
    """
    form = legacy_format(category)
    if form is LEGACY_CSV:
        return {**(_with_groups(_text_db(documents)) if include_group else _text_db(documents))}
    return {key: form.from_v2(category, key, document, origins.get(key)) for key, document in documents.items()}


_OPTIONAL = tuple("settings display_name url instruct_format context_window interaction_modes capabilities".split())


def _text_db(documents: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Name -> entry for each v2 document and each of its three names: its own, and with each worker program's prefix.

    Two authors who use the same model name share one `koboldcpp/` entry, and the later one is in it.
    """
    rendered: dict[str, JsonObject] = {}
    for key, document in documents.items():
        model = key.split("/")[1] if "/" in key else key
        for name in (key, f"aphrodite/{key}", f"koboldcpp/{model}"):
            rendered[name] = _db_entry(name, model, document)
    return rendered


def _with_groups(entries: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """The same entries, each with its group and a summary of the group (prefixed copies count as members)."""
    groups = {name: text_model_group(name) for name in entries}
    members: dict[str, list[JsonObject]] = {}
    for name, entry in entries.items():
        members.setdefault(groups[name], []).append(entry)
    summaries: dict[str, JsonObject] = {}
    for group, of_group in members.items():
        parsed = [parse_text_model_name(str(member["model_name"])) for member in of_group]
        baselines = {str(member["baseline"]) for member in of_group if member["baseline"]}
        summaries[group] = {
            "member_count": len(of_group),
            "available_sizes": [*sorted({name.size for name in parsed if name.size})],
            "available_quants": [*sorted({name.quant for name in parsed if name.quant})],
            "common_baseline": baselines.pop() if len(baselines) == 1 else None,
        }
    return {
        name: {**entry, "text_model_group": groups[name], "text_model_group_summary": summaries[groups[name]]}
        for name, entry in entries.items()
    }


def _db_entry(name: str, model: str, document: JsonObject) -> JsonObject:
    tags, parameters, style = (document.get(field) for field in ("tags", "parameters", "style"))
    words = {str(tag) for tag in (tags if isinstance(tags, list) else [])} | ({str(style)} if style else set())
    words.add(f"{round(Fraction(parameters if isinstance(parameters, int) else 0, 10**9))}B")
    entry: JsonObject = {
        "name": name,
        "model_name": model,
        "baseline": document.get("baseline") or "",
        "parameters": parameters or None,
        "description": document.get("description") or "",
        "version": document.get("version") or "1",
        "style": style or "generalist",
        "nsfw": bool(document.get("nsfw")),
        "tags": [*sorted(words)],
    }
    display = document.get("display_name") or re.sub(" +", " ", re.sub("[-_]", " ", model)).strip()
    optional = {field: document.get(field) for field in _OPTIONAL} | {"display_name": display}
    return entry | {field: value for field, value in optional.items() if value}
