"""A row of the table: what is measured, the floor beside it, and what it may be at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Row", "table"]

_STEPS = {"µs": ("µs", "ms", "s"), "ms": ("ms", "s"), "MB": ("MB", "GB")}


class Row(NamedTuple):
    """`limit` is for the ratio, or with `absolute` for what was measured. `against` names the floor."""

    what: str
    against: str
    floor: float
    measured: float
    limit: float
    unit: str = "µs"
    absolute: bool = False

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        return (self.measured if self.absolute else self.measured / self.floor) <= self.limit

    def __str__(self) -> str:
        floor = f"{self.against} {_shown(self.floor, self.unit)}" if self.floor else ""
        ratio = f"{self.measured / self.floor:.2f}x" if self.floor else ""
        limit = f"{self.limit:g} {self.unit}" if self.absolute else f"{self.limit:g}x"
        verdict = "ok" if self.ok else "SHORT"
        return f"| {self.what} | {floor} | {_shown(self.measured, self.unit)} | {ratio} | {limit} | {verdict} |"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| what | floor | measured | ratio | at most | |", "|---|---|---|---|---|---|", *map(str, rows)])


def _shown(value: float, unit: str) -> str:
    for step in _STEPS.get(unit, (unit,)):
        if value < 1_000 or step == _STEPS.get(unit, (unit,))[-1]:
            return f"{value:.3g} {step}"
        value /= 1_000
    return f"{value:.3g} {unit}"
