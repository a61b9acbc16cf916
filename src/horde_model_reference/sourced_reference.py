"""Reading from the reference and from an application's own providers as if they were one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.records import GenericModelRecord, get_record_type_for_category
from horde_model_reference.domain.source_ids import HORDE_SOURCE_ID, SourceSelector
from horde_model_reference.domain.validation import Records
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable
from horde_model_reference.providers.registry import ModelProviderRegistry
from horde_model_reference.reference import Reference

__all__ = ["SourcedReference"]


@dataclass(frozen=True)
class SourcedReference:
    """`source` selects: `horde` is the reference alone, and as fast as that; else the first source listed wins a name.

    Beside what the reference raises: `UnknownSource` for an id nobody registered.
    """

    reference: Reference
    providers: ModelProviderRegistry = field(default_factory=ModelProviderRegistry)

    def read(self, category: Category, *, fresh: bool = False, source: SourceSelector = HORDE_SOURCE_ID) -> Records:
        """The records of a category by name."""
        if source == HORDE_SOURCE_ID:
            return self.reference.read(category, fresh=fresh)
        return {name: record for name, (record, _) in self.collect(category, source, fresh=fresh).items()}

    async def read_async(
        self, category: Category, *, fresh: bool = False, source: SourceSelector = HORDE_SOURCE_ID
    ) -> Records:
        """Like `read`; providers, which may block, are asked in a thread."""
        if source == HORDE_SOURCE_ID:
            return await self.reference.read_async(category, fresh=fresh)
        return await asyncio.to_thread(partial(self.read, category, fresh=fresh, source=source))

    def model(self, category: Category, name: str, *, source: SourceSelector = HORDE_SOURCE_ID) -> GenericModelRecord:
        """One record."""
        if source == HORDE_SOURCE_ID:
            return self.reference.model(category, name)
        return _found(self.read(category, source=source), category, name)

    async def model_async(
        self, category: Category, name: str, *, source: SourceSelector = HORDE_SOURCE_ID
    ) -> GenericModelRecord:
        """Like `model`, without blocking the loop."""
        if source == HORDE_SOURCE_ID:
            return await self.reference.model_async(category, name)
        return _found(await self.read_async(category, source=source), category, name)

    def collect(
        self, category: Category, source: SourceSelector, *, fresh: bool = False
    ) -> dict[str, tuple[GenericModelRecord, str]]:
        """Name -> (record, id of the source it came from). The reference being unavailable costs the others nothing."""
        refused: list[ReferenceUnavailable] = []

        def horde() -> Records:
            try:
                return self.reference.read(category, fresh=fresh)
            except ReferenceUnavailable as refusal:
                refused.append(refusal)
                return {}

        record_type = get_record_type_for_category(find_category(category))
        found = self.providers.collect(category, source, horde=horde, record_type=record_type, force_refresh=fresh)
        if refused and not found:
            raise refused[0]
        return found

    def collect_all(self, source: SourceSelector) -> dict[Category, list[tuple[GenericModelRecord, str]]]:
        """(record, source id) of every category that any of the sources has."""
        found: dict[Category, list[tuple[GenericModelRecord, str]]] = {}
        for category in get_all_registered_categories():
            with suppress(ReferenceUnavailable):
                found[category] = list(self.collect(category, source).values())
        return found

    def read_all(self, *, fresh: bool = False) -> dict[Category, Records | None]:
        """Every known category; None for those that cannot be had."""
        with suppress(ReferenceUnavailable):
            self.reference.warm(fresh=fresh)
        return self.reference.held()

    async def read_all_async(self, *, fresh: bool = False) -> dict[Category, Records | None]:
        """Like `read_all`, all that is missing at once."""
        with suppress(ReferenceUnavailable):
            await self.reference.warm_async(fresh=fresh)
        return self.reference.held()


def _found(records: Records, category: Category, name: str) -> GenericModelRecord:
    if name not in records:
        raise ModelNotFound(name, category)
    return records[name]
