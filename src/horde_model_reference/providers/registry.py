"""The providers known to one reference, and reading a category from several sources at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from horde_model_reference._log import logger
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.source_ids import (
    HORDE_SOURCE_ID,
    SourceOutcome,
    SourceSelector,
    normalize_source_selector,
)
from horde_model_reference.errors import UnknownSource
from horde_model_reference.forks import ForkLock
from horde_model_reference.providers.base import ModelProvider

__all__ = ["ModelProviderRegistry"]

R = TypeVar("R", bound=GenericModelRecord)

_log = logger("providers")


class ModelProviderRegistry:
    """Providers by source id, in the order they were registered. Safe to use from several threads.

    It remembers what each provider last answered for each category, and logs when that turns to failure or back, not
    at every read.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._providers: dict[str, ModelProvider] = {}
        self._answers: dict[tuple[str, str], tuple[SourceOutcome, str]] = {}

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
        return {
            source_id: reason
            for (source_id, asked), (outcome, reason) in list(self._answers.items())
            if outcome is SourceOutcome.error and category in (None, asked)
        }

    def outcome(self, source_id: str, category: str) -> SourceOutcome | None:
        """What the provider last answered for that category, `None` if it was not asked."""
        return self._answers.get((source_id, category), (None, ""))[0]

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
        checked: dict[str, R] = {}
        for name, record in self._answer(provider, source_id, category, force_refresh).items():
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
            if source_id == HORDE_SOURCE_ID:
                records = horde()
            else:
                records = self.fetch(source_id, category, record_type=record_type, force_refresh=force_refresh)
            for name, record in records.items():
                merged.setdefault(name, (record, source_id))
        return merged

    def _answer(
        self, provider: ModelProvider, source_id: str, category: str, force_refresh: bool
    ) -> Mapping[str, GenericModelRecord]:
        try:
            served = provider.serves_category(category)
            records = provider.fetch_category(category, force_refresh=force_refresh) if served else None
            if not isinstance(records, Mapping | None):
                raise TypeError(f"answered {type(records).__name__}, not records by name")
        except Exception as error:  # noqa: BLE001  (a plug-in: what it raises is not ours to know, and costs no one else)
            self._note(source_id, category, SourceOutcome.error, f"{type(error).__name__}: {error}")
            return {}
        self._note(source_id, category, SourceOutcome.ok if records else SourceOutcome.empty)
        return records or {}

    def _note(self, source_id: str, category: str, outcome: SourceOutcome, reason: str = "") -> None:
        failed = outcome is SourceOutcome.error
        with self._lock:
            before = self.outcome(source_id, category)
            self._answers[source_id, category] = (outcome, reason)
        if failed and before is not SourceOutcome.error:
            _log.warning("Source %s failed for %s, its records are left out: %s", source_id, category, reason)
        elif before is SourceOutcome.error and not failed:
            _log.info("Source %s answers for %s again", source_id, category)

    def _forget(self, source_id: str) -> None:
        self._answers = {key: answer for key, answer in self._answers.items() if key[0] != source_id}
