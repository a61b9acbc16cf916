"""HTTP against a server on loopback that behaves badly in every way we could think of."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import horde_model_reference
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Request, Response
from horde_model_reference.transport import HttpNetwork
from tests.reading.simulators import Answer, Asked, Loopback, Reset, http

Send = Callable[[Request], Response]

SOURCE = str(Path(horde_model_reference.__file__).parents[1])


def _send(network: HttpNetwork, request: Request) -> Response:
    return network.begin(request).result()


def _send_async(network: HttpNetwork, request: Request) -> Response:
    async def main() -> Response:
        return await asyncio.wrap_future(network.begin(request))

    return asyncio.run(main())


@pytest.fixture
def network() -> Iterator[HttpNetwork]:
    """A network of one's own, closed afterwards."""
    network = HttpNetwork()
    yield network
    network.close()


@pytest.fixture(params=["thread", "loop"])
def send(request: pytest.FixtureRequest, network: HttpNetwork) -> Send:
    """Each colour."""
    colour = _send if request.param == "thread" else _send_async
    return lambda asked: colour(network, asked)


def _always(*pieces: bytes) -> Answer:
    def answer(asked: Asked) -> Iterator[bytes]:
        yield from pieces

    return answer


def _silence(asked: Asked) -> Iterator[bytes]:
    time.sleep(3)
    yield b""


def test_an_answer_comes_back_whole(send: Send) -> None:
    """Status, header names in lower case, body; our headers and name arrive at the server."""
    with Loopback(_always(http(404, b"no", ETag='"x"'))) as server:
        answer = send(Request(f"{server.url}/a/b", {"if-none-match": '"y"'}))
    assert (answer.status, answer.headers["etag"], answer.body) == (404, '"x"', b"no")
    assert server.requests[0].path == "/a/b"
    assert server.requests[0].headers["if-none-match"] == '"y"'
    assert server.requests[0].headers["user-agent"].startswith("horde-model-reference/")


def test_a_body_that_drips_slower_than_the_deadline_is_given_up(send: Send) -> None:
    """Each piece comes in time, the whole does not."""

    def drip(asked: Asked) -> Iterator[bytes]:
        yield http(200, content_length="1000")
        for _ in range(1000):
            time.sleep(0.02)
            yield b"x"

    with Loopback(drip) as server:
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match=r"within 0\.2 s"):
            send(Request(server.url, deadline=0.2))
        assert time.monotonic() - began < 10


def test_a_server_that_says_nothing_is_given_up(send: Send) -> None:
    """Accepted, and then silence."""

    with Loopback(_silence) as server, pytest.raises(SourceUnavailable, match=r"within 0\.2 s"):
        send(Request(server.url, deadline=0.2))


