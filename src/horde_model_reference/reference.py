"""The reading object: typed records of every category, from one source, held in memory.

A warm read is a dictionary lookup and a copy; it runs no flow, takes no lock and asks nobody. When what is held grows
older than `max_age` the next read asks the source, which mostly says that nothing changed. Whatever goes wrong then,
the reader keeps what it has: a read fails only where there never was anything to give.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import Finding, JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import validate_records
from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable, SourceUnavailable, UnknownCategory
from horde_model_reference.flow import All, Call, Flow, Network, run, run_async
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.single_flight import SingleFlight

if TYPE_CHECKING:
    from horde_model_reference.domain.records import GenericModelRecord
    from horde_model_reference.sources.base import Source

__all__ = ["CategoryStatus", "Reference"]

_log = logging.getLogger("horde_model_reference.reference")
_now = time.monotonic


@dataclass(frozen=True, slots=True)
class _Held:
    """One category in memory: immutable, replaced whole."""

    snapshot: Snapshot
    records: dict[str, GenericModelRecord]
    findings: list[Finding]
    good_until: float
    read_at: float = field(default_factory=time.time)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CategoryStatus:
    """What is held of one category: how many records, from where, which revision, how old in seconds, what is wrong.

    `fault` is why the last attempt to read it again failed, empty where it did not; `set_aside` are the findings about
    records that could not be read and those kept with a warning.
    """

    category: Category
    records: int
    source: str
    revision: int | None
    age: float
    fault: str
    set_aside: tuple[Finding, ...]


class Reference:
    """Reads the reference from `source`; make as many as you like. Every method has an async twin, safe in any mix of
    threads, event loops and forked processes.

    `max_age` is how many seconds a held category is given out before the source is asked again; 0 asks every time.
    Dictionaries are the caller's own; the records in them are shared between callers: copy one before changing it.
    """

    def __init__(self, source: Source, network: Network, *, max_age: float = 60.0) -> None:
        self._source = source
        self._network = network
        self._max_age = max(0.0, max_age)
        self._held: dict[Category, _Held] = {}
        self._flights: SingleFlight[_Held] = SingleFlight()
        _REFERENCES.add(self)

    def read(self, category: Category, *, fresh: bool = False) -> dict[str, GenericModelRecord]:
        """The records of a category by name; `fresh` asks the source now. Raises `ReferenceUnavailable`."""
        held = self._held.get(category)
        if held is None or fresh or held.good_until < _now():
            held = self._load(category)
        return held.records.copy()

    async def read_async(self, category: Category, *, fresh: bool = False) -> dict[str, GenericModelRecord]:
        """Like `read`, without blocking the loop."""
        held = self._held.get(category)
        if held is None or fresh or held.good_until < _now():
            held = await self._load_async(category)
        return held.records.copy()

    def model(self, category: Category, name: str) -> GenericModelRecord:
        """One record. Raises `ReferenceUnavailable`, `ModelNotFound`."""
        held = self._held.get(category)
        if held is None or held.good_until < _now():
            held = self._load(category)
        return held.records.get(name) or _missing(held, name)

    async def model_async(self, category: Category, name: str) -> GenericModelRecord:
        """Like `model`, without blocking the loop."""
        held = self._held.get(category)
        if held is None or held.good_until < _now():
            held = await self._load_async(category)
        return held.records.get(name) or _missing(held, name)

    def snapshot(self, category: Category, *, fresh: bool = False) -> Snapshot:
        """The bytes behind the records. Raises `UnknownCategory`, `ReferenceUnavailable`."""
        category = find_category(category)
        held = self._held.get(category)
        return (self._load(category) if held is None or fresh or held.good_until < _now() else held).snapshot

    async def snapshot_async(self, category: Category, *, fresh: bool = False) -> Snapshot:
        """Like `snapshot`, without blocking the loop."""
        category = find_category(category)
        held = self._held.get(category)
        current = held is not None and not fresh and held.good_until >= _now()
        return (held if held is not None and current else await self._load_async(category)).snapshot

    def raw(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """The documents as plain JSON, unknown fields and unreadable records included; a new object each time."""
        return decode_object(self.snapshot(category, fresh=fresh).body, where=category)

    async def raw_async(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """Like `raw`, without blocking the loop."""
        return decode_object((await self.snapshot_async(category, fresh=fresh)).body, where=category)

    def warm(self, *, fresh: bool = False) -> None:
        """Load every category that can be had. Raises `ReferenceUnavailable` where not one of them could."""
        self._one_at_least([self._outcome(category, partial(self._load, category)) for category in self._wanted(fresh)])

    async def warm_async(self, *, fresh: bool = False) -> None:
        """Like `warm`, all categories at once."""
        flow = self._reading_all([(c, self._held.get(c)) for c in self._wanted(fresh)])
        self._one_at_least(await run_async(flow, self._network))

    def is_warm(self, category: Category | None = None) -> bool:
        """Whether the category is in memory; without one, whether anything is."""
        return bool(self._held) if category is None else category in self._held

    def status(self) -> list[CategoryStatus]:
        """What is held, category by category; asks nobody."""
        now = time.time()
        return [
            CategoryStatus(
                category,
                len(h.records),
                h.snapshot.source,
                h.snapshot.revision,
                now - h.read_at,
                h.fault,
                tuple(h.findings),
            )
            for category, h in sorted(self._held.items())
        ]

    def forget(self) -> None:
        """Drop what is held in memory; the next read asks the source."""
        self._held = {}

    # -- loading: a flow decides, a driver waits, one load a category at a time --

    def _load(self, category: Category) -> _Held:
        known = _known(category)
        return self._flights.do(known, lambda: run(self._reading(known, self._held.get(known)), self._network))

    async def _load_async(self, category: Category) -> _Held:
        known = _known(category)
        flow = self._reading
        return await self._flights.do_async(known, lambda: run_async(flow(known, self._held.get(known)), self._network))

    def _reading(self, category: Category, known: _Held | None) -> Flow[_Held]:
        try:
            snapshot = yield from self._source.read(category, known.snapshot if known else None)
            held = yield from self._validated(category, snapshot, known)
        except SourceUnavailable as refusal:
            if known is None:
                raise ReferenceUnavailable(category, str(refusal)) from refusal
            held = self._kept(category, known, refusal)
        self._held[category] = held
        return held

    def _validated(self, category: Category, snapshot: Snapshot, known: _Held | None) -> Flow[_Held]:
        good_until = _now() + self._max_age
        if known is not None and snapshot.body is known.snapshot.body:
            return replace(known, snapshot=snapshot, good_until=good_until, read_at=time.time(), fault="")
        records, findings = yield Call(partial(validate_records, category, snapshot.body))
        if findings and not records:
            raise SourceUnavailable(snapshot.source, f"not one record of {category} can be read; {findings[0]}")
        for finding in findings:
            _log.warning("%s: %s", category, finding)
        return _Held(snapshot, records, findings, good_until)

    def _kept(self, category: Category, known: _Held, refusal: SourceUnavailable) -> _Held:
        if not known.fault:
            _log.warning(
                "%s: the cache is stale, reading it again failed; keeping what there is: %s", category, refusal
            )
        return replace(known, good_until=_now() + self._max_age, fault=str(refusal))

    def _reading_all(self, wanted: list[tuple[Category, _Held | None]]) -> Flow[list[ReferenceUnavailable | None]]:
        outcomes: list[ReferenceUnavailable | None] = yield All([self._attempt(c, held) for c, held in wanted])
        return outcomes

    def _attempt(self, category: Category, known: _Held | None) -> Flow[ReferenceUnavailable | None]:
        try:
            yield from self._reading(category, known)
        except ReferenceUnavailable as error:
            return error
        return None

    def _outcome(self, category: Category, load: partial[_Held]) -> ReferenceUnavailable | None:
        try:
            load()
        except ReferenceUnavailable as error:
            return error
        return None

    def _wanted(self, fresh: bool) -> list[Category]:
        categories = [c for c, d in get_all_registered_categories().items() if not d.managed_elsewhere]
        return categories if fresh else [c for c in categories if c not in self._held]

    def _one_at_least(self, outcomes: list[ReferenceUnavailable | None]) -> None:
        refused = [outcome for outcome in outcomes if outcome is not None]
        if refused and not self._held:
            raise refused[0]

    def after_fork(self) -> None:
        """In a forked child no load is in progress, whatever the parent's threads were doing."""
        self._flights = SingleFlight()


def _known(category: Category) -> Category:
    try:
        return find_category(category)
    except UnknownCategory as error:
        raise ReferenceUnavailable(category, str(error)) from error


def _missing(held: _Held, name: str) -> GenericModelRecord:
    close = get_close_matches(name, held.records, n=3)
    raise ModelNotFound(name, held.snapshot.category, tuple(close))


_REFERENCES: weakref.WeakSet[Reference] = weakref.WeakSet()


def _after_fork() -> None:
    for reference in list(_REFERENCES):
        reference.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
