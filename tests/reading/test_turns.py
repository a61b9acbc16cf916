"""Turns: many readers of one host that cause one fetch, and one that follows for all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

import horde_model_reference
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow, NoNetwork, run_async
from horde_model_reference.sources.base import Ask, Found
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.remembered import Remembered
from tests.reading.samples import ESRGAN, IMAGES, Told, answered, ask_for, found, snapshot
from tests.reading.simulators import Loopback, Primary

SOURCE = str(Path(horde_model_reference.__file__).parents[1])
NEWER = {**ESRGAN, "C": {"name": "C"}}


def _kept(root: Path, *snapshots: Snapshot) -> FolderSource:
    folder = FolderSource(root)
    folder.keep({snapshot.category: snapshot for snapshot in snapshots})
    return folder


# -- turns --


class _Slow(Told):
    """Takes its time, so that all who begin together are there before the first is served."""

    def read(self, ask: Ask) -> Flow[Found]:
        yield Call(partial(time.sleep, 0.2))
        return (yield from super().read(ask))


def _asked_together(tmp_path: Path) -> list[tuple[Remembered, Told]]:
    readers = []
    for _ in range(8):
        told = _Slow(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
        readers.append((Remembered(told, FolderSource(tmp_path), 60.0), told))
    return readers


def test_eight_threads_that_begin_together_cause_one_fetch(tmp_path: Path) -> None:
    """Each with a reader of its own: the turn is the folder's."""
    readers = _asked_together(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda reader: answered(reader[0], ask_for("esrgan")), readers))
    assert {answer.revision for answer in answers} == {7}
    assert sum(len(told.questions) for _, told in readers) == 1


def test_eight_coroutines_that_begin_together_cause_one_fetch(tmp_path: Path) -> None:
    """In one loop, which goes on meanwhile."""
    readers, beats = _asked_together(tmp_path), 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    async def main() -> list[Found]:
        heart = asyncio.create_task(beat())
        try:
            flows = [run_async(reader.read(ask_for("esrgan")), NoNetwork()) for reader, _ in readers]
            return await asyncio.gather(*flows)
        finally:
            heart.cancel()

    answers = asyncio.run(main())
    assert all(isinstance(answer["esrgan"], Snapshot) for answer in answers)
    assert sum(len(told.questions) for _, told in readers) == 1
    assert beats > 3


_START = """
import sys
from pathlib import Path
from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.reference import Reference
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.http import PrimarySource
from horde_model_reference.sources.remembered import Remembered
from horde_model_reference.transport import HttpNetwork
url, root = sys.argv[1:]
source = Remembered(PrimarySource(url, 30.0, 10**6), FolderSource(Path(root)), 60.0)
network = HttpNetwork()
reference = Reference(source, network)
print("ready", flush=True)
sys.stdin.readline()
reference.warm()
assert len(reference.read("esrgan")) == 2 and len(reference.held()) >= 13
network.close()
"""


def _processes(program: str, count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return started


def test_eight_processes_that_start_together_on_an_empty_folder_cause_one_fetch_of_each_category(
    tmp_path: Path,
) -> None:
    """What the first brought, the others read from the disk."""
    primary = Primary({"esrgan": ESRGAN, "image_generation": IMAGES, "clip": {"c": {"name": "c"}}})
    with Loopback(primary) as server:
        started = _processes(_START, 8, f"{server.url}/api", str(tmp_path / "new"))
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in started] == [0] * 8
        for process in started:
            process.communicate()
        asked = [request.path.rpartition("/")[2] for request in server.requests]
    assert {name: asked.count(name) for name in primary.records} == dict.fromkeys(primary.records, 1)


