"""What reading found wrong, as values: conversions, imports and `validate` all speak in findings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Finding", "JsonObject", "JsonValue", "Severity"]

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"


class Severity(StrEnum):
    """How bad: an `ERROR` sets the record aside, a `WARNING` keeps it as written."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where (file, record, field, any of them may be empty), what, and how bad."""

    severity: Severity
    reason: str
    record: str = ""
    field: str = ""
    file: str = ""

    def at(self, file: str) -> Finding:
        """The same finding, with the file it was made in."""
        return replace(self, file=file)

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.record, self.field) if part)
        return f"{place}: {self.reason}" if place else self.reason