def test_headers_that_drip_are_given_up(send: Send) -> None:
    """The deadline covers everything; on a thread it once began anew with each header."""

    def drip(asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for number in range(300):
            time.sleep(0.02)
            yield f"x-{number}: y\r\n".encode()

    with Loopback(drip) as server, pytest.raises(SourceUnavailable, match=r"within 0\.2 s"):
        send(Request(server.url, deadline=0.2))


def test_a_body_over_the_limit_is_given_up(send: Send) -> None:
    """Also where the server did not say how long it would be."""
    endless = http(200, b"x" * 100_000).replace(b"content-length: 100000\r\n", b"connection: close\r\n")
    for answer in (http(200, b"x" * 100_000), endless):
        with Loopback(_always(answer)) as server, pytest.raises(SourceUnavailable, match="larger than 5000 bytes"):
            send(Request(server.url, max_bytes=5000))


def test_a_compressed_answer_is_decompressed_and_a_broken_one_refused(send: Send) -> None:
    """We ask for gzip alone, so anything else is refused; half a stream is no whole one."""
    packed = gzip.compress(b"0123456789" * 1000)
    with Loopback(_always(http(200, packed, content_encoding="gzip"))) as server:
        assert send(Request(server.url)).body == b"0123456789" * 1000
        assert server.requests[0].headers["accept-encoding"] == "gzip"
    for body, encoding in ((packed[:-20], "gzip"), (b"x", "br")):
        with Loopback(_always(http(200, body, content_encoding=encoding))) as server, pytest.raises(SourceUnavailable):
            send(Request(server.url))


def test_closing_refuses_what_is_under_way(network: HttpNetwork) -> None:
    """Nobody waits for an answer that cannot come any more."""
    with Loopback(_silence) as server:
        begun = network.begin(Request(server.url, deadline=30))
        while not server.requests:
            time.sleep(0.01)
        network.close()
        with pytest.raises(SourceUnavailable, match="closed"):
            begun.result(5)


def test_who_does_not_want_the_answer_any_more_ends_the_request(network: HttpNetwork) -> None:
    """A cancelled coroutine leaves nothing under way."""

    async def main(url: str) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(network.begin(Request(url, deadline=30))), 0.2)

    with Loopback(_silence) as server:
        asyncio.run(main(server.url))
        (line,) = network._lines.values()
        deadline = time.monotonic() + 5
        while len(asyncio.all_tasks(line._loop)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not asyncio.all_tasks(line._loop)
        assert not line._waiting


def test_a_gzip_bomb_is_given_up(send: Send) -> None:
    """The limit is for the decoded body."""
    bomb = http(200, gzip.compress(b"\0" * 50_000_000), content_encoding="gzip")
    with Loopback(_always(bomb)) as server, pytest.raises(SourceUnavailable, match="larger than"):
        send(Request(server.url, max_bytes=1_000_000))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_always(b"this is no HTTP\r\n\r\n"), id="garbage"),
        pytest.param(_always(http(200, b"not gzip", content_encoding="gzip")), id="wrong encoding"),
        pytest.param(_always(http(302, location="/again")), id="redirect for ever"),
        pytest.param(_always(http(302, location="ftp://x/")), id="redirect to another protocol"),
        pytest.param(_always(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000), id="headers without end"),
    ],
)
def test_nonsense_is_refused(send: Send, answer: Answer) -> None:
    """Whatever comes, it is `SourceUnavailable` with the address."""
    with Loopback(answer) as server, pytest.raises(SourceUnavailable) as caught:
        send(Request(server.url, deadline=5))
    assert caught.value.source == server.url
    assert caught.value.reason


def test_a_reset_or_an_end_in_the_middle_of_the_body_is_refused(send: Send) -> None:
    """A truncated body never passes for a whole one."""

    def reset(asked: Asked) -> Iterator[bytes]:
        yield http(200, content_length="100") + b"half"
        raise Reset

    def closed(asked: Asked) -> Iterator[bytes]:
        yield http(200, content_length="100", connection="close") + b"half"
        raise OSError

    for answer in (reset, closed):
        with Loopback(answer) as server, pytest.raises(SourceUnavailable):
            send(Request(server.url, deadline=5))


