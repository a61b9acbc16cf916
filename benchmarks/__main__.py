"""`make bench`: every program here, one table. `--json` prints the rows as JSON. Rows that fall short are marked.

Always ends with status 0: a figure on a busy machine is for people to judge.
"""

from __future__ import annotations

import json
import sys

from benchmarks import bench_network, bench_query, bench_reading, bench_store
from benchmarks.rows import table

__all__ = ["main"]


def main() -> int:
    """Measure and print."""
    programs = (bench_reading, bench_query, bench_store, bench_network)
    rows = [row for program in programs for row in program.measure()]
    if "--json" in sys.argv[1:]:
        print(json.dumps([{**row._asdict(), "ok": row.ok} for row in rows], indent=2))
    else:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
