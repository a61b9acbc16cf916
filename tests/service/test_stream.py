"""The feed as server-sent events: what they tell and in which order, where they go on, and when they end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.events import Kind
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import Service, create_app
from horde_model_reference.stores.sql import SqlStore
from tests.service.servers import ScriptedStore, followed, parts_over, running, within_deadline
from tests.stores.processes import first_line_of, let_go, lines_of, start

V2 = "/api/model_references/v2"
STREAM = f"{V2}/changes/stream"


class Streamed:
    """What a reader takes from one stream, event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def block(self) -> dict[str, str]:
        """The fields of the next block; a comment is under the empty name."""
        found: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return found
            name, _, value = line.partition(":")
            found[name] = value.strip()
        return found

    def event(self) -> dict[str, str]:
        """The next block that is an event."""
        while "event" not in (block := self.block()):
            assert block, "the stream has ended"
        return block

    def changes(self) -> list[tuple[str, str]]:
        """Operations and names of the next event."""
        return [(each["operation"], each["name"]) for each in json.loads(self.event()["data"])["changes"]]


class Streaming:
    """An app over a store with three revisions, on a server."""

    def __init__(self, store: ScriptedStore, app: Service, url: str) -> None:
        self.store, self.app, self.url = store, app, url

    @contextmanager
    def stream(self, query: str = "", last: str | None = None) -> Iterator[Streamed]:
        """A stream that has begun."""
        headers = {} if last is None else {"last-event-id": last}
        with httpx.stream("GET", f"{self.url}{STREAM}{query}", headers=headers, timeout=20) as response:
            assert response.status_code == 200
            streamed = Streamed(response)
            assert "retry" in streamed.block()
            yield streamed

    def put(self, name: str, category: str = "esrgan") -> None:
        """Commit one record."""
        _put(self.store, name, category)

    def mark(self, revision: int) -> str:
        """What tells the history up to there."""
        return next(iter(self.store.events(since=revision - 1))).hash[:8]


def _put(store: SqlStore, name: str, category: str = "esrgan") -> None:
    with store.begin(actor="tests") as unit:
        unit.put(category, name, encode({"name": name}).decode())


@pytest.fixture
def service(scripted: ScriptedStore, tmp_path: Path) -> Iterator[Streaming]:
    """At revision 3."""
    for name in ("one", "two", "three"):
        _put(scripted, name)
    app = create_app(parts_over(scripted, tmp_path))
    with running(app) as url:
        yield Streaming(scripted, app, url)


def test_events_tell_what_polls_tell(service: Streaming) -> None:
    """Their id is the revision up to which they tell everything, and the mark of that history."""
    with service.stream("?since=1") as stream:
        event = stream.event()
        poll = httpx.get(f"{service.url}{V2}/changes?since=1")
        assert event["data"].encode() == poll.content
        assert (event["id"], event["event"]) == (f"3-{poll.headers['x-reference-mark']}", "changes")
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        assert stream.response.headers["x-reference-revision"] == "3"
        service.put("four")
        assert stream.changes() == [("create", "four")]


def test_a_stream_without_a_place_begins_now(service: Streaming) -> None:
    """What was before is not told; what comes is, also from another process, and side documents move it on."""
    with service.stream() as stream:
        service.put("four")
        assert stream.changes() == [("create", "four")]
        other = start("increment", f"sqlite:///{service.store._dialect.url.database}", "1")
        assert first_line_of(other) == "ready"
        let_go(other)
        assert lines_of(other) == ["done"]
        assert stream.changes() == [("create", "count")]
        with service.store.begin(actor="tests") as unit:
            unit.put("blip", "aliases", "{}", kind=Kind.DOCUMENT)
        event = stream.event()
        assert (event["id"].split("-")[0], json.loads(event["data"])["changes"]) == ("6", [])


@pytest.mark.parametrize("with_mark", [True, False])
def test_a_reader_goes_on_after_the_last_event_it_had(service: Streaming, with_mark: bool) -> None:
    """The header goes before `since`: a browser sends it with the address that it began with."""
    last = f"2-{service.mark(2)}" if with_mark else "2"
    with service.stream("?since=0", last) as stream:
        assert stream.changes() == [("create", "three")]


