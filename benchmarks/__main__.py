"""`make bench`: every program here, one table; with `ARGS=service` only that one. Rows that fall short are marked.

`--json` prints the rows as JSON. Always ends with status 0: a figure on a busy machine is for people to judge.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import bench_moderation, bench_network, bench_query, bench_reading, bench_service, bench_store
from benchmarks.rows import table

__all__ = ["main"]

_PROGRAMS = {
    "reading": bench_reading,
    "query": bench_query,
    "store": bench_store,
    "moderation": bench_moderation,
    "network": bench_network,
    "service": bench_service,
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"which of {', '.join(_PROGRAMS)}; unset: all")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    asked = parser.parse_args()
    if unknown := set(asked.programs) - set(_PROGRAMS):
        parser.error(f"there is no program {', '.join(sorted(unknown))}; there are {', '.join(_PROGRAMS)}")
    rows = [row for name in asked.programs or _PROGRAMS for row in _PROGRAMS[name].measure()]
    if asked.json:
        print(json.dumps([{**row._asdict(), "ok": row.ok} for row in rows], indent=2))
    else:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
