"""What PRIMARY needs of a store: snapshots at any revision, a log of events, and units of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Entry, Event, Kind
from horde_model_reference.domain.metadata import CategoryMetadata
from horde_model_reference.domain.snapshots import Snapshot

if TYPE_CHECKING:
    from horde_model_reference.stores.unit import UnitOfWork

__all__ = ["Store"]


class Store(Protocol):
    """The reference on the side that owns it. Safe to use from many threads and processes at once."""

    @property
    def url(self) -> str:
        """Where it is, without secrets; for messages."""

    def head(self) -> int:
        """The newest revision, 0 for an empty store."""

    def revision_at(self, time_ms: int) -> int:
        """The newest revision at that Unix time in milliseconds."""

    def snapshot(self, category: Category, *, at: int | None = None, known: Snapshot | None = None) -> Snapshot:
        """The category now, or at revision `at`. `known` is given back, relabelled, where nothing changed since.

        Raises `RevisionUnknown` for a revision that is not there.
        """

    def entries(self, category: Category, *, kind: Kind = Kind.RECORD, at: int | None = None) -> dict[str, Entry]:
        """The rows behind a snapshot, with their origins, in order. Raises `RevisionUnknown`."""

    def counts(self) -> dict[Category, int]:
        """How many records each category has; categories without any are left out."""

    def metadata(self, category: Category) -> CategoryMetadata | None:
        """How often and when the category changed; None where it never had a record."""

    def events(self, *, since: int = 0, category: Category | None = None, limit: int | None = None) -> Iterator[Event]:
        """What happened after revision `since`, in order; read in portions, so it may be long."""

    def begin(self, *, actor: str, at_ms: int | None = None) -> AbstractContextManager[UnitOfWork]:
        """A unit of work: commits when the block ends, durable when it returns; rolls back when the block raises.

        One at a time: a thread that begins a second one inside the first waits for itself, until `StoreUnavailable`.
        """

    def subscribe(self, changed: Callable[[], object]) -> None:
        """Call `changed` after each commit of this object, on the thread that wrote, before `begin` returns to it.

        Who came last is called first: readers, that only take note, before the mirror, that writes files.
        """

    def verify(self) -> list[tuple[int, str]]:
        """Faults as (revision, what is wrong): in the chain of events, or between what it leads to and the records."""

    def close(self) -> None:
        """Give back connections. The store can be used again afterwards."""
