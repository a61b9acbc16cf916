"""`python -m tests.resilience`: plays the failure matrix and prints it. Arguments go to pytest (`-k`, `-n`)."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.resilience.faults import FAULTS
from tests.resilience.reading import CALLERS, STATES

_MARKS = {"passed": "ok", "failed": "FAIL", "skipped": "skip", "": "-"}
_COLUMNS = [(state, caller) for state in STATES for caller in CALLERS]


class Matrix:
    """Collects the cells as they are played, and how long the slowest first read of each column took."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, ...], str] = {}
        self.worst = dict.fromkeys(_COLUMNS, 0.0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One call for the start, the run and the end of each cell."""
        if "[" in report.nodeid and (report.when == "call" or report.outcome != "passed"):
            fault, state, caller = report.nodeid.partition("[")[2].removesuffix("]").rsplit("-", 2)
            self.cells[fault, state, caller] = report.outcome
            seconds = float(str(dict(report.user_properties).get("seconds", 0)))
            self.worst[state, caller] = max(self.worst[state, caller], seconds)

    def table(self) -> str:
        """A row each fault, a column each state and caller."""
        rows = {"": [caller for _, caller in _COLUMNS]}
        rows |= {fault: [_MARKS[self.cells.get((fault, *column), "")] for column in _COLUMNS] for fault in FAULTS}
        rows["slowest first read"] = [f"{seconds * 1000:.0f} ms" for seconds in self.worst.values()]
        counts = Counter(self.cells.values())
        told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _MARKS if outcome)
        lines = ["".join(f"{mark:10}" for mark in [f"{name:20} ", *marks]) for name, marks in rows.items()]
        return "\n".join(
            [" " * 21 + "".join(f"{state:40}" for state in STATES), *lines, f"{len(self.cells)} cells: {told}"]
        )


def main() -> int:
    """Status 0 where every cell is good."""
    matrix, begun = Matrix(), time.monotonic()
    words = ["-q", "-n", "2", "--tb=short", str(Path(__file__).parent), *sys.argv[1:]]
    status = pytest.main(words, plugins=[matrix])
    print(matrix.table(), f"in {time.monotonic() - begun:.0f} s")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
