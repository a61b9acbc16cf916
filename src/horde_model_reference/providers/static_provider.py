"""A provider of records that are at hand already."""

from __future__ import annotations

from collections.abc import Mapping

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.validation import validate_record
from horde_model_reference.errors import MalformedInput
from horde_model_reference.providers.base import ModelProvider

__all__ = ["StaticModelProvider"]


class StaticModelProvider(ModelProvider):
    """Serves the records it was given, as category -> name -> record, under the given source id."""

    def __init__(self, source_id: str, records: Mapping[str, Mapping[str, GenericModelRecord]]) -> None:
        self._source_id = source_id
        self._records = {str(category): dict(by_name) for category, by_name in records.items()}

    @classmethod
    def from_raw(cls, source_id: str, raw: Mapping[str, Mapping[str, Mapping[str, JsonValue]]]) -> StaticModelProvider:
        """From v2 records as they lie in a JSON file: category -> name -> record, whose `name` may be left out.

        Raises `MalformedInput`, naming the category, the record and the field, for a record that its class refuses.
        """
        records: dict[str, dict[str, GenericModelRecord]] = {}
        for category, by_name in raw.items():
            made = records.setdefault(category, {})
            for name, fields in by_name.items():
                record, wrong = validate_record(category, name, {"name": name, **fields})
                if record is None:
                    where = f"{source_id}/{category}"
                    raise MalformedInput(wrong[0].reason, where=where, record=name, field=wrong[0].field)
                made[name] = record
        return cls(source_id, records)

    @property
    def source_id(self) -> str:
        return self._source_id

    def provided_categories(self) -> set[str]:
        return set(self._records)

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> dict[str, GenericModelRecord] | None:  # noqa: ARG002  (never stale)
        """The records of that category, in a new dict; `None` for a category it was not given."""
        records = self._records.get(category)
        return None if records is None else dict(records)
