"""Requests that wait for a change: who wakes them, what they cost, and that they keep nothing else from ending."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from horde_model_reference.domain.events import Kind
from horde_model_reference.service.application import create_app
from horde_model_reference.service.feed import Bell
from horde_model_reference.settings import HordeModelReferenceSettings, ReplicateMode
from tests.service.servers import ScriptedStore, parts_over, running, within_deadline
from tests.stores.processes import increment, let_go, lines_of, start

CHANGES = "/api/model_references/v2/changes"
_LONG = 50


class Held:
    """An app over a store, on a server, and requests that it holds."""

    def __init__(self, app: FastAPI, url: str, store: ScriptedStore) -> None:
        self.app, self.url, self.store = app, url, store
        self._threads = ThreadPoolExecutor()

    @property
    def bell(self) -> Bell:
        """The bell of the app."""
        bell: Bell = self.app.state.serving.feed.bell
        return bell

    def ask(self, since: int, wait: float = _LONG) -> Future[httpx.Response]:
        """A request that is held when this returns."""
        before = len(self.bell)
        url = f"{self.url}{CHANGES}?since={since}&wait={wait}"
        asked = self._threads.submit(httpx.get, url, timeout=60)
        within_deadline(lambda: len(self.bell) > before)
        return asked


@pytest.fixture
def held(scripted: ScriptedStore, tmp_path: Path) -> Iterator[Held]:
    """A service at revision 3."""
    increment(scripted, 3)
    app = create_app(parts_over(scripted, tmp_path))
    with running(app) as url:
        yield Held(app, url, scripted)


def test_a_commit_of_this_process_answers_a_held_request(held: Held) -> None:
    """Long before its time is over."""
    asked = held.ask(3)
    increment(held.store, 1)
    answer = asked.result(timeout=20)
    assert [change["record"] for change in answer.json()["changes"]] == [4]


def test_a_commit_of_another_process_answers_a_held_request(held: Held, tmp_path: Path) -> None:
    """Nothing but the database tells of it."""
    other = start("increment", f"sqlite:///{tmp_path / 'reference.sqlite3'}", "1")
    asked = held.ask(3)
    let_go(other)
    assert asked.result(timeout=20).json()["revision"] == 4
    assert lines_of(other) == ["ready", "done"]


def test_what_was_missed_is_told_at_once(held: Held) -> None:
    """Who is behind does not wait, and a side document is news, too."""
    with held.store.begin(actor="tests") as unit:
        unit.put("blip", "aliases", "{}", kind=Kind.DOCUMENT)
    for since, names in ((2, ["count"]), (3, [])):
        answer = httpx.get(f"{held.url}{CHANGES}?since={since}&wait={_LONG}", timeout=20).json()
        assert ([change["name"] for change in answer["changes"]], answer["revision"]) == (names, 4)


def test_when_nothing_happens_the_time_is_waited_and_no_longer(held: Held) -> None:
    """Then nobody looks any more."""
    began = time.monotonic()
    answer = httpx.get(f"{held.url}{CHANGES}?since=3&wait=0.3", timeout=20)
    assert (answer.status_code, answer.content, answer.headers["x-reference-revision"]) == (204, b"", "3")
    assert time.monotonic() - began >= 0.3
    within_deadline(lambda: held.bell._watch is None)


def test_five_hundred_who_wait_for_the_same_cost_one_reading(scripted: ScriptedStore, tmp_path: Path) -> None:
    """One look at the log and one encoding, which all of them get."""
    increment(scripted, 3)
    app = create_app(parts_over(scripted, tmp_path))

    async def crowd() -> list[httpx.Response]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", timeout=None) as client,
        ):
            asked = [asyncio.create_task(client.get(f"{CHANGES}?since=3&wait={_LONG}")) for _ in range(500)]
            await asyncio.to_thread(within_deadline, lambda: len(app.state.serving.feed.bell) == 500)
            await asyncio.to_thread(increment, scripted, 1)
            return await asyncio.gather(*asked)

    answers = asyncio.run(crowd())
    assert {(answer.status_code, answer.json()["revision"]) for answer in answers} == {(200, 4)}
    assert scripted.reads_of_events == 3  # whether the log goes on from there, how, and the mark of its end


def test_a_store_that_fails_meanwhile_is_said_to(held: Held) -> None:
    """Holding on would tell readers that nothing changes; and the next request finds the store well again."""
    asked = held.ask(3)
    held.store.broken = True
    assert asked.result(timeout=20).status_code == 503
    held.store.broken = False
    asked = held.ask(3)
    increment(held.store, 1)
    assert asked.result(timeout=20).json()["revision"] == 4


def test_a_closed_bell_lets_everybody_go_and_holds_nobody_for_long(held: Held) -> None:
    """What a server that ends asks for; and later commits harm nobody."""
    asked = held.ask(3)
    held.bell.close()
    assert asked.result(timeout=20).status_code == 204
    assert held.ask(3).result(timeout=20).status_code == 204
    increment(held.store, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_does_not_wait_for_those_who_wait(number: signal.Signals, tmp_path: Path) -> None:
    """They are answered, then it ends."""
    ours = {"REPLICATE_MODE": "PRIMARY", "MIRROR_ENABLED": "false"}
    settings = {f"HORDE_MODEL_REFERENCE_{name}": value for name, value in ours.items()}
    environment = (
        os.environ | settings | {"AIWORKER_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    words = [sys.executable, "-m", "uvicorn", "horde_model_reference.service.app:app", "--port", "0", "--no-use-colors"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "running on" in line)
        host, port = line.partition("http://")[2].split()[0].split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET {CHANGES}?since=0&wait={_LONG} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for _ in range(3):  # when these are answered, that one is held
                httpx.get(f"http://{host}:{port}{CHANGES}?since=0&wait=0.1")
            began = time.monotonic()
            server.send_signal(number)
            connection.settimeout(20)
            assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
            server.wait(timeout=20)
            assert time.monotonic() - began < _LONG / 2
            assert "Traceback" not in server.stderr.read()


def test_parts_that_the_app_assembled_are_closed_however_it_ends(tmp_path: Path) -> None:
    """Also when what runs inside the lifespan fails."""
    address = f"sqlite:///{tmp_path / 'reference.sqlite3'}"
    increment(ScriptedStore(tmp_path), 1)
    settings = HordeModelReferenceSettings(
        replicate_mode=ReplicateMode.PRIMARY, database_url=address, mirror_enabled=False, make_folders=False
    )
    app = create_app(settings=settings)

    async def fail() -> None:
        async with app.router.lifespan_context(app):
            assert app.state.serving.parts.store.head() == 1
            raise KeyError("meanwhile")

    with pytest.raises(KeyError, match="meanwhile"):
        asyncio.run(fail())
    assert app.state.serving.parts.store._engine is None


def test_a_commit_after_the_loop_has_ended_harms_nobody(scripted: ScriptedStore) -> None:
    """The store outlives the app that subscribed to it."""

    async def make() -> Bell:
        return Bell(partial(asyncio.to_thread, scripted.head))

    bell = asyncio.run(make())
    scripted.subscribe(bell.ring)
    increment(scripted, 1)
    bell.close()
    assert scripted.head() == 1
