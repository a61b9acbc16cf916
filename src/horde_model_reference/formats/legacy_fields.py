"""How one record moves between the legacy formats and v2: a table of fields, and two functions that follow it.

Reading goes down the table and collects what is wrong. Writing back is a merge: what the document still has in common
with the conversion of its original is left alone in the original, only what differs is written. So a record that nobody
changed is its original, with every field that v2 does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeAlias

from horde_model_reference.domain.categories import Category, get_model_classification
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.names import require_model_name
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.formats.json_codec import kind_of

__all__ = [
    "Field",
    "Layout",
    "Notes",
    "as_text",
    "decoded_text",
    "merged_entry",
    "model_name",
    "object_or_none",
    "option_values",
    "read_document",
]

_BOM = b"\xef\xbb\xbf"


@dataclass
class Notes:
    """What was found wrong with one record (or, without a record, with a file) while it was read."""

    record: str = ""
    file: str = ""
    _found: dict[Finding, None] = field(default_factory=dict)

    def error(self, place: str, reason: str) -> None:
        """The record cannot be used."""
        self._found[Finding(Severity.ERROR, reason, self.record, place, self.file)] = None

    def warning(self, place: str, reason: str) -> None:
        """The record is kept as written, but somebody should look at it."""
        self._found[Finding(Severity.WARNING, reason, self.record, place, self.file)] = None

    def wrong_kind(self, place: str, expected: str, value: JsonValue) -> None:
        """An error: the value is not of the kind that the format asks for."""
        self.error(place, f"must be {expected}, not {kind_of(value)}")

    @property
    def findings(self) -> list[Finding]:
        """Each finding once, in the order of the fields."""
        return list(self._found)

    @property
    def failed(self) -> bool:
        """Whether the record must be set aside."""
        return any(finding.severity is Severity.ERROR for finding in self._found)


Read: TypeAlias = Callable[[JsonValue, str, Notes], JsonValue]
Merge: TypeAlias = Callable[[JsonValue, JsonValue, JsonValue], JsonValue]


def _take_new(_old: JsonValue, _before: JsonValue, after: JsonValue) -> JsonValue:
    return after


@dataclass(frozen=True)
class Field:
    """One row: a v2 field, the legacy fields that say the same (the first one that is set counts), and the two ways.

    `read` turns the legacy value into the v2 value; `None` leaves the field out. `merge` turns (legacy value, v2 value
    before, v2 value after) into the new legacy value. `default` means the same as a missing v2 field; it is spelt out
    in a legacy entry where `writes_default` is set.
    """

    v2: str
    legacy: tuple[str, ...]
    read: Read
    merge: Merge = _take_new
    default: JsonValue = None
    writes_default: bool = False

    def value_in(self, origin: JsonObject) -> JsonValue:
        """The legacy value."""
        return next((origin[key] for key in self.legacy if origin.get(key) is not None), None)

    def significant(self, document: JsonObject) -> JsonValue:
        """The v2 value, `None` for a missing one and for the default."""
        value = document.get(self.v2)
        return None if value == self.default else value

    def put(self, entry: JsonObject, before: JsonValue, after: JsonValue) -> None:
        """Write `after` into the legacy entry, to each field that said the same as the one that counted."""
        old = self.value_in(entry)
        same = [key for key in self.legacy if key in entry and entry[key] == old]
        for key in same or self.legacy[:1]:
            if after is None and not self.writes_default:
                entry.pop(key, None)
            else:
                entry[key] = self.merge(old, before, deepcopy(self.default) if after is None else after)


Layout: TypeAlias = tuple[Field, ...]
"""The fields of one category, in the order of the v2 document."""


def read_document(category: Category, layout: Layout, origin: JsonObject, notes: Notes) -> JsonObject | None:
    """The v2 document of a legacy entry; `None` where `notes` then hold an error."""
    classification = get_model_classification(category)
    document: JsonObject = {"record_type": str(category)}
    for row in layout:
        value = row.read(row.value_in(origin), row.legacy[0] if row.legacy else row.v2, notes)
        if value is not None:
            document[row.v2] = value
        if row.v2 == "config":
            document["model_classification"] = classification.model_dump(mode="json")
    return None if notes.failed else document


def merged_entry(layout: Layout, origin: JsonObject, before: JsonObject | None, document: JsonObject) -> JsonObject:
    """The legacy entry of `document`: `origin` with what differs from `before`, its own conversion.

    `before=None` says that there is no original: every field is written into `origin`, which may hold constants.
    """
    entry = dict(origin)
    for row in layout:
        was, now = row.significant(before or {}), row.significant(document)
        if was != now or (before is None and row.writes_default):
            row.put(entry, was, now)
    return entry


def decoded_text(data: bytes, *, where: str) -> str:
    """The text of a file: UTF-8, with or without byte order mark. Raises `MalformedInput`."""
    if not data.strip():
        raise MalformedInput("empty", where=where)
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MalformedInput(f"not UTF-8: byte 0x{data[error.start]:02x} in line {line}", where=where) from None


def as_text(value: JsonValue, place: str, notes: Notes) -> str | None:
    """A string or nothing."""
    if value is None or isinstance(value, str):
        return value
    notes.wrong_kind(place, "a string", value)
    return None


def model_name(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """A name that a model may have; the key of the entry where none is given."""
    name = as_text(value, place, notes)
    if name is None:
        notes.warning(place, "is missing; the key is used")
    elif name != notes.record:
        notes.warning(place, f"is {name!r}, other than the key")
    for candidate in dict.fromkeys((notes.record, name or notes.record)):
        try:
            require_model_name(candidate)
        except UnsafeName as error:
            notes.error(place, str(error))
    return name or notes.record


def object_or_none(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    """An object or nothing."""
    if value is None or isinstance(value, dict):
        return value
    notes.wrong_kind(place, "an object", value)
    return None


def option_values(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    """An object of scalars and lists of scalars, as `requirements` and `settings` are."""
    options = object_or_none(value, place, notes)
    for name, option in (options or {}).items():
        for item in option if isinstance(option, list) else [option]:
            if item is None or isinstance(item, (dict, list)):
                notes.wrong_kind(f"{place}.{name}", "a scalar or a list of scalars", item)
    return options