@pytest.mark.parametrize("last", ["9", "9-00000000", "2-00c0ffee", "3-00c0ffee", "999999999999999999"])
def test_from_where_nobody_can_go_on_is_said_at_once(service: Streaming, last: str) -> None:
    """Of the future, or of another history: 410, before anything is streamed."""
    answer = httpx.get(f"{service.url}{STREAM}", headers={"last-event-id": last}, timeout=20)
    assert (answer.status_code, answer.headers["x-reference-revision"]) == (410, "3")
    assert "whole" in answer.json()["detail"]


def test_what_is_no_longer_kept_is_gone(service: Streaming) -> None:
    """Whether the place is in the address or in the header."""
    service.store.forgotten = 2
    for query, headers in (("?since=1", {}), ("", {"last-event-id": "1"}), ("?category=clip", {"last-event-id": "1"})):
        assert httpx.get(f"{service.url}{STREAM}{query}", headers=headers, timeout=20).status_code == 410


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "2-", "2-xyz", "9" * 40])
def test_a_last_event_that_is_none_of_ours_counts_as_none(service: Streaming, last: str) -> None:
    """The stream begins now, or where the address says."""
    with service.stream("?since=2", last) as stream:
        assert stream.changes() == [("create", "three")]


@pytest.mark.parametrize("query", ["since=-1", "since=x", "category=nope"])
def test_a_bad_question_is_refused(service: Streaming, query: str) -> None:
    """By 422, as everywhere."""
    assert httpx.get(f"{service.url}{STREAM}?{query}", timeout=20).status_code == 422


def test_a_stream_of_one_category_leaves_others_out_and_moves_on(service: Streaming) -> None:
    """Its ids go with the whole reference, so a reader that comes back is not told what it had passed."""
    with service.stream("?category=clip") as stream:
        service.put("four")
        event = stream.event()
        assert (event["id"].split("-")[0], json.loads(event["data"])["changes"]) == ("4", [])
        service.put("c", "clip")
        assert stream.changes() == [("create", "c")]


def test_whoever_follows_a_stream_through_breaks_holds_the_bytes_of_whoever_reads_whole(service: Streaming) -> None:
    """Each time it goes on from the last id; nothing is told twice or left out."""
    held = decode_object(httpx.get(f"{service.url}{V2}/esrgan").content)
    last = f"3-{service.mark(3)}"
    for turn in range(5):
        with service.stream(last=last) as stream:
            for name in ("one", f"new {turn}"):
                with service.store.begin(actor="tests") as unit:
                    unit.put("esrgan", name, json.dumps({"name": name, "turn": turn}))
                event = stream.event()
                last = event["id"]
                for change in json.loads(event["data"])["changes"]:
                    followed(change, held)
            with service.store.begin(actor="tests") as unit:
                unit.delete("esrgan", "two")
                unit.put("esrgan", "two", json.dumps({"name": "two", "turn": turn}))
    with service.stream(last=last) as stream:
        for change in json.loads(stream.event()["data"])["changes"]:
            followed(change, held)
    assert encode(held) == httpx.get(f"{service.url}{V2}/esrgan").content


def test_more_than_an_event_may_hold_comes_in_several(service: Streaming) -> None:
    """A thousand at most, one after the other."""
    with service.store.begin(actor="tests") as unit:
        for number in range(1500):
            unit.put("esrgan", f"n{number}", '{"name":"n"}')
    with service.stream("?since=3") as stream:
        first, second = stream.event(), stream.event()
    assert ([first["id"].split("-")[0], second["id"].split("-")[0]]) == ["1003", "1503"]
    told = [change["name"] for event in (first, second) for change in json.loads(event["data"])["changes"]]
    assert told == [f"n{number}" for number in range(1500)]


def test_a_stream_that_has_nothing_to_tell_says_that_it_is_there(service: Streaming) -> None:
    """A comment, which readers ignore and proxies see; it is no event, so the last one stays."""
    service.app.state.streams.beat = 0.05
    with service.stream() as stream:
        for _ in range(3):
            (name,) = stream.block()
            assert name == ""
        service.put("four")
        assert stream.changes() == [("create", "four")]


