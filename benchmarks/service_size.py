"""What the size of a category costs: a single model and a 304 should not notice, a category is encoded and compressed.

Servers over 1,000, 10,000 and 100,000 generated records run beside each other. What the first read after a change costs
is what it takes longer than the same read again, which sends as much.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.bench_store import CATEGORY, documents
from benchmarks.rows import Row
from benchmarks.service_load import HAS_WRK, load, rates
from benchmarks.service_peers import API, Writer, fetch, model_path, ours, writer
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.service.answers import CODINGS, IDENTITY
from horde_model_reference.stores.sql import SqlStore

try:
    from orjson import dumps  # type: ignore[import-not-found, unused-ignore]

    _DUMPS = "`orjson.dumps`"
except ImportError:
    from pydantic_core import to_json as dumps

    _DUMPS = "`pydantic_core.to_json`"

__all__ = ["SIZES", "rows"]

SIZES = (1_000, 10_000, 100_000)
ROUNDS, READS = 7, 3
_WHOLE = f"{API}/{CATEGORY}"
_CODINGS = {IDENTITY: bytes, "gzip": CODINGS["gzip"], "zstd": CODINGS["zstd"]}


def _filled(folder: Path, count: int) -> tuple[str, str]:
    """A database of that many records, and the name of one in their midst."""
    database = f"sqlite:///{folder / f'reference-{count}.sqlite3'}"
    store = SqlStore(database)
    middle = ""
    with store.begin(actor="benchmark") as unit:
        for number, (name, document) in enumerate(documents(count)):
            unit.put(CATEGORY, name, document)
            middle = name if number == count // 2 else middle
    store.close()
    return database, middle


def _flat_rows(ports: dict[int, int], paths: dict[int, str]) -> Iterator[Row]:
    for what, is_known in (("304", True), ("single model", False)):
        loads = []
        for size, port in ports.items():
            headers = {"If-None-Match": fetch(port, paths[size]).header("etag")} if is_known else {}
            loads.append(partial(load, port, paths[size], headers))
        few, *more = zip(*rates(ROUNDS, *loads), strict=True)
        for size, many in zip(SIZES[1:], more, strict=True):
            ratio = statistics.median(one / other for one, other in zip(few, many, strict=True))
            spent = 1e6 / statistics.median(few)
            yield Row(f"{what}, {size:,} records in the category", f"{SIZES[0]:,}", spent, spent * ratio, 1.11)


def _after_change_rows(size: int, port: int, writes: Writer) -> Iterator[Row]:
    """The first read after a change, beside the encoding of the same records and the same compression."""
    records = decode_object(fetch(port, _WHOLE).body)
    for coding, compress in _CODINGS.items():
        floors, costs = [], []
        for _ in range(READS):
            writes.apply(CATEGORY)
            first, again = (fetch(port, _WHOLE, {"Accept-Encoding": coding}).seconds for _ in range(2))
            costs.append(first - again)
            began = time.perf_counter()
            compress(dumps(records))
            floors.append(time.perf_counter() - began)
        what = f"category of {size:,} records, first read after a change, {coding}"
        against = _DUMPS if coding == IDENTITY else f"{_DUMPS} and {coding}"
        yield Row(what, against, statistics.median(floors) * 1e3, statistics.median(costs) * 1e3, 2, "ms")


def rows(folder: Path) -> Iterator[Row]:
    """Their rows. Without wrk those of rates are left out."""
    with ExitStack() as ends:
        ports, paths, writers = {}, {}, {}
        for size in SIZES:
            database, name = _filled(folder, size)
            ports[size], _ = ends.enter_context(ours(database, folder / f"home-{size}"))
            writers[size] = ends.enter_context(writer(database, folder / f"home-{size}"))
            paths[size] = model_path(CATEGORY, name)
        if HAS_WRK:
            yield from _flat_rows(ports, paths)
        for size in SIZES:
            yield from _after_change_rows(size, ports[size], writers[size])