def test_nobody_listening_is_refused(send: Send) -> None:
    """And so is an address that is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    for address in (url, "http://[::1", "nothing", "http://x:99999999/"):
        with pytest.raises(SourceUnavailable) as caught:
            send(Request(address, deadline=5))
        assert caught.value.source == address


def test_a_server_without_tls_is_refused(send: Send) -> None:
    """An https address where plain HTTP is spoken."""
    with Loopback(_always(http(400, b"plain"))) as server, pytest.raises(SourceUnavailable):
        send(Request(server.url.replace("http", "https"), deadline=0.5))


def test_a_redirect_is_followed(send: Send) -> None:
    """Once, to where it says."""

    def redirect(asked: Asked) -> Iterator[bytes]:
        yield http(200, b"there") if asked.path == "/there" else http(307, location="/there")

    with Loopback(redirect) as server:
        assert send(Request(f"{server.url}/here")).body == b"there"


def test_one_connection_is_kept_on_a_thread(network: HttpNetwork) -> None:
    """Until the network is closed: then nothing is sent any more."""
    with Loopback(_always(http(200, b"ok"))) as server:
        for _ in range(3):
            _send(network, Request(server.url))
        asked = len(server.requests)
        network.close()
        with pytest.raises(SourceUnavailable, match="closed"):
            _send(network, Request(server.url))
    assert len(server.requests) == asked


def test_several_loops_and_threads_at_once(network: HttpNetwork) -> None:
    """One network, eight loops in eight threads beside synchronous callers."""
    with Loopback(_always(http(200, b"ok"))) as server:
        bodies: list[bytes] = []
        calls = [lambda: _send(network, Request(server.url)), lambda: _send_async(network, Request(server.url))]
        threads = [threading.Thread(target=lambda n=n: bodies.append(calls[n % 2]().body)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert bodies == [b"ok"] * 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own_connections(network: HttpNetwork) -> None:
    """The kept connection is the parent's; both go on."""
    with Loopback(_always(http(200, b"ok"))) as server:
        _send(network, Request(server.url))
        child = os.fork()
        if child == 0:
            os._exit(0 if _send(network, Request(server.url)).body == b"ok" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert _send(network, Request(server.url)).body == b"ok"


_TIDY = """
import asyncio, os, sys
from horde_model_reference.flow import Request
from horde_model_reference.transport import HttpNetwork
request, network = Request(sys.argv[1]), HttpNetwork()
async def main():
    begun = [asyncio.wrap_future(network.begin(request)) for _ in range(3)]
    return {answer.body for answer in await asyncio.gather(*begun)}
assert network.begin(request).result().body == b"ok"
assert asyncio.run(main()) == {b"ok"}
child = os.fork()
assert network.begin(request).result().body == b"ok"
if not child:
    os._exit(0)  # as a worker of multiprocessing ends
assert os.waitpid(child, 0)[1] == 0
network.begin(Request(sys.argv[2]))  # and the program ends while it is under way
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_nothing_is_left_open_at_the_end_of_the_program() -> None:
    """With every warning an error: no `ResourceWarning`, though nobody closed anything."""
    with Loopback(_always(http(200, b"ok"))) as server, Loopback(_silence) as silent:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", _TIDY, server.url, silent.url]
        environment = {**os.environ, "PYTHONPATH": SOURCE}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Warning" not in done.stderr


ENVIRONMENTS = {
    "SOCKS, without its package": ("ALL_PROXY", "socks5://127.0.0.1:1"),
    "a proxy of no known kind": ("HTTP_PROXY", "foo://x"),
    "certificates that are not there": ("SSL_CERT_FILE", "/nonexistent"),
}


@pytest.mark.parametrize(("name", "value"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_an_environment_that_httpx_refuses_is_a_source_that_does_not_answer(
    send: Send, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """`ImportError` and `ValueError` once reached the worker, which had good data on its disk."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SourceUnavailable):
        send(Request("http://127.0.0.1:9/", deadline=1))


def test_bytes_after_the_end_of_a_compressed_answer_are_refused(send: Send) -> None:
    """They would count for nothing and stay in memory until the deadline."""
    body = gzip.compress(b"{}") + b"x" * 100_000
    with Loopback(_always(http(200, body, content_encoding="gzip"))) as server:
        with pytest.raises(SourceUnavailable, match="after the end"):
            send(Request(server.url))


def test_cookies_are_not_kept(network: HttpNetwork) -> None:
    """What a proxy hangs on a client would grow with every request until it is refused."""
    with Loopback(_always(http(200, b"ok", set_cookie="session=1; Path=/"))) as server:
        for _ in range(2):
            _send(network, Request(server.url))
    assert not any("cookie" in asked.headers for asked in server.requests)


def test_where_no_thread_can_be_had_the_request_is_refused(network: HttpNetwork) -> None:
    """As in a container that may have no more of them; later it works again."""
    before = threading.stack_size(1 << 46)  # more than there is
    try:
        with pytest.raises(SourceUnavailable):
            _send(network, Request("http://127.0.0.1:9/"))
    finally:
        threading.stack_size(before)
    with Loopback(_always(http(200, b"ok"))) as server:
        assert _send(network, Request(server.url)).body == b"ok"
