"""Load, by wrk: how many answers a second, and how late the slow ones come."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

__all__ = ["CONNECTIONS", "HAS_WRK", "Load", "load", "loaded", "rates"]

CONNECTIONS = 16
HAS_WRK = shutil.which("wrk") is not None
_DONE = """
done = function(summary, latency)
    local e = summary.errors
    print(summary.requests, summary.duration, latency:percentile(99), latency.max,
          e.connect + e.read + e.write + e.status + e.timeout)
end
"""
_DISTINCT = """
local number = 0
init = function(words) number = tonumber(words[1]) * 10000000 end
request = function()
    number = number + 1
    return wrk.format(nil, wrk.path .. number)
end
"""
_runs = count(1)


class Load(NamedTuple):
    """What a run of wrk found: answers a second, and latencies in milliseconds."""

    rate: float
    p99: float
    slowest: float


def _command(
    port: int, path: str, headers: Mapping[str, str], seconds: int, connections: int, script: Path
) -> list[str]:
    said = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    shape = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    return ["wrk", *shape, *said, f"http://127.0.0.1:{port}{path}", "--", str(next(_runs))]


def load(
    port: int,
    path: str,
    headers: Mapping[str, str],
    *,
    seconds: int = 1,
    connections: int = CONNECTIONS,
    distinct: bool = False,
) -> Load:
    """One run. With `distinct` a number that was never used before is put behind the path of each request."""
    with loaded(port, path, headers, seconds=seconds, connections=connections, distinct=distinct) as found:
        return found()


@contextmanager
def loaded(
    port: int, path: str, headers: Mapping[str, str], *, seconds: int, connections: int, distinct: bool
) -> Iterator[Callable[[], Load]]:
    """A run beside the block; what is given waits for its end, and raises `RuntimeError` if anything was refused."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.lua"
        script.write_text(_DONE + (_DISTINCT if distinct else ""))
        said = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        shape = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
        command = ["wrk", *shape, *said, f"http://127.0.0.1:{port}{path}", "--", str(next(_runs))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            yield lambda: _found(command, running.communicate()[0])


def _found(command: list[str], told: str) -> Load:
    requests, microseconds, p99, slowest, errors = map(float, told.splitlines()[-1].split())
    if errors or not requests:
        raise RuntimeError(f"{errors:g} of {requests:g} requests failed: {' '.join(command)}")
    return Load(requests / microseconds * 1e6, p99 / 1000, slowest / 1000)


def rates(rounds: int, *loads: Callable[[], Load]) -> list[list[float]]:
    """The rates of each in every round; they take turns, so that noise meets all alike. A first turn does not count."""
    for each in loads:
        each()
    return [[each().rate for each in loads] for _ in range(rounds)]
