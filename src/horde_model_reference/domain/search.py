"""Searching records by what people look for: a few filters, and an order. Works over several categories at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from horde_model_reference.domain.licensing import PermissionStatus
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.text_names import parse_text_model_name, strip_backend_prefix

__all__ = ["Found", "Search", "Unsortable", "in_order"]

Found: TypeAlias = tuple[str, str, GenericModelRecord]
"""A category, the key of a record in it, and the record."""
_EQUAL = ("nsfw", "baseline", "inpainting")


class Unsortable(ValueError):
    """No record has a value under that name by which it could be sorted."""


@dataclass(frozen=True)
class Search:
    """What a record must be. None asks for nothing; a record that lacks the field is not what was asked for.

    `backend` wants names with that backend's prefix, `exclude_backend_variations` names without any, and `quantized`
    such as name a quantisation, or do not. Upper and lower case are alike in `name_contains`.
    """

    nsfw: bool | None = None
    baseline: str | None = None
    inpainting: bool | None = None
    tags_any: list[str] | None = None
    tags_all: list[str] | None = None
    tags_none: list[str] | None = None
    name_contains: str | None = None
    backend: str | None = None
    exclude_backend_variations: bool = False
    quantized: bool | None = None
    license_id: str | None = None
    commercial_use: PermissionStatus | None = None
    redistribution: PermissionStatus | None = None

    def among(self, records: Iterable[Found]) -> list[Found]:
        """Those that are what was asked for, in the order they came in."""
        found = list(records)
        for field in _EQUAL:  # what is asked for most costs one pass each, and what nobody asked for costs none
            if (wanted := getattr(self, field)) is not None:
                found = [each for each in found if getattr(each[2], field, None) == wanted]
        if any((self.name_contains, self.backend, self.exclude_backend_variations, self.quantized is not None)):
            found = [each for each in found if self._accepts_name(each[1])]
        if self.tags_any and (wanted := frozenset(self.tags_any)):
            found = [each for each in found if not wanted.isdisjoint(_tags(each[2]))]
        if self.tags_all and (wanted := frozenset(self.tags_all)):
            found = [each for each in found if wanted.issubset(_tags(each[2]))]
        if self.tags_none and (wanted := frozenset(self.tags_none)):
            found = [each for each in found if wanted.isdisjoint(_tags(each[2]))]
        if any((self.license_id is not None, self.commercial_use, self.redistribution)):
            found = [each for each in found if self._accepts_licence(each[2])]
        return found

    def _accepts_name(self, name: str) -> bool:
        return (
            (not self.name_contains or self.name_contains.casefold() in name.casefold())
            and (not self.backend or name.startswith(f"{self.backend}/"))
            and not (self.exclude_backend_variations and strip_backend_prefix(name) != name)
            and (self.quantized is None or (parse_text_model_name(name).quant is not None) == self.quantized)
        )

    def _accepts_licence(self, record: GenericModelRecord) -> bool:
        uses = {"commercial_use": self.commercial_use, "redistribution": self.redistribution}
        stated = record.licensing
        return (self.license_id is None or (stated is not None and self.license_id in stated.license_ids)) and all(
            wanted is None or getattr(stated, use, PermissionStatus.UNKNOWN) == wanted for use, wanted in uses.items()
        )


def in_order(found: list[Found], field: str, *, descending: bool = False) -> list[Found]:
    """Sorted by that field, those without it last; equals stay in the order they came in. Raises `Unsortable`."""
    values = [_value(record, field) for _, _, record in found]
    keyed = [(key, each) for value, each in zip(values, found, strict=True) if (key := _sort_key(value)) is not None]
    if found and not keyed and not any(_field(record, field) for _, _, record in found):
        raise Unsortable(f"None of the records found has a field {field!r} to sort by")
    keyed.sort(key=lambda pair: pair[0], reverse=descending)
    absent = [each for value, each in zip(values, found, strict=True) if _sort_key(value) is None]
    return [each for _, each in keyed] + absent


def _tags(record: GenericModelRecord) -> list[str]:
    return getattr(record, "tags", None) or []


def _field(record: GenericModelRecord, name: str) -> str | None:
    """The name that the class has for it: a field goes by its alias, too."""
    fields = type(record).model_fields
    return name if name in fields else next((each for each, field in fields.items() if field.alias == name), None)


def _value(record: GenericModelRecord, name: str) -> object:
    field = _field(record, name)
    return None if field is None else getattr(record, field)


def _sort_key(value: object) -> tuple[int, float, str] | None:
    if isinstance(value, int | float):
        return (0, value, "")
    return (1, 0.0, value.casefold()) if isinstance(value, str) else None