def test_a_reader_that_takes_nothing_is_let_go(service: Streaming) -> None:
    """Others go on; when it comes back it goes on from the last event it had."""
    service.app.state.streams.slowest = 0.3
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        within_deadline(lambda: service.app.state.streams.open == 1)
        with service.stream() as stream:
            names = iter(range(1000))

            def let_go() -> bool:
                with service.store.begin(actor="tests") as unit:
                    unit.put("esrgan", f"n{next(names)}", json.dumps({"name": "n", "description": "x" * 500_000}))
                stream.event()
                return bool(service.app.state.streams.open == 1)

            within_deadline(let_go)


def test_a_reader_that_leaves_is_forgotten(service: Streaming) -> None:
    """At once, not at the next beat."""
    with service.stream():
        within_deadline(lambda: service.app.state.streams.open == 1)
    within_deadline(lambda: service.app.state.streams.open == 0)
    assert len(service.app.state.serving.feed.bell) == 0


def test_a_stream_is_told_when_the_history_it_followed_is_gone(service: Streaming) -> None:
    """The database was replaced by an older one under a running service: `reset`, and the stream ends."""
    with service.stream() as stream:
        with service.store._transaction(writes=True) as connection:
            connection.exec_driver_sql("DELETE FROM events WHERE revision > 1")
        service.app.state.serving.feed.bell.ring()
        assert stream.event()["event"] == "reset"
        assert stream.block() == {}


def test_a_store_that_fails_ends_streams_without_noise(service: Streaming, caplog: pytest.LogCaptureFixture) -> None:
    """The reader comes back by itself; a log full of tracebacks, one for each of a thousand readers, helps nobody."""
    with service.stream() as stream:
        service.store.broken = True
        with pytest.raises(AssertionError, match="ended"):
            stream.event()
    service.store.broken = False
    within_deadline(lambda: service.app.state.streams.open == 0)
    assert [record for record in caplog.records if record.exc_info] == []
    with service.stream("?since=2") as stream:
        assert stream.changes() == [("create", "three")]


def test_one_rendering_serves_all_streams(service: Streaming) -> None:
    """However many listen, an event is read and encoded once."""

    async def listen() -> set[bytes]:
        async with httpx.AsyncClient(timeout=20) as client, asyncio.TaskGroup() as group:
            begun = asyncio.Semaphore(0)

            async def one() -> bytes:
                async with client.stream("GET", service.url + STREAM) as response:
                    taken = b""
                    async for chunk in response.aiter_raw():
                        begun.release()
                        taken += chunk
                        if b"four" in taken:
                            return re.sub(rb"(?s).*(id: )", rb"\1", taken)
                return b""

            tasks = [group.create_task(one()) for _ in range(40)]
            for _ in tasks:
                await begun.acquire()
            before = service.store.reads_of_events
            await asyncio.to_thread(service.put, "four")
            told = {await task for task in tasks}
            assert service.store.reads_of_events - before <= 4
            return told

    assert len(asyncio.run(listen())) == 1


def test_a_server_that_ends_ends_its_streams(tmp_path: Path) -> None:
    """Properly, with the last chunk, and at once."""
    ours = {"REPLICATE_MODE": "PRIMARY", "MIRROR_ENABLED": "false"}
    environment = os.environ | {f"HORDE_MODEL_REFERENCE_{name}": value for name, value in ours.items()}
    environment |= {"AIWORKER_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "uvicorn", "horde_model_reference.service.app:app", "--port", "0", "--no-use-colors"]
    with ExitStack() as ends, subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as server:
        ends.callback(server.kill)
        assert server.stderr is not None
        line = next(line for line in server.stderr if "running on" in line)
        address = line.partition("http://")[2].split()[0]
        with httpx.stream("GET", f"http://{address}{STREAM}", timeout=20) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("retry")
            server.send_signal(signal.SIGTERM)
            assert "event" not in "".join(lines)  # ends, and not by a broken connection
        server.wait(timeout=20)
        assert "Traceback" not in server.stderr.read()
