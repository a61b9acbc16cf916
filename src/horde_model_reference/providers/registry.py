"""The providers known to one reference, and reading a category from several sources at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from horde_model_reference._log import logger
from horde_model_reference.domain.names import HORDE_SOURCE_ID, SourceSelector, normalize_source_selector
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.errors import UnknownSource
from horde_model_reference.process import ForkLock
from horde_model_reference.providers.base import ModelProvider

__all__ = ["ModelProviderRegistry"]

R = TypeVar("R", bound=GenericModelRecord)

_log = logger("providers")


class ModelProviderRegistry:
    """Providers by source id, in the order they were registered. Safe to use from several threads.

    It remembers which provider failed last for which category, and logs when that begins and ends, not at every read.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._providers: dict[str, ModelProvider] = {}
        self._failures: dict[tuple[str, str], str] = {}

    def register(self, provider: ModelProvider, *, replace: bool = False) -> None:
        """Make a provider a source. Raises `ValueError` for an id that is empty, reserved, or taken (see `replace`)."""
        source_id = provider.validate_source_id()
        with self._lock:
            if source_id in self._providers and not replace:
                raise ValueError(f"source {source_id!r} is registered already; pass replace=True to change it")
            self._providers[source_id] = provider
            self._forget(source_id)

    def unregister(self, source_id: str) -> bool:
        """Take a provider out of the sources; whether there was one."""
        with self._lock:
            self._forget(source_id)
            return self._providers.pop(source_id, None) is not None

    def get(self, source_id: str) -> ModelProvider | None:
        """The provider of that id, if there is one."""
        return self._providers.get(source_id)

    def ids(self) -> tuple[str, ...]:
        """The ids of all providers, in order."""
        return tuple(self._providers)

    def failed_sources(self, category: str | None = None) -> dict[str, str]:
        """Source id -> reason, of providers whose last answer (for that category, or any) was an error."""
        failures = list(self._failures.items())
        return {source_id: reason for (source_id, asked), reason in failures if category in (None, asked)}

    def fetch(
        self, source_id: str, category: str, *, record_type: type[R], force_refresh: bool = False
    ) -> dict[str, R]:
        """The records of one provider; none where it does not serve the category, has nothing, or failed.

        Raises `UnknownSource` for an id that is not registered, `RuntimeError` where a record is not a `record_type`:
        that is a mistake in the provider's code, which a reader could not make sense of.
        """
        provider = self.get(source_id)
        if provider is None:
            raise UnknownSource(source_id, (HORDE_SOURCE_ID, *self.ids()))
        records, fault = None, ""
        try:
            if provider.serves_category(category):
                records = provider.fetch_category(category, force_refresh=force_refresh)
            if not isinstance(records, Mapping | None):
                raise TypeError(f"answered {type(records).__name__}, not records by name")
        except Exception as error:  # noqa: BLE001  (a plug-in: what it raises is not ours to know, and costs no one else)
            records, fault = None, f"{type(error).__name__}: {error}"
        self._note(source_id, category, fault)
        checked: dict[str, R] = {}
        for name, record in (records or {}).items():
            if not isinstance(record, record_type):
                kinds = f"is a {type(record).__name__}, not a {record_type.__name__}"
                raise RuntimeError(f"source {source_id}: {category}/{name} {kinds}")
            checked[name] = record
        return checked

    def collect(
        self,
        category: str,
        source: SourceSelector,
        *,
        horde: Callable[[], Mapping[str, R]],
        record_type: type[R],
        force_refresh: bool = False,
    ) -> dict[str, tuple[R, str]]:
        """Name -> (record, source id) over the selected sources; the first source listed wins a name.

        `horde` reads the reference itself, and is called only if it is selected. Raises what it raises, and what
        `fetch` does.
        """
        merged: dict[str, tuple[R, str]] = {}
        for source_id in normalize_source_selector(source, self.ids()):
            asked = partial(self.fetch, source_id, category, record_type=record_type, force_refresh=force_refresh)
            for name, record in (horde if source_id == HORDE_SOURCE_ID else asked)().items():
                merged.setdefault(name, (record, source_id))
        return merged

    def _note(self, source_id: str, category: str, fault: str) -> None:
        with self._lock:
            before = self._failures.pop((source_id, category), "")
            if fault:
                self._failures[source_id, category] = fault
        if fault and not before:
            _log.warning("Source %s failed for %s, its records are left out: %s", source_id, category, fault)
        elif before and not fault:
            _log.info("Source %s answers for %s again", source_id, category)

    def _forget(self, source_id: str) -> None:
        self._failures = {key: fault for key, fault in self._failures.items() if key[0] != source_id}
