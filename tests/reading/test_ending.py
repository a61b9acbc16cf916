"""How a program ends that is in the middle of a refresh, and what a child has that was forked then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import horde_model_reference
from tests.reading.samples import ESRGAN
from tests.reading.simulators import Asked, FeedingPrimary, Loopback

SOURCE = str(Path(horde_model_reference.__file__).parents[1])


def _within(happened: Callable[[], object], seconds: float = 10.0) -> None:
    """Return as soon as it happened; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


_START = """
import logging, os, sys, threading, time
logging.basicConfig(level=logging.INFO)
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("asyncio").setLevel(logging.WARNING)
from horde_model_reference.reference import Reference
from horde_model_reference.sources.http import PrimarySource
from horde_model_reference.transport import HttpNetwork
reference = Reference(PrimarySource(sys.argv[1], 30.0, 10**6), HttpNetwork(), behind=True, follow=25.0)
"""
_IN_FIRST_LOAD = """
threading.Thread(target=lambda: reference.read("esrgan"), daemon=True).start()
time.sleep(0.5)
"""
_IN_A_COROUTINE = """
import asyncio
async def main():
    task = asyncio.create_task(reference.read_async("esrgan"))
    await asyncio.sleep(0.5)
asyncio.run(main())
"""
_IN_A_HELD_QUESTION = """
assert len(reference.read("esrgan")) == 2
sys.stdin.readline()
"""
_FORGOTTEN = _IN_A_HELD_QUESTION + "del reference\n"
_FORKED = (
    _IN_A_HELD_QUESTION
    + """
child = os.fork()
assert len(reference.read("esrgan")) == 2
if child == 0:
    assert list(reference.read("esrgan", fresh=True)) == ["A", "B"]
    assert list(reference.read("clip")) == ["c"]
    print("child", flush=True)
    sys.stdin.readline()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert list(reference.read("clip")) == ["c"]
"""
)


class _Holding(FeedingPrimary):
    """Answers everything but what it is asked to hold."""

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        if "wait=" in asked.path:
            time.sleep(30)
        yield from super().__call__(asked)


def _silence(asked: Asked) -> Iterator[bytes]:
    time.sleep(30)
    yield b""


@contextmanager
def _program(program: str, url: str) -> Iterator[subprocess.Popen[str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HORDE", "AI_HORDE", "PYTHON"))}
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", _START + program, f"{url}/api"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**kept, "PYTHONPATH": SOURCE}, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def _ends_silently(process: subprocess.Popen[str], said: str = "") -> None:
    assert process.communicate("\n\n", timeout=15) == (said, "")
    assert process.returncode == 0


def _holds(server: Loopback) -> int:
    return sum("wait=" in request.path for request in server.requests)


@pytest.mark.parametrize("program", [_IN_FIRST_LOAD, _IN_A_COROUTINE], ids=["thread", "coroutine"])
def test_a_program_ends_at_once_and_silently_during_its_first_load(program: str) -> None:
    """The server never answers; nothing is said, and no warning of what was left open."""
    with Loopback(_silence) as server, _program(program, server.url) as process:
        _ends_silently(process)
        assert len(server.requests) == 1


@pytest.mark.parametrize("program", [_IN_A_HELD_QUESTION, _FORGOTTEN], ids=["at the end", "forgotten"])
def test_a_program_ends_at_once_and_silently_during_a_held_question(program: str) -> None:
    """It is nearly always in one."""
    with Loopback(_Holding({"esrgan": ESRGAN})) as server, _program(program, server.url) as process:
        _within(lambda: _holds(server), 20)
        _ends_silently(process)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_held_question_reads_and_follows_for_itself() -> None:
    """With connections of its own; both end silently."""
    primary = _Holding({"esrgan": ESRGAN, "clip": {"c": {"name": "c"}}})
    with Loopback(primary) as server, _program(_FORKED, server.url) as process:
        _within(lambda: _holds(server) == 1, 20)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        _within(lambda: _holds(server) >= 2, 20)
        _ends_silently(process, "child\n")
    assert json.dumps(primary.records["esrgan"]) == json.dumps(ESRGAN)
