"""What the library costs a program that reads: its import, its start, its warm reads, and validation.

Each row is measured beside its floor, in turns, in one run; a figure is the median over the rounds. The data are the
real reference where it is at hand (a folder of legacy files, named by `HORDE_REAL_DATA`), else the starter catalogue.

    python -m benchmarks.bench_reading
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.rows import Row, table
from horde_model_reference.domain.categories import CANONICAL_CATEGORIES
from horde_model_reference.domain.records import get_record_type_for_category
from horde_model_reference.domain.snapshots import join_documents
from horde_model_reference.domain.validation import validate_records
from horde_model_reference.exchange.importing import read_folder
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode, encode, encode_pretty
from horde_model_reference.model_reference_manager import ModelReferenceManager
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.local import StarterSource

__all__ = ["ROOT", "bodies", "environment", "in_turns", "measure", "process"]

ROOT = Path(__file__).resolve().parents[1]
PROCESSES, ROUNDS, CALLS = 15, 40, 200
_BESIDE = ROOT.parent / "shared" / "data" / "legacy"
_IMPORT = "import horde_model_reference"
_MODULES = "import sys; before = set(sys.modules); import horde_model_reference; print(len(set(sys.modules) - before))"
_READ_ALL = """
from horde_model_reference import ModelReferenceManager
records = ModelReferenceManager(offline=True).get_all_model_references()
assert len(records) == 13 and records["image_generation"]
"""


def in_turns(rounds: int, *calls: Callable[[], float]) -> list[float]:
    """The median of what each call measures; they take turns, so that noise meets all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for mine, call in zip(times, calls, strict=True):
            mine.append(call())
    return [statistics.median(mine) for mine in times]


def _timed(function: Callable[[], object], calls: int = CALLS) -> Callable[[], float]:
    def measure_once() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            function()
        return (time.perf_counter() - began) / calls * 1e6

    return measure_once


def environment(home: Path) -> dict[str, str]:
    """The variables of a process that knows nothing of ours but where its data lie."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("HORDE", "AI_HORDE", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "AIWORKER_CACHE_HOME": str(home)}


def process(program: str, home: Path, **more: str) -> Callable[[], float]:
    """Runs the program in a process of its own and gives how long that took, in microseconds."""
    command, variables = [sys.executable, "-c", program], environment(home) | more
    return _timed(lambda: subprocess.run(command, env=variables, cwd=home, check=True, capture_output=True), 1)


def bodies() -> Iterator[tuple[str, bytes]]:
    """Category by category, as compact v2 JSON."""
    folder = Path(os.environ.get("HORDE_REAL_DATA", _BESIDE))
    if folder.is_dir():
        for category, records in read_folder(folder).records.items():
            yield category, join_documents((encode(r.name), r.document.encode()) for r in records)
        return
    for category in CANONICAL_CATEGORIES:
        if (body := StarterSource.body(category)) is not None:
            yield category, body


def _import_rows(home: Path) -> Iterator[Row]:
    bare, ours, settings, start = in_turns(
        PROCESSES, *(process(program, home) for program in ("", _IMPORT, "import pydantic_settings", _READ_ALL))
    )
    yield Row("`import horde_model_reference`, whole process", "bare interpreter", bare, ours, 2.5)
    done = subprocess.run(
        [sys.executable, "-c", _MODULES], env=environment(home), check=True, capture_output=True, text=True
    )
    yield Row("the same, modules loaded", "", 0, int(done.stdout), 60, "modules", absolute=True)
    yield Row(
        "import + manager + all categories from disk, whole process", "`import pydantic_settings`", settings, start, 1.5
    )


def _warm_rows(manager: ModelReferenceManager, category: str) -> Iterator[Row]:
    plain = manager.get_model_reference(category)
    name = list(plain)[len(plain) // 2]
    one, model, copy, read = in_turns(
        ROUNDS,
        _timed(lambda: plain[name]),
        _timed(lambda: manager.get_model(category, name)),
        _timed(lambda: dict(plain)),
        _timed(lambda: manager.get_model_reference(category)),
    )
    yield Row("`get_model(category, name)`, warm", "dict lookup", one, model, 2, absolute=True)
    yield Row(f"`get_model_reference(category)`, warm, {len(plain)} records", "`dict(d)`", copy, read, 3)


def _twin_rows(manager: ModelReferenceManager, category: str) -> Iterator[Row]:
    """Both colours inside one running loop; a row gives what the asynchronous call costs more."""
    name = next(iter(manager.get_model_reference(category)))
    pairs: list[tuple[str, Callable[[], object], Callable[[], Coroutine[Any, Any, object]]]] = [
        (
            "get_model_reference",
            lambda: manager.get_model_reference(category),
            lambda: manager.get_model_reference_async(category),
        ),
        (
            "reference.model",
            lambda: manager.reference.model(category, name),
            lambda: manager.reference.model_async(category, name),
        ),
    ]
    for what, sync, twin in pairs:
        both = asyncio.run(_both(sync, twin))
        extra = max(0.0, both[1] - both[0])
        yield Row(f"`{what}_async`, warm: more than the sync call", "sync call", both[0], extra, 2, absolute=True)


async def _both(sync: Callable[[], object], twin: Callable[[], Coroutine[Any, Any, object]]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        times[0].append(_timed(sync)())
        began = time.perf_counter()
        for _ in range(CALLS):
            await twin()
        times[1].append((time.perf_counter() - began) / CALLS * 1e6)
    return statistics.median(times[0]), statistics.median(times[1])


def _validation_row(bodies: dict[str, bytes]) -> Row:
    adapters: dict[str, TypeAdapter[Any]] = {}
    for category in bodies:
        adapters[category] = TypeAdapter(dict[str, get_record_type_for_category(category)])  # type: ignore[misc, arg-type]
    floor, ours = in_turns(
        ROUNDS // 2,
        _timed(lambda: [adapters[c].validate_json(body) for c, body in bodies.items()], 1),
        _timed(lambda: [validate_records(c, body) for c, body in bodies.items()], 1),
    )
    count = sum(len(validate_records(c, body)[0]) for c, body in bodies.items())
    return Row(f"validating all {count} records", "pydantic `validate_json`", floor, ours, 1.3)


def measure() -> list[Row]:
    """All rows, with the data at hand."""
    data = dict(bodies())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "horde_model_reference"
        for category, body in data.items():
            write_atomically(FolderSource(root).path_of(category), encode_pretty(decode(body)))
        ModelReferenceManager.reset()
        manager = ModelReferenceManager(base_path=root, offline=True, prefetch_strategy="sync")
        rows = [*_import_rows(Path(folder)), *_warm_rows(manager, "text_generation")]
        rows += _twin_rows(manager, "text_generation")
        ModelReferenceManager.reset()
    return [*rows, _validation_row(data)]


if __name__ == "__main__":
    print(table(measure()))
