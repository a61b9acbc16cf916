"""`make torture`: the long form. Kills as many writers as asked for, prints a line of the table, fails where it hurts.

python -m tests.torture [KILLS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.torture.kills import torture

__all__ = ["main"]


def main(kills: int) -> int:
    """Kill, look, tell."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # not in memory, as some temporary folders are
        outcome = torture(f"sqlite:///{folder}/reference.sqlite3", Path(folder) / "mirror", kills)
    print("| kills | acknowledged | lost | inconsistent | stale files | seconds |\n|---|---|---|---|---|---|")
    found = (outcome.lost, outcome.inconsistent, outcome.stale)
    figures = (outcome.kills, outcome.acknowledged, *map(len, found), round(time.monotonic() - began))
    print(f"| {' | '.join(map(str, figures))} |")
    for line in (line for lines in found for line in lines[:10]):
        print(line, file=sys.stderr)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
