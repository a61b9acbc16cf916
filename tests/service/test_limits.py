"""What a request may be and how long it may take, and what is said where the store gives nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from horde_model_reference.service.application import create_app
from horde_model_reference.service.front import Limits
from horde_model_reference.wiring import Parts
from tests.service.servers import ScriptedStore, parts_over, running

V2 = "/api/model_references/v2"
IMAGES = f"{V2}/image_generation"


@pytest.fixture(scope="module")
def url(parts: Parts) -> Iterator[str]:
    """Where the service over the invented reference runs."""
    with running(create_app(parts)) as url:
        yield url


def _raw(url: str, request: bytes) -> bytes:
    """What the server says to those bytes until it has answered or closed."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer


_TOO_MUCH = {
    414: f"GET {IMAGES}?x={'y' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n",
    431: f"GET {V2}/nope HTTP/1.1\r\nHost: x\r\nX-Long: {'y' * 33_000}\r\n\r\n",
    413: f"POST {IMAGES} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    411: f"POST {IMAGES} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("status", _TOO_MUCH)
def test_what_goes_beyond_the_limits_is_refused_before_it_costs_anything(url: str, status: int) -> None:
    """As a problem, without waiting for a body; the server is well afterwards."""
    for _ in range(2):
        answer = _raw(url, _TOO_MUCH[status].encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"application/problem+json" in answer
        assert b"x-reference-revision" in answer
    assert httpx.get(f"{url}/heartbeat").status_code == 200


def test_the_length_of_an_address_is_what_was_sent(url: str) -> None:
    """Encoded, as it travels: each of these is nine bytes of it."""
    answer = _raw(url, f"GET {V2}/blip/model/{'%E7%8C%AB' * 1000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 414 ")


class _Slow(ScriptedStore):
    """A store whose rows come only when the test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.go_on = threading.Event()

    def wait(self) -> None:
        """Until then."""
        self.go_on.wait(20)


def test_a_request_that_takes_too_long_is_answered(tmp_path: Path) -> None:
    """503 with when to try again, and the service goes on; who waits for changes may wait longer."""
    store = _Slow(tmp_path)
    with store.begin(actor="tests") as unit:
        unit.put("clip", "a", '{"name":"a"}')
    app = create_app(parts_over(store, tmp_path))
    with ExitStack() as ends:
        ends.callback(store.close)
        url = ends.enter_context(running(app))
        assert app.front is not None
        app.front.limits = Limits(seconds=0.3)
        store.after_entries = store.wait
        ends.callback(store.go_on.set)
        answer = httpx.get(f"{url}{V2}/clip", timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
        assert "retry-after" in answer.headers
        assert httpx.get(f"{url}/heartbeat").status_code == 200
        assert httpx.get(f"{url}{V2}/changes?since={store.head()}&wait=0.8", timeout=10).status_code == 204
        store.go_on.set()
        assert httpx.get(f"{url}{V2}/clip").json().keys() == {"a"}


def test_a_store_that_cannot_be_read_is_said_to_be(scripted: ScriptedStore, tmp_path: Path) -> None:
    """503 everywhere, nothing from before; and all is well when it is back."""
    with scripted.begin(actor="tests") as unit:
        unit.put("clip", "a", '{"name":"a"}')
    with running(create_app(parts_over(scripted, tmp_path))) as url:
        assert httpx.get(f"{url}{V2}/clip").status_code == 200
        scripted.broken = True
        for path in (f"{V2}/clip", f"{V2}/clip/model/a", "/heartbeat", f"{V2}/manifest", f"{V2}/changes?since=0"):
            answer = httpx.get(f"{url}{path}")
            assert (path, answer.status_code) == (path, 503)
            assert answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
        scripted.broken = False
        assert httpx.get(f"{url}{V2}/clip").status_code == 200


def test_an_app_that_is_used_without_a_raw_path_answers(parts: Parts) -> None:
    """ASGI makes it optional."""
    app = create_app(parts)
    sent: list[dict[str, object]] = []

    async def ask() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/heartbeat", "query_string": b"", "headers": []}
        async with app.router.lifespan_context(app):
            for _ in range(2):
                await app({**scope, "http_version": "1.1", "scheme": "http"}, receive, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert [message["status"] for message in sent if "status" in message] == [200, 200]
