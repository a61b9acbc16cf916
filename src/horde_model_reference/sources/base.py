"""What a reader asks of a source: several categories at once, each with what it has of it already."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow

__all__ = ["CLOCK_SLACK", "Answer", "Ask", "Found", "Source", "Wanted", "one_by_one", "require_ours"]

CLOCK_SLACK = 5.0  # seconds that clocks may differ; what is noted later than that from now tells of a wrong clock
Wanted: TypeAlias = Mapping[Category, Snapshot | None]  # the categories, each with what the reader has of it
Answer: TypeAlias = Snapshot | SourceUnavailable  # a snapshot, or why there is none
Found: TypeAlias = dict[Category, Answer]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a source. `since`: what was known to be current at this Unix time or later is new enough. `wait`:
    for how many seconds a source that can may hold the question until something changes."""

    wanted: Wanted
    since: float = -math.inf
    wait: float = 0.0

    def only(self, wanted: Wanted) -> Ask:
        """The same question about these."""
        return replace(self, wanted=wanted)

    def without(self, found: Found) -> Ask:
        """The same question about what is not found yet."""
        return self.only({category: known for category, known in self.wanted.items() if category not in found})

    def refused(self, refusal: SourceUnavailable) -> Found:
        """The answer of a source that has nothing to say about any."""
        return dict.fromkeys(self.wanted, refusal)


class Source(Protocol):
    """Somewhere snapshots come from. Sources that hold other sources are the policies of reading."""

    @property
    def name(self) -> str:
        """What to call it in messages, and what its snapshots carry as their `source`."""

    def read(self, ask: Ask) -> Flow[Found]:
        """An answer for each category wanted; never raises. What did not change has the very body that is known."""


def one_by_one(ask: Ask, read: Callable[[Category, Snapshot | None], Snapshot]) -> Flow[Found]:
    """The answers of a source on this machine: `read` may block, and raises `SourceUnavailable` for one category."""

    def each(category: Category, known: Snapshot | None) -> Answer:
        try:
            return read(category, known)
        except SourceUnavailable as refusal:
            return refusal

    found: Found = yield Call(lambda: {category: each(category, known) for category, known in ask.wanted.items()})
    return found


def require_ours(source: str, category: Category) -> None:
    """Refuse what is no reference data: categories that another program keeps files of its own of."""
    if get_category_descriptor(category).managed_elsewhere:
        raise SourceUnavailable(source, f"{category} is managed by another program", absent=True)
