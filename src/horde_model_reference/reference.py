"""The reading object: typed records of every category, from one source, held in memory.

A warm read is a dictionary lookup and a copy; it runs no flow, takes no lock and asks nobody. When what is held grows
older than `max_age` the next read asks the source, which mostly says that nothing changed. Whatever goes wrong then,
the reader keeps what it has: a read fails only where there never was anything to give.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import Finding, JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import Records, validate_records
from horde_model_reference.errors import (
    MalformedInput,
    ModelNotFound,
    ReferenceUnavailable,
    SourceUnavailable,
    UnknownCategory,
)
from horde_model_reference.flow import Call, Flow, Network, run, run_async
from horde_model_reference.forks import no_fork
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.single_flight import SingleFlight

if TYPE_CHECKING:
    from horde_model_reference.domain.records import GenericModelRecord
    from horde_model_reference.sources.base import Source

__all__ = ["CategoryStatus", "Reference"]

_log = logger("reference")
_now = time.monotonic


@dataclass(frozen=True, slots=True)
class _Held:
    """One category in memory: immutable, replaced whole."""

    snapshot: Snapshot
    records: Records
    findings: list[Finding]
    good_until: float
    era: int
    names: dict[str, str] = field(default_factory=dict)
    """Key -> name, of the few documents whose key is not their record's name; both find the record."""
    read_at: float = field(default_factory=time.time)
    fault: str = ""

    @property
    def revision(self) -> int:
        return self.snapshot.revision or 0

    def model(self, name: str) -> GenericModelRecord:
        found = self.records.get(name) or self.records.get(self.names.get(name, name))
        if found is None:
            from difflib import get_close_matches  # rarely needed, and every start would pay for it

            raise ModelNotFound(name, self.snapshot.category, tuple(get_close_matches(name, self.records, n=3)))
        return found

    def status(self, category: Category) -> CategoryStatus:
        source, age = self.snapshot.source, time.time() - self.read_at
        findings = tuple(self.findings)
        return CategoryStatus(category, len(self.records), source, self.snapshot.revision, age, self.fault, findings)


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
        self._memory: dict[Category, _Held] = {}
        self._flights: SingleFlight[_Held] = SingleFlight()
        self._era = 0

    def read(self, category: Category, *, fresh: bool = False) -> Records:
        """The records of a category by name; `fresh` asks the source now. Raises `ReferenceUnavailable`."""
        return (self._current(category, fresh) or self._load(category, fresh)).records.copy()

    async def read_async(self, category: Category, *, fresh: bool = False) -> Records:
        """Like `read`, without blocking the loop."""
        return (self._current(category, fresh) or await self._load_async(category, fresh)).records.copy()

    def model(self, category: Category, name: str) -> GenericModelRecord:
        """One record. Raises `ReferenceUnavailable`, `ModelNotFound`."""
        return (self._current(category) or self._load(category)).model(name)

    async def model_async(self, category: Category, name: str) -> GenericModelRecord:
        """Like `model`, without blocking the loop."""
        return (self._current(category) or await self._load_async(category)).model(name)

    def snapshot(self, category: Category, *, fresh: bool = False) -> Snapshot:
        """The bytes behind the records. Raises `UnknownCategory`, `ReferenceUnavailable`."""
        category = find_category(category)
        return (self._current(category, fresh) or self._load(category, fresh)).snapshot

    async def snapshot_async(self, category: Category, *, fresh: bool = False) -> Snapshot:
        """Like `snapshot`, without blocking the loop."""
        category = find_category(category)
        return (self._current(category, fresh) or await self._load_async(category, fresh)).snapshot

    def raw(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """The documents as plain JSON, unknown fields and unreadable records included; a new object each time."""
        return decode_object(self.snapshot(category, fresh=fresh).body, where=category)

    async def raw_async(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """Like `raw`, without blocking the loop."""
        return decode_object((await self.snapshot_async(category, fresh=fresh)).body, where=category)

    def warm(self, *, fresh: bool = False) -> None:
        """Load every category that is not in memory, or with `fresh` all. Raises `ReferenceUnavailable` where there is
        nothing of any then."""
        refusals = []
        for category in self._wanted(fresh):
            try:
                self._load(category, fresh)
            except ReferenceUnavailable as refusal:
                refusals.append(refusal)
        self._require_something(refusals)

    async def warm_async(self, *, fresh: bool = False) -> None:
        """Like `warm`, all categories at once."""
        loads = [self._load_async(category, fresh) for category in self._wanted(fresh)]
        ends = await asyncio.gather(*loads, return_exceptions=True)
        for fault in (e for e in ends if isinstance(e, BaseException) and not isinstance(e, ReferenceUnavailable)):
            raise fault
        self._require_something([end for end in ends if isinstance(end, ReferenceUnavailable)])

    def held(self) -> dict[Category, Records | None]:
        """What is in memory of every known category, however old; None for what is not. Asks nobody."""
        memory = self._memory
        return {c: memory[c].records.copy() if c in memory else None for c in get_all_registered_categories()}

    def expire(self) -> None:
        """Make the next read of each category ask the source, whatever its age."""
        self._era += 1  # also for loads that have begun: they are given to those who came before

    def is_warm(self, category: Category | None = None) -> bool:
        """Whether the category is in memory; without one, whether anything is."""
        return bool(self._memory) if category is None else category in self._memory

    def status(self) -> list[CategoryStatus]:
        """What is held, category by category; asks nobody."""
        return [held.status(category) for category, held in sorted(self._memory.items())]

    # -- loading: a flow decides, a driver waits, one load a category at a time --

    def _current(self, category: Category, fresh: bool = False) -> _Held | None:
        held = self._memory.get(category)
        return None if held is None or fresh or held.era != self._era or held.good_until < _now() else held

    def _load(self, category: Category, fresh: bool = False) -> _Held:
        known, era = _known(category), self._era
        return self._flights.do((known, era), lambda: run(self._reading(known, era), self._network), anew=fresh)

    async def _load_async(self, category: Category, fresh: bool = False) -> _Held:
        known, era = _known(category), self._era
        return await self._flights.do_async(
            (known, era), lambda: run_async(self._reading(known, era), self._network), anew=fresh
        )

    def _reading(self, category: Category, era: int) -> Flow[_Held]:
        before = self._memory.get(category)
        try:
            snapshot = yield from self._source.read(category, before.snapshot if before else None)
            held = yield from self._validated(category, snapshot, before, era)
        except (SourceUnavailable, MalformedInput) as refusal:
            if before is None:
                raise ReferenceUnavailable(category, str(refusal)) from refusal
            held = self._kept(category, before, refusal, era)
        now = self._memory.get(category)
        if now is not None and now is not before and (now.revision, now.era) > (held.revision, era):
            return now  # another load overtook this one; nobody shall see an earlier revision after a later one
        self._memory[category] = held
        return held

    def _validated(self, category: Category, snapshot: Snapshot, before: _Held | None, era: int) -> Flow[_Held]:
        good_until, fault = _now() + self._max_age, snapshot.instead
        if fault and not (before is not None and before.fault):
            _log.warning("%s: reading %s instead: %s", category, snapshot.source, fault)
        if before is not None and snapshot.body is before.snapshot.body:
            return replace(before, snapshot=snapshot, good_until=good_until, era=era, read_at=time.time(), fault=fault)
        records, findings = yield Call(partial(_validate, category, snapshot.body))
        if findings and not records:
            raise SourceUnavailable(snapshot.source, f"not one record of {category} can be read; {findings[0]}")
        for finding in findings:
            _log.warning("%s: %s", category, finding)
        by_name, names = _by_name(records)
        return _Held(snapshot, by_name, findings, good_until, era, names, fault=fault)

    def _kept(self, category: Category, before: _Held, refusal: Exception, era: int) -> _Held:
        if not before.fault:
            # Log analysers of GPU workers look for "cache is stale".
            _log.warning("%s: cache is stale, reading it again failed; keeping what there is: %s", category, refusal)
        return replace(before, good_until=_now() + self._max_age, era=era, fault=str(refusal))

    def _wanted(self, fresh: bool) -> list[Category]:
        categories = [c for c, d in get_all_registered_categories().items() if not d.managed_elsewhere]
        return [c for c in categories if self._current(c, fresh) is None]

    def _require_something(self, refusals: list[ReferenceUnavailable]) -> None:
        if refusals and not self._memory:
            raise refusals[0]


def _by_name(records: Records) -> tuple[Records, dict[str, str]]:
    """Typed records go by their name, raw documents by their key; the two differ where a model was renamed."""
    names: dict[str, str] = {}
    for key, record in records.items():
        if record.name != key and record.name and record.name not in records and record.name not in names.values():
            names[key] = record.name
    return ({names.get(key, key): record for key, record in records.items()} if names else records), names


def _validate(category: Category, body: bytes) -> tuple[Records, list[Finding]]:
    with no_fork:
        return validate_records(category, body)


def _known(category: Category) -> Category:
    try:
        return find_category(category)
    except UnknownCategory as error:
        raise ReferenceUnavailable(category, str(error)) from error