_TURN = """
import sys, time
from pathlib import Path
from horde_model_reference.sources.remembered import _take, _FETCH, _FOLLOW
kept = [_take(Path(sys.argv[1]) / name) for name in (_FETCH, _FOLLOW)]
assert all(kept)
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def _turn_taken(root: Path) -> Iterator[subprocess.Popen[str]]:
    (process,) = _processes(_TURN, 1, str(root))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_is_killed_while_it_has_the_turn_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """The operating system gives its turn back."""
    told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
    source = Remembered(told, FolderSource(tmp_path), 60.0)
    with _turn_taken(tmp_path) as process, ThreadPoolExecutor(1) as pool:
        waits = pool.submit(answered, source, ask_for("esrgan"))
        time.sleep(0.1)
        assert not waits.done()
        process.send_signal(signal.SIGKILL)
        assert waits.result(20).revision == 7


def test_a_turn_that_is_never_given_back_costs_no_more_than_the_patience(tmp_path: Path) -> None:
    """Then everybody asks for itself; copies cost nothing at all."""
    told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
    with _turn_taken(tmp_path):
        began = time.monotonic()
        assert answered(Remembered(told, FolderSource(tmp_path), 0.3), ask_for("esrgan")).revision == 7
        assert 0.3 <= time.monotonic() - began < 10
        assert answered(Remembered(told, FolderSource(tmp_path), 60.0), ask_for("esrgan")).revision == 7
        assert time.monotonic() - began < 10


def test_a_turn_is_given_back_when_the_reader_is_interrupted(tmp_path: Path) -> None:
    """A coroutine that is cancelled while its source is asked must not hold up the next."""
    source = Remembered(_Slow(name="primary").gives(snapshot(ESRGAN, revision=7)), FolderSource(tmp_path), 60.0)

    async def main() -> Found:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run_async(source.read(ask_for("esrgan")), NoNetwork()), 0.1)
        return await asyncio.wait_for(run_async(source.read(ask_for("esrgan")), NoNetwork()), 20)

    assert isinstance(asyncio.run(main())["esrgan"], Snapshot)


# -- following --


@contextmanager
def _leader_elsewhere(root: Path) -> Iterator[None]:
    with FileLock(root / ".follow.lock", thread_local=False):
        yield


def _version(documents: object, revision: int, checked: float = 0.0) -> Snapshot:
    return snapshot(documents, source="primary", revision=revision, tag=f'"{revision}"', checked=checked)


def _watching(source: Remembered, known: Snapshot, wait: float) -> Found:
    return found(source, ask_for("esrgan", known, since=time.time(), wait=wait))


def test_one_reader_holds_the_question_and_its_news_reach_the_others_through_the_folder(tmp_path: Path) -> None:
    """The others ask nobody."""
    known = _version(ESRGAN, 7, time.time())
    folder = _kept(tmp_path, known)
    heard, released = threading.Event(), threading.Event()

    class Held(Told):
        def read(self, ask: Ask) -> Flow[Found]:
            yield Call(heard.set)
            yield Call(partial(released.wait, 20))
            return (yield from super().read(ask))

    leader = Remembered(Held(name="primary").gives(_version(NEWER, 8)), folder)
    others = [Told(name="primary") for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(_watching, leader, known, 20.0)
        heard.wait(20)
        began = time.monotonic()
        rest = [pool.submit(_watching, Remembered(told, folder), known, 20.0) for told in others]
        time.sleep(0.5)
        released.set()
        first.result(20)
        _watching(leader, _version(NEWER, 8), 0.1)  # as its keeper does at once
        answers = [each.result(20)["esrgan"] for each in (first, *rest)]
    assert [json.loads(answer.body) for answer in answers if isinstance(answer, Snapshot)] == [NEWER] * 4
    assert time.monotonic() - began < 10
    assert [told.questions for told in others] == [[], [], []]
    assert answered(FolderSource(tmp_path), ask_for("esrgan")).revision == 8


def test_what_the_leader_heard_while_a_watcher_was_busy_reaches_it_at_once(tmp_path: Path) -> None:
    """Two commits in a row: the second is on the disk before the watcher, who took in the first, looks again."""
    known = _version(ESRGAN, 7, time.time() - 2)
    folder = _kept(tmp_path, known)
    told = Told(name="primary")
    folder.keep({"esrgan": _version(NEWER, 8, time.time() - 1)})
    with _leader_elsewhere(tmp_path):
        began = time.monotonic()
        answer = _watching(Remembered(told, folder), known, 4.0)["esrgan"]
    assert isinstance(answer, Snapshot), answer
    assert answer.revision == 8
    assert time.monotonic() - began < 3


def test_a_copy_is_read_at_once_though_what_was_heard_is_not_on_the_disk_yet(tmp_path: Path) -> None:
    """Writing it needs the turn, which another process has; who only wants a copy needs none."""
    images = snapshot(IMAGES, "image_generation", source="primary", revision=7, checked=time.time())
    known = _version(ESRGAN, 7, time.time() - 2)
    source = Remembered(Told(name="primary").gives(_version(NEWER, 8)), _kept(tmp_path, known, images), 3.0)
    assert isinstance(_watching(source, known, 1.0)["esrgan"], Snapshot)
    with FileLock(tmp_path / ".fetch.lock", thread_local=False):
        began = time.monotonic()
        assert json.loads(answered(source, ask_for("image_generation")).body) == IMAGES
        assert time.monotonic() - began < 2


def test_a_watcher_of_a_quiet_folder_is_told_so_in_the_end(tmp_path: Path) -> None:
    """Which is no fault of anybody."""
    known = _version(ESRGAN, 7, time.time() - 2)
    folder = _kept(tmp_path, known)
    with _leader_elsewhere(tmp_path):
        answer = _watching(Remembered(Told(name="primary"), folder), known, 0.2)["esrgan"]
    assert isinstance(answer, SourceUnavailable)
    assert (answer.absent, answer.retry_after) == (True, None)


def test_who_follows_asks_with_what_the_reader_has_and_refusals_pass(tmp_path: Path) -> None:
    """They are no news, and the copies stay."""
    known = _version(ESRGAN, 7, time.time() - 2)
    told = Told(name="primary").refuses("esrgan", retry_after=3.0)
    answer = _watching(Remembered(told, _kept(tmp_path, known)), known, 5.0)["esrgan"]
    assert isinstance(answer, SourceUnavailable)
    assert answer.retry_after == 3.0
    assert [(ask.wait, ask.wanted["esrgan"]) for ask in told.questions] == [(5.0, known)]
    assert answered(FolderSource(tmp_path), ask_for("esrgan")).revision == 7


def test_the_next_reader_takes_over_where_the_leader_is_killed(tmp_path: Path) -> None:
    """Nobody goes on watching a folder that nobody writes to for longer than one question lasts."""
    known = _version(ESRGAN, 7, time.time() - 2)
    told = Told(name="primary").gives(_version(NEWER, 8))
    source = Remembered(told, _kept(tmp_path, known))
    with _turn_taken(tmp_path):
        assert isinstance(_watching(source, known, 0.1)["esrgan"], SourceUnavailable)
    assert isinstance(_watching(source, known, 5.0)["esrgan"], Snapshot)
    assert len(told.questions) == 1
