"""Another process that writes to a store: for each line it reads, a category, one record of that category is changed.

    python -m benchmarks.service_writer DATABASE

It prints the Unix time of each commit.
"""

from __future__ import annotations

import sys
import time

from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.stores.sql import SqlStore

__all__ = ["main"]


def main(database: str) -> None:
    """Write until the standard input ends. The record that is changed is the first of its category."""
    store = SqlStore(database)
    first: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(sys.stdin):
        category = line.strip()
        if category not in first:
            name, entry = next(iter(store.entries(category).items()))
            first[category] = name, entry.document
        name, document = first[category]
        changed = decode_object(document) | {"description": f"as of change {number}"}
        with store.begin(actor="benchmark") as unit:
            unit.put(category, name, encode(changed).decode())
        print(time.time(), flush=True)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1])
