"""How requests are read from the wire: the head of one has an end, in bytes and in time; all else goes on."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from horde_model_reference.service.application import create_app
from horde_model_reference.service.protocol import BoundedProtocol
from horde_model_reference.wiring import Parts
from tests.service.servers import within_deadline

_DEADLINE = 20.0
_ASKED = b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n"
_LAST = b"GET /heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Impatient(BoundedProtocol):
    """The same with a deadline that a test can wait for."""

    most_seconds = 0.2


class Patient(BoundedProtocol):
    """The same with a deadline that no test comes near."""

    most_seconds = 300.0


@contextmanager
def _listening(parts: Parts, protocol: type[BoundedProtocol]) -> Iterator[int]:
    app = create_app(parts)
    config = uvicorn.Config(app, port=0, http=protocol, log_level="critical", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    within_deadline(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        app.state.serving.feed.bell.close()
        server.should_exit = True
        thread.join(_DEADLINE)


@pytest.fixture(scope="module")
def patient(parts: Parts) -> Iterator[int]:
    """The port of a service whose deadline is far away."""
    with _listening(parts, Patient) as port:
        yield port


@pytest.fixture(scope="module")
def impatient(parts: Parts) -> Iterator[int]:
    """The port of a service whose deadline is near."""
    with _listening(parts, Impatient) as port:
        yield port


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), _DEADLINE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _all(connection: socket.socket) -> bytes:
    """What comes until the other side closes; fails where it does not."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def _one(connection: socket.socket) -> int:
    """The status of one answer that has a body, read to its end."""
    with connection.makefile("rb") as stream:
        status = stream.readline().split()[1]
        lengths = [line for line in iter(stream.readline, b"\r\n") if line.lower().startswith(b"content-length:")]
        stream.read(int(lengths[0].partition(b":")[2]))
    return int(status)


def _statuses(port: int, *pieces: bytes) -> list[int]:
    """The statuses of what is answered to these pieces, until the server closes."""
    with _connected(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return [int(found) for found in _STATUS.findall(_all(connection))]


@pytest.mark.parametrize(
    ("before", "status"),
    [
        (b"GET /", 414),
        (b"GET /?", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", 431),
        (b"GET / HTTP/1.1\r\nX-Long: ", 431),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: x\r\n" * 5_000, 431),
    ],
)
@pytest.mark.parametrize("size", [1_000, 70_000])
def test_a_head_without_an_end_is_refused_and_the_connection_closed(
    patient: int, before: bytes, status: int, size: int
) -> None:
    """70,000 bytes are answered before anything complete was said; which of both is said tells what was too long."""
    whole = before + b"a" * (70_000 - len(before))
    # Nothing of ours is on its way any more when it closes: else the reset could overtake the answer.
    pieces = [whole[:65_000], whole[65_000:]] if size == 70_000 else [*_pieces(whole, size)]
    with _connected(patient) as connection:
        for piece in pieces:
            connection.sendall(piece)
            if _is_answered(connection):
                break
        answer = _all(connection)
    assert [int(found) for found in _STATUS.findall(answer)] == [status]
    assert b"connection: close" in answer.lower()


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _is_answered(connection: socket.socket) -> bool:
    connection.settimeout(0.002)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(_DEADLINE)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_head_that_comes_in_small_pieces_is_answered(patient: int, size: int) -> None:
    """Each piece is a packet of its own."""
    assert _statuses(patient, *_pieces(_LAST, size)) == [200]


def test_a_head_just_within_the_limit_is_answered_by_the_service(patient: int) -> None:
    """The service itself refuses it as a problem, with a body; the connection goes on."""
    with _connected(patient) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 60_000 + b"\r\n\r\n")
        assert _one(connection) == 431
        connection.sendall(_ASKED)
        assert _one(connection) == 200


def test_requests_one_after_the_other_share_a_connection(patient: int) -> None:
    """More of them than a head may be long, so that what is counted begins anew with each."""
    asked = _ASKED.replace(b"Host: x", b"Host: x\r\nX-Long: " + b"a" * 20_000)
    with _connected(patient) as connection:
        for _ in range(5):
            for piece in _pieces(asked, 9_000):
                connection.sendall(piece)
            assert _one(connection) == 200


@pytest.mark.parametrize("cut", [0, 5, 30])
def test_requests_sent_without_waiting_are_all_answered(patient: int, cut: int) -> None:
    """One piece of several heads, longer than one may be, may end within a head; that once counted as one head."""
    asked = _ASKED.replace(b"Host: x", b"Host: x\r\nX-Long: " + b"a" * 10_000)
    data = asked * 40 + _LAST
    end = len(data) - len(_LAST) + cut
    assert _statuses(patient, data[:end], data[end:]) == [200] * 41


def test_a_long_body_is_no_long_head(patient: int) -> None:
    """What is counted ends with the head."""
    head = b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with _connected(patient) as connection:
        connection.sendall(head)
        connection.sendall(b"a" * 100_000 + _ASKED[:5])
        assert _one(connection) == 405
        connection.sendall(_ASKED[5:])
        assert _one(connection) == 200


@pytest.mark.parametrize("said", [b"", b"GET /heart", b"GET / HTTP/1.1\r\nHost: x\r\nX-"])
def test_a_head_that_does_not_come_is_given_up(impatient: int, said: bytes) -> None:
    """Whoever says nothing more is told so, and let go."""
    assert _statuses(impatient, said) == [408]


def test_dripping_does_not_put_the_deadline_off(impatient: int) -> None:
    """It is that of the whole head; each byte comes well within it."""
    with _connected(impatient) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Drip: ")
        connection.settimeout(0.02)
        answer = b""
        for _ in range(int(_DEADLINE / 0.02)):
            try:
                answer = connection.recv(1_000)
                break
            except TimeoutError:
                connection.sendall(b"a")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_the_deadline_begins_anew_with_the_next_head(impatient: int) -> None:
    """A connection may rest between two requests for longer; the second head is given up when it does not come."""
    with _connected(impatient) as connection:
        connection.sendall(_ASKED)
        assert _one(connection) == 200
        connection.settimeout(3 * Impatient.most_seconds)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(_DEADLINE)
        connection.sendall(_ASKED)
        assert _one(connection) == 200
        connection.sendall(_ASKED[:10])
        assert _STATUS.match(_all(connection))[1] == b"408"  # type: ignore[index]


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00\x01", b"no HTTP at all\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused(patient: int, said: bytes) -> None:
    """As uvicorn does; the service goes on."""
    assert _statuses(patient, said) == [400]
    assert _statuses(patient, _LAST) == [200]
