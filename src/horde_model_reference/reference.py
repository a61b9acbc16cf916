"""The reading object: typed records of every category, from one source, held in memory.

A warm read is a dictionary lookup and a copy; it runs no flow, takes no lock and asks nobody. What grows older than
`max_age` is read again: with `behind` from a thread, while readers go on; without, by the next reader, which is right
for sources on this machine. Whatever goes wrong then, a read fails only where there never was anything to give.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category, find_category, get_all_registered_categories
from horde_model_reference.domain.findings import Finding, JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import Records, validate_records
from horde_model_reference.errors import MalformedInput, ModelNotFound, ReferenceUnavailable, SourceUnavailable
from horde_model_reference.flow import Call, Flow, Hurried, Network, run, run_async
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.process import ForkLock, no_fork
from horde_model_reference.single_flight import SingleFlight
from horde_model_reference.sources.base import CLOCK_SLACK, Ask
from horde_model_reference.watching import Keeper, ReferenceChange, Watchers

if TYPE_CHECKING:
    from horde_model_reference.domain.records import GenericModelRecord
    from horde_model_reference.sources.base import Answer, Source

__all__ = ["CategoryStatus", "Reference", "model_not_found"]

_log = logger("reference")
_SAID_SECONDS = 60.0
_SHORTEST_AGE = 1.0  # nothing is polled more often, whatever `max_age` says: readers do not wait for it anyway


@dataclass(frozen=True, slots=True)
class _Held:
    """One category in memory: immutable, replaced whole."""

    snapshot: Snapshot
    records: Records
    findings: list[Finding]
    good_until: float
    when: tuple[int, float]  # the era, and the moment in it, at which its source was asked for what is held
    names: dict[str, str]  # key -> name, where a document's key is not its record's name; both find the record
    fault: str = ""

    def model(self, name: str) -> GenericModelRecord:
        found = self.records.get(name) or self.records.get(self.names.get(name, name))
        if found is None:
            raise model_not_found(name, self.snapshot.category, self.records)
        return found


@dataclass(frozen=True, slots=True)
class CategoryStatus:
    """What is held of one category. `age`: how many seconds ago it was last known to be current at its source. `fault`:
    why the last attempt to read it again failed, or why something lesser stands in; empty where all is well.
    `set_aside`: what is wrong with records, left out or not. `stale`: at fault, or should have been read again by now.
    `next_attempt`: in how many seconds it will be, where somebody reads or keeps it."""

    category: Category
    records: int
    source: str
    revision: int | None
    age: float
    fault: str
    set_aside: tuple[Finding, ...]
    stale: bool = False
    next_attempt: float = 0.0


_Ends: TypeAlias = "dict[Category, _Held | SourceUnavailable]"  # how a load ended, by category


class Reference:
    """Reads the reference from `source`; make as many as you like. What waits has an async twin, safe in any mix of
    threads, event loops and forked processes.

    `max_age` is how many seconds a held category is given out before the source is asked again; 0 asks every time.
    `behind` keeps what was read up to date from a thread of its own, so that no read ever waits again; `follow` is for
    how many seconds that thread lets a source hold the question for the next change, 0 polls. `patience` is how many
    seconds a read that must wait waits at most, whatever the network does.
    Dictionaries are the caller's own; the records in them are shared between callers: copy one before changing it.
    """

    def __init__(
        self,
        source: Source,
        network: Network,
        *,
        max_age: float = 60.0,
        patience: float = 60.0,
        behind: bool = False,
        follow: float = 0.0,
    ) -> None:
        self._source = source
        self._network = network
        self._max_age, self._patience, self._follow = max(0.0, max_age), patience, follow
        self._keeper = Keeper(self.renew) if behind else None
        self.version = 0  # counts what was taken in: as long as it stays, nothing that is held has changed
        self._memory: dict[Category, _Held] = {}  # replaced whole, so that who goes through it sees one moment
        self._lock = ForkLock()
        self._refusals: dict[Category, tuple[float, SourceUnavailable]] = {}  # when to ask again, and why there is none
        self._flights: SingleFlight[_Ends] = SingleFlight()
        self._watchers = Watchers()
        self._degraded, self._told = False, -math.inf
        self._told_findings: dict[Category, list[Finding]] = {}
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

    def snapshots(self) -> dict[Category, Snapshot]:
        """The bytes of everything that is in memory; asks nobody."""
        return {category: held.snapshot for category, held in self._memory.items()}

    def raw(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """The documents as plain JSON, unknown fields and unreadable records included; a new object each time."""
        return decode_object(self.snapshot(category, fresh=fresh).body, where=category)

    async def raw_async(self, category: Category, *, fresh: bool = False) -> JsonObject:
        """Like `raw`, without blocking the loop."""
        category = find_category(category)
        held = self._current(category, fresh) or await self._load_async(category, fresh)
        return decode_object(held.snapshot.body, where=category)

    def warm(self, *, fresh: bool = False) -> None:
        """Load every category that is not in memory, or with `fresh` all. Raises `ReferenceUnavailable` where there is
        nothing of any then."""
        if wanted := self._wanted(fresh):
            self._load_all(wanted, fresh)
        self._require_something()

    async def warm_async(self, *, fresh: bool = False) -> None:
        """Like `warm`, without blocking the loop."""
        if wanted := self._wanted(fresh):
            await self._load_all_async(wanted, fresh)
        self._require_something()

    def held(self) -> dict[Category, Records | None]:
        """What is in memory of every known category, however old; None for what is not. Asks nobody."""
        memory = self._memory
        return {c: memory[c].records.copy() if c in memory else None for c in get_all_registered_categories()}

    def expire(self) -> None:
        """Make the next read of each category ask the source, whatever its age; not where `behind` does that."""
        self._era += 1  # also for loads that have begun: they are given to those who came before

    def is_warm(self, category: Category | None = None) -> bool:
        """Whether the category is in memory; without one, whether anything is."""
        return bool(self._memory) if category is None else category in self._memory

    def status(self) -> list[CategoryStatus]:
        """What is held, category by category; asks nobody."""
        longest = math.inf if self._keeper is None else 2 * self._max_age + self._follow + CLOCK_SLACK
        told, now = [], time.monotonic()
        for category, held in sorted(self._memory.items()):
            age = max(0.0, time.time() - held.snapshot.checked) + held.snapshot.older
            facts = (category, len(held.records), held.snapshot.source, held.snapshot.revision, age, held.fault)
            stale, next_attempt = bool(held.fault) or age > longest, max(0.0, held.good_until - now)
            told.append(CategoryStatus(*facts, tuple(held.findings), stale, next_attempt))
        return told

    def on_change(self, callback: Callable[[ReferenceChange], object]) -> Callable[[], None]:
        """Call `callback` with each change of a category that has been read, on the thread that noticed it; gives a
        function that ends this. What it raises is logged."""
        return self._watchers.add(callback)

    def changes(self) -> AsyncIterator[ReferenceChange]:
        """The same for `async for`, in the running loop."""
        return self._watchers.changes()

    def close(self) -> None:
        """End the thread that keeps this up to date; reads go on with what is held."""
        if self._keeper is not None:
            self._keeper.stop()

    # -- keeping up to date --

    def renew(self) -> float:
        """Read again what is due, or hold the question for what changes; gives in how many seconds to call again."""
        began, memory = time.monotonic(), self._memory
        due = [c for c, held in memory.items() if held.good_until <= began]
        due += [c for c, (until, _) in self._refusals.items() if until <= began and c not in memory]
        counted = [c for c, held in memory.items() if held.snapshot.revision is not None]
        if due:
            run(self._reading(due, self._era, time.time() - self._max_age / 2), self._network)
            now, after = time.monotonic(), [self._memory[c] for c in due if c in self._memory]
            again = any(held.fault or held.good_until <= now for held in after)
            if self._follow and counted and not again:
                return 0.0
        elif self._follow and counted:
            run(self._reading(counted, self._era, time.time(), wait=self._follow), self._network)
            moved = any(self._memory[c].snapshot.revision != memory[c].snapshot.revision for c in counted)
            if moved or time.monotonic() - began > self._follow / 2:
                return 0.0
        times = [held.good_until for held in self._memory.values()] + [until for until, _ in self._refusals.values()]
        return max(_SHORTEST_AGE, min(times, default=began + self._max_age) - time.monotonic())

    # -- loading: a flow decides, a driver waits --

    def _current(self, category: Category, fresh: bool = False) -> _Held | None:
        held = self._memory.get(category)
        if held is None or fresh:
            return None
        if self._keeper is not None:
            self._keeper.start()  # in a forked child there is none yet
            return held
        return None if held.when[0] != self._era or held.good_until < time.monotonic() else held

    def _load(self, category: Category, fresh: bool = False) -> _Held:
        return _one(category, self._load_all(self._unless_refused(category, fresh), fresh))

    async def _load_async(self, category: Category, fresh: bool = False) -> _Held:
        return _one(category, await self._load_all_async(self._unless_refused(category, fresh), fresh))

    def _load_all(self, wanted: list[Category], fresh: bool) -> _Ends:
        era, since = self._era, time.time() if fresh else -math.inf
        return self._flights.do(
            (frozenset(wanted), era),
            lambda: run(self._reading(wanted, era, since), Hurried(self._network, self._patience)),
            anew=fresh,
        )

    async def _load_all_async(self, wanted: list[Category], fresh: bool) -> _Ends:
        era, since = self._era, time.time() if fresh else -math.inf
        return await self._flights.do_async(
            (frozenset(wanted), era),
            lambda: run_async(self._reading(wanted, era, since), Hurried(self._network, self._patience)),
            anew=fresh,
        )

    def _reading(self, wanted: list[Category], era: int, since: float, *, wait: float = 0.0) -> Flow[_Ends]:
        before, when = {category: self._memory.get(category) for category in wanted}, (era, time.monotonic())
        known = {category: held.snapshot if held else None for category, held in before.items()}
        found = yield from self._source.read(Ask(known, since, wait))
        ends: _Ends = {}
        for category, answer in found.items():
            held = before[category]
            if wait and held is not None and isinstance(answer, SourceUnavailable):
                # Nobody could be followed, which says nothing of the data: a poll will tell, soon where one may help.
                ends[category] = held
                if answer.retry_after is not None:
                    good_until = min(held.good_until, time.monotonic() + answer.retry_after)
                    ends[category], _ = self._put(category, replace(held, good_until=good_until))
            else:
                ends[category] = yield from self._taken(category, answer, held, when)
        self._tell(ends, any(before.values()))
        if self._keeper is not None:
            self._keeper.start()
        return ends

    def _taken(
        self, category: Category, answer: Answer, before: _Held | None, when: tuple[int, float]
    ) -> Flow[_Held | SourceUnavailable]:
        try:
            if isinstance(answer, SourceUnavailable):
                raise answer
            held = yield from self._validated(category, answer, before, when)
        except (SourceUnavailable, MalformedInput) as refusal:
            pause = getattr(refusal, "retry_after", None)
            until = time.monotonic() + (self._max_age if pause is None else pause)
            if before is None:
                error = refusal if isinstance(refusal, SourceUnavailable) else SourceUnavailable("", str(refusal))
                with self._lock:
                    self._refusals = {**self._refusals, category: (until, error)}
                return error
            held = replace(before, good_until=until, when=(when[0], before.when[1]), fault=str(refusal))
        held, last = self._put(category, held)
        if last is not None and self._watchers and held.snapshot.body != last.snapshot.body:
            self._watchers.tell((yield Call(partial(ReferenceChange.between, last.snapshot, held.snapshot))))
        return held

    def _put(self, category: Category, held: _Held) -> tuple[_Held, _Held | None]:
        """Hold it, unless another load overtook it (by revision, else by when it was asked for): nobody shall see an
        earlier state after a later one. Gives what is held now, and what was until now."""
        with self._lock:
            last = self._memory.get(category)
            if last is not None and (last.snapshot.revision or 0, last.when) > (held.snapshot.revision or 0, held.when):
                return last, last
            self._memory = {**self._memory, category: held}
            self.version += 1
            self._refusals = {c: refusal for c, refusal in self._refusals.items() if c != category}
        return held, last

    def _validated(
        self, category: Category, snapshot: Snapshot, before: _Held | None, when: tuple[int, float]
    ) -> Flow[_Held]:
        snapshot = snapshot if snapshot.checked else replace(snapshot, checked=time.time())
        good_until, fault = time.monotonic() + self._lasts(snapshot), snapshot.instead
        if before is not None and snapshot.body is before.snapshot.body:
            return replace(before, snapshot=snapshot, good_until=good_until, when=when, fault=fault)
        records, findings = yield Call(partial(_validate, snapshot, before))
        snapshot = replace(snapshot, delta=None)  # it holds the body before
        if findings and not records:
            raise SourceUnavailable(snapshot.source, f"not one record of {category} can be read; {findings[0]}")
        if findings and findings != self._told_findings.get(category):
            self._told_findings[category] = findings
            _log.warning("%s: %d records set aside or doubtful; %s", category, len(findings), findings[0])
        by_name, names = _by_name(records)
        return _Held(snapshot, by_name, findings, good_until, when, names, fault=fault)

    def _lasts(self, snapshot: Snapshot) -> float:
        """For how many seconds a snapshot need not be read again; many readers shall not come back in step."""
        if snapshot.instead:
            return self._max_age if snapshot.retry_after is None else snapshot.retry_after
        if self._keeper is None:
            return self._max_age
        longest = max(self._max_age, _SHORTEST_AGE) * random.uniform(0.9, 1.0)
        age = time.time() - snapshot.checked  # from the future: a clock is wrong, so it tells nothing
        return max(0.0, min(longest, longest - age)) if age > -CLOCK_SLACK else 0.0

    def _tell(self, ends: _Ends, had: bool) -> None:
        """One line where what is read becomes worse than it should be, one where it is well again."""
        faulty = {}
        for end in ends.values():
            if isinstance(end, _Held) and end.fault:
                faulty[end.fault] = f"what {end.snapshot.source} had"
            elif isinstance(end, SourceUnavailable) and not end.absent:
                faulty[str(end)] = "nothing"
        if faulty and not self._degraded:
            if time.monotonic() - self._told < _SAID_SECONDS:
                return  # what comes and goes is said once a minute, and what stays by the next attempt after that
            self._degraded, self._told = True, time.monotonic()
            fault, source = next(iter(faulty.items()))
            # Log analysers of GPU workers look for "cache is stale".
            what = "cache is stale, reading it again failed" if had else "the reference cannot be read"
            _log.warning("%s: %s; going on with %s", what, fault, source)
        elif ends and not faulty and self._degraded and not any(held.fault for held in self._memory.values()):
            self._degraded = False
            _log.info("the reference is up to date again")

    def _unless_refused(self, category: Category, fresh: bool) -> list[Category]:
        try:
            category = find_category(category)
        except KeyError as error:  # `UnknownCategory`
            raise ReferenceUnavailable(category, str(error)) from error
        if not fresh and (refusal := self._refusal_of(category)) is not None:
            raise ReferenceUnavailable(category, str(refusal))
        return [category]

    def _refusal_of(self, category: Category) -> SourceUnavailable | None:
        """Why readers need not wait for it: nobody had it, and the keeper goes on asking."""
        _, refusal = self._refusals.get(category, (0.0, None))
        return refusal if self._keeper is not None else None

    def _wanted(self, fresh: bool) -> list[Category]:
        categories = [c for c, d in get_all_registered_categories().items() if not d.managed_elsewhere]
        missing = [c for c in categories if self._current(c, fresh) is None]
        return [c for c in missing if fresh or not self._memory or self._refusal_of(c) is None]

    def _require_something(self) -> None:
        first = next(iter(self._refusals.items()), None)
        if first is not None and not self._memory:
            category, (_, refusal) = first
            raise ReferenceUnavailable(category, str(refusal))


def model_not_found(name: str, category: str, names: Iterable[str]) -> ModelNotFound:
    """The error, with those of the names that are much like this one."""
    from difflib import get_close_matches  # rarely needed, and every start would pay for it

    alike = {each.casefold(): each for each in names if each[:1].casefold() == name[:1].casefold()}  # all are too many
    return ModelNotFound(name, category, tuple(alike[each] for each in get_close_matches(name.casefold(), alike)))


def _one(category: Category, ends: _Ends) -> _Held:
    end = ends[find_category(category)]
    if isinstance(end, SourceUnavailable):
        raise ReferenceUnavailable(category, str(end))
    return end


def _by_name(records: Records) -> tuple[Records, dict[str, str]]:
    """Typed records go by their name, raw documents by their key; the two differ where a model was renamed."""
    names: dict[str, str] = {}
    for key, record in records.items():
        if record.name != key and record.name and record.name not in records and record.name not in names.values():
            names[key] = record.name
    return ({names.get(key, key): record for key, record in records.items()} if names else records), names


def _validate(snapshot: Snapshot, before: _Held | None) -> tuple[Records, list[Finding]]:
    """The records; where it is known which few changed, and nothing is odd, those and the others as they were."""
    delta = snapshot.delta
    with no_fork:
        if delta and before and delta.base is before.snapshot.body and not (before.findings or before.names):
            changed, findings = validate_records(snapshot.category, encode(delta.records))
            if not findings:
                kept = {name: record for name, record in before.records.items() if name not in delta.gone}
                return kept | changed, []
        return validate_records(snapshot.category, snapshot.body)
