"""A PRIMARY on loopback that is well until it is told to misbehave, and addresses where nobody answers well at all."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import cycle, takewhile
from pathlib import Path

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES
from tests.reading.simulators import Asked, Loopback, Primary, Reset, http

CATEGORIES = tuple(map(str, CANONICAL_CATEGORIES))
BLANKS = b" " * 2**20


def documents(category: str, note: str, count: int = 6) -> dict[str, object]:
    """The category's records at one time: `note` is what their descriptions say."""
    fields = {"description": note, "baseline": "stable_diffusion_1", "nsfw": False, "parameters": 7_000_000_000}
    return {name: {"name": name, **fields} for name in (f"{category} {number}" for number in range(count))}


def _primary(note: str, revision: int, count: int = 6) -> Primary:
    return Primary({category: documents(category, note, count) for category in CATEGORIES}, revision=revision)


OLD, NEW, ONE_BAD = _primary("old", 7), _primary("new", 8), _primary("new", 8)
GUTTED, REDUCED = _primary("new", 7, count=2), _primary("new", 9, count=2)
ONE_BAD.records["esrgan"] = documents("esrgan", "new") | {"esrgan 5": ["bad"]}


class Site(Loopback):
    """Serves the old records until `serve` is something else. `settle` ends what it is in the middle of saying."""

    def __init__(self) -> None:
        super().__init__(lambda asked: self.serve(asked, self))
        self._server.socket.listen(128)  # all categories at once, from several processes
        self.over = threading.Event()
        self.settle()

    def settle(self) -> None:
        """Well again."""
        self.over.set()
        self.over, self.cut = threading.Event(), False
        self.serve: Answer = well(OLD)


Answer = Callable[[Asked, Site], Iterator[bytes]]


def says(*pieces: bytes | Callable[[Asked], bytes]) -> Answer:
    """An answer in these pieces; some depend on the question."""
    return lambda asked, site: (piece if isinstance(piece, bytes) else piece(asked) for piece in pieces)


def well(primary: Primary) -> Answer:
    """What a healthy PRIMARY says; GitHub, at the same address, has nothing."""
    return says(lambda asked: b"".join(primary(asked)))


def slowly(beginning: bytes, more: bytes, pause: float) -> Answer:
    """A byte every now and then: no single wait may be long, all of them have no end."""

    def answer(asked: Asked, site: Site) -> Iterator[bytes]:
        over = site.over
        yield beginning
        for byte in takewhile(lambda _: not over.wait(pause), cycle(more)):
            yield bytes([byte])

    return answer


def tear(asked: Asked) -> bytes:
    """The connection is torn down at this point."""
    raise Reset


def restarted(asked: Asked, site: Site) -> Iterator[bytes]:
    """Stops in the middle of its first answer; the next one comes from the PRIMARY that was started anew."""
    whole, first = b"".join(NEW(asked)), not site.cut
    site.cut = True
    return says(whole[: len(whole) // 2], tear)(asked, site) if first else iter([whole])


def body_of(asked: Asked, note: str) -> bytes:
    """The category that was asked for, as it is at that time."""
    return json.dumps(documents(asked.path.rpartition("/")[2], note)).encode()


def huge_begins(asked: Asked) -> bytes:
    """200 MB of blanks must follow; then it is valid to who has read to the end."""
    body = body_of(asked, "huge")
    return http(200, body, content_length=str(len(body) + 200 * len(BLANKS)))


@cache
def bomb() -> bytes:
    """A good document and blanks after it: 1 MB of gzip, 1 GB of JSON."""
    body = json.dumps(documents("esrgan", "bomb")).encode()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = deflate.compress(body) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(BLANKS) + deflate.flush(zlib.Z_FULL_FLUSH)  # after a full flush, blocks can be repeated
    check = zlib.crc32(body)
    for _ in range(1024):
        check = zlib.crc32(BLANKS, check)
    end = deflate.flush() + check.to_bytes(4, "little") + (len(body) + 2**30).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first + block * 1024 + end


@contextmanager
def addresses(site: Site, folder: Path) -> Iterator[dict[str, str]]:
    """Name -> address, of the site and of places where no PRIMARY can be reached."""
    with ExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # taken, so that nobody else gets it, and not listening
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # a queue of connections that takes no more: the next is never answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(full.getsockname())
        ports = {"closed port": closed.getsockname()[1], "full queue": full.getsockname()[1]}
        found = {"site": site.url, "no such name": "http://primary.invalid"}
        found |= {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        if shutil.which("openssl"):
            strange = Site()
            strange._server.socket = _self_signed(folder).wrap_socket(strange._server.socket, server_side=True)
            stack.enter_context(strange)
            found["strange certificate"] = strange.url.replace("http:", "https:")
        yield found


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    make = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
