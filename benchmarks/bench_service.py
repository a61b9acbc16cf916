"""What the read service costs: one worker beside a bare uvicorn application and nginx that answer the same bytes.

Rates are told as time per request, the inverse of requests a second at 16 connections, so that less is better as in
the other tables; a limit of 1.11x is 90 % of the rate of the other. All three take turns in short rounds; told is the
median of the ratios of the rounds. The data are the real reference where it is at hand, else made-up records.

    python -m benchmarks.bench_service
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from benchmarks import service_size
from benchmarks.bench_reading import ROOT, bodies
from benchmarks.bench_store import documents
from benchmarks.rows import Row, table
from benchmarks.service_load import CONNECTIONS, HAS_WRK, load, loaded, rates
from benchmarks.service_peers import API, Answer, Writer, bare, fetch, model_path, nginx, ours, resident, writer
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.stores.sql import SqlStore

__all__ = ["measure"]

ROUNDS, LATENCY_SECONDS, REPLICAS, CHANGES, SEARCHERS = 7, 6, 1_000, 10, 4
IMAGE, TEXT = "image_generation", "text_generation"
_GENERATED = {IMAGE: 161, TEXT: 719}
_GZIP = {"Accept-Encoding": "gzip"}
_SEARCH = f"{API}/{IMAGE}/search?nsfw=false&inpainting=false&limit=50&tags_none=none-has-this-"
_SEARCH_ALL = f"{API}/search?nsfw=false&limit=50&name_contains=a&tags_none=none-has-this-"


@dataclass(frozen=True)
class Case:
    """A request, and what share of the others' rates ours must reach at least."""

    name: str
    path: str
    of_bare: float
    of_nginx: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_known: bool = False
    """Whether the reader has the answer already."""
    is_distinct: bool = False

    def asked(self, port: int, path: str) -> dict[str, str]:
        """The headers to ask that server with: who has the answer already says so by the tag that this server gives."""
        known = {"If-None-Match": fetch(port, path, self.headers).header("etag")} if self.is_known else {}
        return {**self.headers, **known}


def _cases(image: str, text: str) -> list[Case]:
    of_image, of_text = model_path(IMAGE, image), model_path(TEXT, text)
    return [
        Case("304", of_image, 0.90, 0.29, is_known=True),
        Case("single image model", of_image, 0.85, 0.34),
        Case("single text model", of_text, 0.85, 0.34),
        Case("category image, identity", f"{API}/{IMAGE}", 0.90, 0.65),
        Case("category text, identity", f"{API}/{TEXT}", 0.90, 0.58),
        Case("category image, gzip", f"{API}/{IMAGE}", 0.90, 0.38, _GZIP),
        Case("category text, gzip", f"{API}/{TEXT}", 0.90, 0.38, _GZIP),
        Case("search image, 3 filters, 50 results, the same again", f"{_SEARCH}0", 0.15),
        Case("search image, 3 filters, 50 results, never the same", _SEARCH, 0.15, is_distinct=True),
        Case("heartbeat", "/api/heartbeat", 0.50),
    ]


_UNDER_CHANGES = 7
"""So many of the cases are measured for latency as well."""


