"""`make torture`: the long form. Kills as many writers as asked for at random moments, then one at each single call of
the system in a story; prints the lines of the table, fails where anything hurts.

python -m tests.torture [KILLS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.torture.calls import CALLS, ERRORS, TracingRefused, fail_at, torture_calls
from tests.torture.kills import Outcome, torture

__all__ = ["main"]

_FAILED_AT = (1, 2, 3, 5, 8)


def main(kills: int) -> int:
    """Kill, look, tell."""
    print("| | kills | acknowledged | lost | inconsistent | stale files | seconds |\n|---|---|---|---|---|---|---|")
    sound = _told("at random", lambda outcome, address, root: torture(outcome, address, root, kills))
    try:
        for call in CALLS:
            sound &= _told(f"at each `{call}`", partial(torture_calls, call))
        sound &= _told("calls that fail", _failing)
    except TracingRefused as refusal:
        print(f"no kills at single calls of the system: {refusal}", file=sys.stderr)
    return 0 if sound else 1


def _failing(outcome: Outcome, address: str, root: Path) -> None:
    for call, error in ERRORS:
        for number in _FAILED_AT:
            fail_at(outcome, address, root, call, error, number)


def _told(label: str, play: Callable[[Outcome, str, Path], object]) -> bool:
    began, outcome = time.monotonic(), Outcome()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # not in memory, as some temporary folders are
        play(outcome, f"sqlite:///{folder}/reference.sqlite3", Path(folder) / "mirror")
    found = (outcome.lost, outcome.inconsistent, outcome.stale)
    figures = (label, outcome.kills, outcome.acknowledged, *map(len, found), round(time.monotonic() - began))
    print(f"| {' | '.join(map(str, figures))} |", flush=True)
    for line in (line for lines in found for line in lines[:10]):
        print(line, file=sys.stderr)
    return not any(found)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
