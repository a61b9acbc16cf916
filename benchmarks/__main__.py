"""`make bench`: every program here, one table. `--json` prints the rows as JSON. Rows that fall short are marked.

Always ends with status 0: a figure on a busy machine is for people to judge.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Line", "main"]

PROGRAMS = ("bench_reading", "bench_query", "bench_store")


class Line(NamedTuple):
    """One row of any program, in one shape. `limit` is for the ratio, or with `absolute` for what was measured."""

    what: str
    floor: float
    measured: float
    unit: str
    limit: float
    absolute: bool

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        return (self.measured if self.absolute else self.measured / self.floor) <= self.limit

    def __str__(self) -> str:
        floor = f"{self.floor:.4g} {self.unit}" if self.floor else ""
        ratio = f"{self.measured / self.floor:.2f}x" if self.floor else ""
        limit = f"{self.limit:g} {self.unit}" if self.absolute else f"{self.limit:g}x"
        verdict = "ok" if self.ok else "SHORT"
        return f"| {self.what} | {floor} | {self.measured:.4g} {self.unit} | {ratio} | {limit} | {verdict} |"


def lines(program: str) -> Iterator[Line]:
    """What one program measured; its rows may name their figures as it likes."""
    for row in importlib.import_module(f"benchmarks.{program}").measure():
        facts = row._asdict()
        measured = facts.get("measured", facts.get("ours"))
        limit = facts.get("limit", facts.get("at_most"))
        absolute = program == "bench_reading" and bool(row.unit)
        yield Line(row.what, row.floor, measured, facts.get("unit") or "µs", limit, absolute)


def main() -> int:
    """Measure and print."""
    found = [line for program in PROGRAMS for line in lines(program)]
    if "--json" in sys.argv[1:]:
        print(json.dumps([{**line._asdict(), "ok": line.ok} for line in found], indent=2))
        return 0
    print("| what | floor | measured | ratio | at most | |\n|---|---|---|---|---|---|")
    print(*found, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