def _fill(database: str) -> list[str]:
    """Put the data there; gives the name of an image and of a text model from the middle of their categories."""
    found = {category: decode_object(body) for category, body in bodies()}
    names = []
    store = SqlStore(database)
    with store.begin(actor="benchmark") as unit:
        for category, least in _GENERATED.items():
            told = {name: encode(document).decode() for name, document in found.pop(category, {}).items()}
            if len(told) < least // 2:
                told = dict(documents(least))
            if category == TEXT:
                told = {name: document.replace(f'"{IMAGE}"', f'"{TEXT}"') for name, document in told.items()}
            names.append(list(told)[len(told) // 2])
            for name, document in told.items():
                unit.put(category, name, document)
        for category, records in found.items():
            for name, record in records.items():
                unit.put(category, name, encode(record).decode())
    store.close()
    return names


def _rate_rows(cases: list[Case], port: int, folder: Path) -> Iterator[Row]:
    files: dict[str, bytes] = {}
    for number, case in enumerate(cases):
        files[f"{number}.json"] = fetch(port, case.path).body
        files[f"{number}.json.gz"] = fetch(port, case.path, _GZIP).body
    with nginx(files, folder / "nginx") as static:
        for number, case in enumerate(cases):
            asked = case.asked(port, case.path)
            answer = fetch(port, case.path, asked)
            assert answer.status == (304 if case.is_known else 200), f"{case.name} is answered {answer.status}"
            with bare(answer, folder / f"bare{number}") as floor:
                yield from _case_rows(case, answer, port, floor, (static, f"/{number}.json"))


def _case_rows(case: Case, answer: Answer, port: int, floor: int, file: tuple[int | None, str]) -> Iterator[Row]:
    asked = case.asked(port, case.path)
    loads = [partial(load, port, case.path, asked, distinct=case.is_distinct), partial(load, floor, "/", asked)]
    peers = [("bare uvicorn", case.of_bare)]
    static, path = file
    if static is not None and case.of_nginx is not None:
        also = case.asked(static, path)
        same = fetch(static, path, also)
        assert (same.status, same.body) == (answer.status, answer.body), f"nginx answers {case.name} otherwise"
        loads.append(partial(load, static, path, also))
        peers.append(("nginx", case.of_nginx))
    mine, *others = zip(*rates(ROUNDS, *loads), strict=True)
    for (peer, share), theirs in zip(peers, others, strict=True):
        ratio = statistics.median(one / other for one, other in zip(mine, theirs, strict=True))
        spent = 1e6 / statistics.median(theirs)
        what = f"{case.name}: {statistics.median(mine):,.0f}/s, {ratio:.0%} of {statistics.median(theirs):,.0f}/s"
        yield Row(what, peer, spent, spent / ratio, round(1 / share, 2))


@contextmanager
def _changing(writes: Writer) -> Iterator[None]:
    """One change a second, of images and of texts in turn, as long as the block runs."""
    ends = threading.Event()

    def change() -> None:
        for category in cycle((IMAGE, TEXT)):
            if ends.wait(1.0):
                return
            writes.apply(category)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        yield
    finally:
        ends.set()
        changing.join()


def _latency_rows(cases: list[Case], port: int, folder: Path, writes: Writer) -> Iterator[Row]:
    with _changing(writes):
        for number, case in enumerate(cases):
            asked = case.asked(port, case.path)
            with bare(fetch(port, case.path, asked), folder / f"bare_latency{number}") as floor:
                theirs = load(floor, "/", asked, seconds=LATENCY_SECONDS)
            found = load(port, case.path, case.asked(port, case.path), seconds=LATENCY_SECONDS)
            what = f"{case.name}, {CONNECTIONS} connections, a change a second: p99"
            yield Row(what, "bare uvicorn", theirs.p99, found.p99, 5, "ms", absolute=True)


def _heartbeat_row(port: int) -> Row:
    run = partial(loaded, port, _SEARCH_ALL, {}, seconds=LATENCY_SECONDS + 1, connections=SEARCHERS, distinct=True)
    with run() as searched:
        time.sleep(0.5)
        found = load(port, "/api/heartbeat", {}, seconds=LATENCY_SECONDS, connections=1)
        rate = searched().rate
    what = f"heartbeat while {SEARCHERS} connections search all categories ({rate:,.0f}/s): p99"
    return Row(what, "", 0, found.p99, 20, "ms", absolute=True)


def _stream_rows(port: int, process: int, writes: Writer) -> Iterator[Row]:
    """From a commit in another process until the last of all replicas has the event."""
    command = [sys.executable, "-m", "benchmarks.service_streams", str(port), str(REPLICAS), f"{API}/changes/stream"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as replicas:  # type: ignore[call-overload]
        assert replicas.stdout.readline() == "ready\n"
        delays = []
        for category in islice(cycle((IMAGE, TEXT)), CHANGES):
            committed = writes.apply(category)
            delays.append(float(replicas.stdout.readline()) - committed)
            time.sleep(0.3)
        held = resident(process)
        replicas.stdin.close()
    what = f"committed -> the last of {REPLICAS:,} streams has it"
    yield Row(f"{what}, median of {CHANGES}", "", 0, statistics.median(delays) * 1e3, 1_000, "ms", absolute=True)
    yield Row(f"{what}, the worst", "", 0, max(delays) * 1e3, 1_000, "ms", absolute=True)
    if held is not None:
        yield Row(f"the worker with {REPLICAS:,} streams, resident", "", 0, held, 200, "MB", absolute=True)


def _rows(folder: Path) -> Iterator[Row]:
    database = f"sqlite:///{folder / 'reference.sqlite3'}"
    cases = _cases(*_fill(database))
    with ExitStack() as ends:
        fresh = partial(ours, database, folder / "home")
        writes = ends.enter_context(writer(database, folder / "home"))
        with fresh() as (port, process):
            yield from _stream_rows(port, process, writes)
        if not HAS_WRK:
            what = "wrk, which measures the rates and latencies of the service"
            yield Row(what, "", 0, 1, 0, "not installed", absolute=True)
            return
        with fresh() as (port, _):
            yield from _rate_rows(cases, port, folder)
        with fresh() as (port, _):
            yield from _latency_rows(cases[:_UNDER_CHANGES], port, folder, writes)
            yield _heartbeat_row(port)


def measure() -> list[Row]:
    """All rows, with the data at hand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = REPLICAS + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # what is started here inherits it
    with tempfile.TemporaryDirectory() as name:
        return [*_rows(Path(name)), *service_size.rows(Path(name))]


if __name__ == "__main__":
    print(table(measure()))
