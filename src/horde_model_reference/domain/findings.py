"""JSON values, and what reading found wrong with them: conversions, imports and `validate` speak in findings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Finding", "JsonObject", "JsonValue", "Severity", "not_finite"]

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"

Severity = StrEnum("Severity", "ERROR WARNING")
"""How bad: an `ERROR` sets the record aside, a `WARNING` keeps it as written."""


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
        text = f"{place}: {self.reason}" if place else self.reason
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def not_finite(value: JsonValue, path: str = "") -> Iterator[str]:
    """The paths of the numbers that are not finite."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from not_finite(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path
