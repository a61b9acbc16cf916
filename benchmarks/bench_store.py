"""What the store costs: one durable write beside a bare SQLite commit, and reading 100,000 records whole.

A write is `begin`, `put`, commit of one record of about 1 KB; its floor is the same row, committed by the `sqlite3`
module alone with the same durability on the same file system, in turns, so that noise meets both alike. Reading is
open, snapshot and validation of image records: the real ones under new names where they are at hand (a folder of
legacy files, named by `HORDE_REAL_DATA`), else made-up ones; once in a fresh process, warmed up with few records.

    python -m benchmarks.bench_store
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Row, table
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.validation import Records, validate_records
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.stores.sql import SqlStore

__all__ = ["measure"]

CATEGORY = "image_generation"
FEW, SMALL, LARGE = 10, 1_000, 100_000
WRITES = 300
READS = {SMALL: 9, LARGE: 3}  # how many processes read


def documents(count: int) -> Iterator[tuple[str, str]]:
    """Names and documents of image records, v2."""
    patterns = list(_patterns())
    for i in range(count):
        pattern = patterns[i % len(patterns)]
        name = f"{pattern['name']} {i}"
        yield name, json.dumps({**pattern, "name": name}, ensure_ascii=False, separators=(",", ":"))


def _patterns() -> Iterator[JsonObject]:
    folder = os.environ.get("HORDE_REAL_DATA")
    if folder:
        legacy = legacy_format(CATEGORY)
        file = Path(folder) / "image" / "stable_diffusion.json"
        entries, _ = legacy.read(file.read_bytes(), file.name)
        documents = (legacy.to_v2(CATEGORY, name, entry)[0] for name, entry in entries.items())
        yield from (document for document in documents if document)
        return
    for i in range(40):
        files: list[JsonValue] = [
            {"file_name": f"model_{i}.safetensors", "file_url": f"https://example.org/{i}", "sha256sum": "a" * 64}
        ]
        yield {
            "record_type": CATEGORY,
            "name": f"Model {i}",
            "description": "A model that draws landscapes, people and machines in the manner of old prints. " * 5,
            "version": "1.0",
            "model_classification": {"domain": "image", "purpose": "generation"},
            "config": {"files": [], "download": files},
            "inpainting": False,
            "baseline": "stable_diffusion_xl",
            "tags": ["landscape", "people", "prints"],
            "nsfw": i % 4 == 0,
            "size_on_disk_bytes": 6_938_040_682,
            "trigger": [f"in the manner of {i}"],
        }


def write_rows(folder: Path) -> list[Row]:
    """One durable write, in a small and in a large category."""
    rows = []
    for count, at_most in ((SMALL, 3.0), (LARGE, 3.5)):
        store, bare = _filled_store(folder, count), _filled_table(folder / f"bare-{count}.sqlite3", count)
        text = list(islice(documents(count), 0, None, count // WRITES))  # from all over the category
        ours, floor = _in_turns(text, partial(_put, store), partial(_set, bare))
        rows.append(
            Row(f"durable write of one record, {count:,} in the category", "bare commit", floor, ours, at_most, "ms")
        )
        store.close()
        bare.close()
    return rows


def _filled_store(folder: Path, count: int) -> SqlStore:
    store = SqlStore(f"sqlite:///{folder / f'store-{count}.sqlite3'}")
    if store.head() == 0:
        with store.begin(actor="bench") as unit:
            for name, document in documents(count):
                unit.put(CATEGORY, name, document)
    return store


def _filled_table(path: Path, count: int) -> sqlite3.Connection:
    bare = sqlite3.connect(path, isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=FULL")
    bare.execute("CREATE TABLE records (category TEXT, name TEXT, document TEXT, PRIMARY KEY (category, name))")
    bare.execute("BEGIN")
    bare.executemany("INSERT INTO records VALUES (?, ?, ?)", ((CATEGORY, *row) for row in documents(count)))
    bare.execute("COMMIT")
    return bare


def _put(store: SqlStore, name: str, document: str) -> None:
    with store.begin(actor="bench") as unit:
        unit.put(CATEGORY, name, document.replace('"description":"', '"description":"Now: ', 1))


def _set(bare: sqlite3.Connection, name: str, document: str) -> None:
    changed = document.replace('"description":"', '"description":"Now: ', 1)
    bare.execute("BEGIN IMMEDIATE")
    bare.execute("UPDATE records SET document = ? WHERE category = ? AND name = ?", (changed, CATEGORY, name))
    bare.execute("COMMIT")


def _in_turns(
    records: list[tuple[str, str]], ours: Callable[[str, str], None], floor: Callable[[str, str], None]
) -> tuple[float, float]:
    """The median time of each in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for record in records:
        for spent, call in zip(times, (ours, floor), strict=True):
            began = time.perf_counter()
            call(*record)
            spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


class Reading(NamedTuple):
    """What one process found: seconds, the bytes of JSON, and how much memory grew by two ways of counting."""

    seconds: float
    json_bytes: int
    kept: int
    peak: int
    resident_peak: int


def read_rows(folder: Path) -> list[Row]:
    """Open and read all: time beside that of the small category, memory beside the bytes of JSON."""
    for count in (FEW, SMALL, LARGE):
        _filled_store(folder, count).close()
    small, large = (
        statistics.median(_in_a_process(folder, count).seconds for _ in range(times)) for count, times in READS.items()
    )
    rows = [Row("open and read 100,000 records", "100 times 1,000", small * LARGE / SMALL, large, 1.2, "s")]
    plain, traced = _in_a_process(folder, LARGE), _in_a_process(folder, LARGE, traced=True)
    for what, measured in (
        ("memory: growth of the process at its peak", plain.resident_peak),
        ("memory: Python objects kept (tracemalloc)", traced.kept),
        ("memory: Python objects at the peak (tracemalloc)", traced.peak),
    ):
        rows.append(Row(what, "JSON", plain.json_bytes / 1e6, measured / 1e6, 3, "MB"))
    return rows


def _in_a_process(folder: Path, count: int, *, traced: bool = False) -> Reading:
    command = [sys.executable, "-m", "benchmarks.bench_store", str(folder), str(count), "traced" if traced else ""]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Reading(*json.loads(output))


def read_once(folder: Path, count: int, *, traced: bool) -> Reading:
    """Read a category of that many records, in this process."""
    _read_all(folder, FEW)  # classes are built and statements compiled: what is measured is data
    before = _resident()
    if traced:
        tracemalloc.start()
    began = time.perf_counter()
    body, records = _read_all(folder, count)
    seconds = time.perf_counter() - began
    kept, peak = tracemalloc.get_traced_memory()
    assert len(records) == count
    return Reading(seconds, len(body), kept, peak, _resident() - before)


def _read_all(folder: Path, count: int) -> tuple[bytes, Records]:
    store = SqlStore(f"sqlite:///{folder / f'store-{count}.sqlite3'}")
    body = store.snapshot(CATEGORY).body
    records, findings = validate_records(CATEGORY, body)
    assert not findings
    return body, records


def _resident() -> int:
    """The most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure() -> list[Row]:
    """Every line of the table."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # not in memory, as some temporary folders are
        return [*write_rows(Path(folder)), *read_rows(Path(folder))]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        reading = read_once(Path(sys.argv[1]), int(sys.argv[2]), traced=bool(sys.argv[3]))
        print(json.dumps(reading))
    else:
        print(table(measure()))
