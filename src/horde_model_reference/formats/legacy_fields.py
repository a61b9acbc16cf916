"""How one record moves between a legacy format and v2: a table of fields, and a format that follows it both ways.

Writing back is a merge: only what differs from the conversion of the original is written into it. So a record that
nobody changed is its original, with every field that v2 does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar

from horde_model_reference.domain.categories import Category, get_model_classification
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.names import require_model_name
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.formats.json_codec import kind_of

__all__ = ["NO_FILES", "Field", "Layout", "LegacyFormat", "Merge", "Notes", "Read"]
__all__ += ["as_object", "as_text", "decoded_text", "model_name", "of_kind", "option_values"]

NO_FILES: JsonObject = {"download": []}
"""The `config` of a model that lists no file."""


@dataclass
class Notes:
    """What is wrong with one record (or, without a record, with a file), in the order of the fields."""

    record: str = ""
    file: str = ""
    findings: list[Finding] = field(default_factory=list)

    def error(self, place: str, reason: str, severity: Severity = Severity.ERROR) -> None:
        """The record cannot be used."""
        self.findings.append(Finding(severity, reason, self.record, place, self.file))

    def warning(self, place: str, reason: str) -> None:
        """The record is kept as written, but somebody should look at it."""
        self.error(place, reason, Severity.WARNING)

    def wrong_kind(self, place: str, expected: str, value: object) -> None:
        """An error: the value is not of the kind that the format asks for."""
        self.error(place, f"must be {expected}, not {kind_of(value)}")

    @property
    def failed(self) -> bool:
        """Whether the record must be set aside."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


T = TypeVar("T")
Read: TypeAlias = Callable[[JsonValue, str, Notes], JsonValue]
Merge: TypeAlias = Callable[[JsonValue, JsonValue, JsonValue], JsonValue]


def of_kind(kind: type[T], expected: str) -> Callable[[JsonValue, str, Notes], T | None]:
    """A reader that takes a value of this kind or nothing; all else is an error."""

    def read(value: JsonValue, place: str, notes: Notes) -> T | None:
        if value is None or type(value) is kind:
            return value
        notes.wrong_kind(place, expected, value)
        return None

    return read


as_text = of_kind(str, "a string")
as_object: Callable[[JsonValue, str, Notes], JsonObject | None] = of_kind(dict, "an object")


def option_values(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    """An object of scalars and lists of scalars, as `requirements` and `settings` are."""
    options = as_object(value, place, notes)
    for name, option in (options or {}).items():
        for item in option if isinstance(option, list) else [option]:
            if item is None or isinstance(item, (dict, list)):
                notes.wrong_kind(f"{place}.{name}", "a scalar or a list of scalars", item)
    return options


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


@dataclass(frozen=True)
class Field:
    """One row: a v2 field, the two ways, and the legacy fields that say the same (the first one that is set counts).

    `read` turns the legacy value into the v2 value; `None` leaves the field out. `merge` turns (legacy value, v2 value
    before, v2 value after) into the new legacy value. `default` means the same as a missing v2 field; it is spelt out
    in a legacy entry where `writes_default` is set. Without `legacy` the name is the same; `()` is in v2 alone.
    `essence` is what of a v2 value counts when two are compared.
    """

    v2: str
    read: Read = as_text
    merge: Merge = lambda _old, _before, after: after
    default: JsonValue = None
    writes_default: bool = False
    legacy: tuple[str, ...] | None = None
    essence: Callable[[JsonValue], JsonValue] = lambda value: value

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The legacy fields."""
        return (self.v2,) if self.legacy is None else self.legacy

    def value_in(self, entry: JsonObject) -> JsonValue:
        """The legacy value."""
        return next((entry[key] for key in self.names if entry.get(key) is not None), None)


Layout: TypeAlias = tuple[Field, ...]
"""The fields of one category, in the order of the v2 document."""


@dataclass(frozen=True)
class LegacyFormat:
    """A legacy file format. Pure: bytes and documents in, documents and bytes out, findings beside them.

    `read` gives the entries of the file that its second argument names, each as written, and for an entry that cannot
    be used a finding instead; it raises `MalformedInput` for bytes that are no such file. `write` gives the file as the
    repository has it, `layout` the fields of a category's entries.
    """

    read: Callable[[bytes, str], tuple[dict[str, JsonObject], list[Finding]]]
    write: Callable[[Mapping[str, JsonObject]], bytes]
    layout: Callable[[Category], Layout]

    def to_v2(self, category: Category, key: str, origin: JsonObject) -> tuple[JsonObject | None, list[Finding]]:
        """The v2 document of an entry; `None` where an error among the findings sets it aside."""
        notes = Notes(key)
        document: JsonObject = {"record_type": str(category)}
        for row in self.layout(category):
            value = row.read(row.value_in(origin), (row.names or (row.v2,))[0], notes)
            if value is not None:
                document[row.v2] = value
            if row.v2 == "config":
                document["model_classification"] = get_model_classification(category).model_dump(mode="json")
        return None if notes.failed else document, notes.findings

    def from_v2(self, category: Category, key: str, document: JsonObject, origin: JsonObject | None) -> JsonObject:
        """The entry that `document` is today: `origin` as it was, with only what changed since written into it."""
        before = None if origin is None else self.to_v2(category, key, origin)[0]
        entry: JsonObject = {"name": key} if origin is None or before is None else dict(origin)
        for row in self.layout(category):
            values = ((before or {}).get(row.v2), document.get(row.v2))
            was, now = (None if row.essence(value) == row.default else value for value in values)
            if row.essence(was) == row.essence(now) and not (before is None and row.writes_default):
                continue
            old = row.value_in(entry)  # each field that says the same as the one that counts is written
            for name in [name for name in row.names if name in entry and entry[name] == old] or row.names[:1]:
                entry[name] = row.merge(old, was, deepcopy(row.default) if now is None else now)
                if now is None and not row.writes_default:
                    del entry[name]
        return entry


def decoded_text(data: bytes, *, where: str) -> str:
    """The text of a file: UTF-8, with or without byte order mark. Raises `MalformedInput`."""
    if not data.strip():
        raise MalformedInput("empty", where=where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad, line = error.object[error.start], error.object.count(b"\n", 0, error.start) + 1
        raise MalformedInput(f"not UTF-8: byte 0x{bad:02x} in line {line}", where=where) from None
