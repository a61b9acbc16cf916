"""`hmr serve` as a process: HTTPS, several workers, and a relay."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

_PROGRAM = [sys.executable, "-m", "horde_model_reference"]
_SECONDS = 60
_RUNNING = re.compile(r"running on (https?)://127\.0\.0\.1:(\d+)")
_NOT_PEM = "this is no certificate\n"
_V2 = "/api/model_references/v2"


def _environment(**more: str) -> dict[str, str]:
    ours = ("HORDE_MODEL_REFERENCE_", "AIWORKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), **more}


def _refused(*words: object) -> subprocess.CompletedProcess[str]:
    """A run of `hmr serve` that ends by itself."""
    return subprocess.run(
        [*_PROGRAM, "serve", "--port", "0", *map(str, words)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class Running:
    """A service in a process of its own."""

    def __init__(self, *words: object, **more: str) -> None:
        self._process = subprocess.Popen(
            [*_PROGRAM, "serve", *map(str, words)],
            env=_environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self._lines.extend(iter(self._process.stderr.readline, ""))

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself, and all that it said is there."""
        return self._process.poll() is not None and not self._reading.is_alive()

    @property
    def told(self) -> str:
        """What it said on standard error so far."""
        return "".join(self._lines)

    def address(self) -> str:
        """Where it listens, as soon as it says so."""
        self.within_deadline(lambda: _RUNNING.search(self.told))
        found = _RUNNING.search(self.told)
        assert found is not None
        return f"{found[1]}://127.0.0.1:{found[2]}"

    def within_deadline(self, happened: Callable[[], object]) -> None:
        """Return as soon as it happened; fail if it does not, or if the process ends first."""
        deadline = time.monotonic() + _SECONDS
        while not happened():
            assert self._process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def ends(self) -> int:
        """Its exit code after SIGTERM, of which one without workers dies; none of its processes is left over then."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_SECONDS)
        assert code in (0, -signal.SIGTERM), self.told
        self._reading.join(_SECONDS)
        assert not self._reading.is_alive(), "a worker is left over"
        return code

    def kill(self) -> None:
        """End it and its workers, whatever they do."""
        if self._process.poll() is None or self._reading.is_alive():
            os.killpg(self._process.pid, signal.SIGKILL)  # a session that we began
        self._process.wait(_SECONDS)
        self._reading.join(_SECONDS)


@contextmanager
def _serving(*words: object, **more: str) -> Iterator[Running]:
    running = Running(*words, **more)
    try:
        yield running
    finally:
        running.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs `openssl` to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "own.crt", folder / "own.key"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", "-x509", *kind, *names, *files], check=True, capture_output=True, timeout=_SECONDS)
    return certificate, key


# -- HTTPS --


def _assert_told(done: subprocess.CompletedProcess[str], *names: str) -> None:
    assert done.returncode not in (0, 70), done.stderr
    assert "Traceback" not in done.stderr
    for name in names:
        assert name in done.stderr


def test_a_certificate_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path, and nothing is made before."""
    _assert_told(_refused("--root", tmp_path / "root", "--tls-certificate", tmp_path / "absent.pem"), "absent.pem")
    assert not (tmp_path / "root").exists()


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    """OpenSSL's own words name no file."""
    (tmp_path / "odd.pem").write_text(_NOT_PEM)
    _assert_told(_refused("--root", tmp_path / "root", "--tls-certificate", tmp_path / "odd.pem"), "odd.pem", "PEM")


def test_a_folder_is_no_certificate(tmp_path: Path) -> None:
    """Nor is it an error of the program."""
    (tmp_path / "folder.pem").mkdir()
    _assert_told(_refused("--root", tmp_path / "root", "--tls-certificate", tmp_path / "folder.pem"), "folder.pem")


def test_a_certificate_without_its_key_is_told(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Where none is in it, where it is not there, where it is none, and where it is that of another."""
    certificate, _ = pair
    (tmp_path / "odd.key").write_text(_NOT_PEM)
    chosen = ("--root", tmp_path / "root", "--tls-certificate", certificate)
    _assert_told(_refused(*chosen), "own.crt")
    _assert_told(_refused(*chosen, "--tls-key", tmp_path / "absent.key"), "absent.key")
    _assert_told(_refused(*chosen, "--tls-key", tmp_path / "odd.key"), "odd.key")


def test_a_key_alone_serves_nothing_in_the_clear(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Whoever gives a key wants HTTPS; it must not become HTTP."""
    with _serving("--root", tmp_path / "root", "--port", "0", "--tls-key", pair[1]) as running:
        deadline = time.monotonic() + _SECONDS
        while not (ended := running.has_ended) and not _RUNNING.search(running.told):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert ended
    assert "Traceback" not in running.told
    assert "--tls-certificate" in running.told


@pytest.mark.parametrize("is_one_file", [False, True])
def test_a_certificate_that_signs_itself_serves_https(filled: Path, pair: tuple[Path, Path], is_one_file: bool) -> None:
    """To a client that trusts just that; in the clear nothing is answered on that port."""
    certificate, key = pair
    files = ["--tls-certificate", certificate, "--tls-key", key]
    if is_one_file:
        both = filled / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        files = ["--tls-certificate", both]
    with _serving("--root", filled, "--port", "0", *files) as running:
        url = running.address()
        assert url.startswith("https://")
        with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate)), timeout=_SECONDS) as client:
            answer = client.get(f"{url}{_V2}/image_generation")
            assert (answer.status_code, "SDXL 1.0" in answer.json()) == (200, True)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/heartbeat", timeout=_SECONDS)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url.replace('https', 'http')}/heartbeat", timeout=_SECONDS)
        running.ends()
    assert "Traceback" not in running.told


# -- several workers --


def test_two_workers_answer_and_end_when_they_are_told_to(filled: Path) -> None:
    """Both give the same bytes; after SIGTERM no process is left, and the port is free."""
    port = _free_port()
    with _serving("--root", filled, "--port", port, "--workers", "2") as running:
        running.within_deadline(lambda: running.told.count("Application startup complete") == 2)
        url = f"http://127.0.0.1:{port}"
        answers = [httpx.get(f"{url}{_V2}/image_generation", timeout=_SECONDS) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({(answer.content, answer.headers["etag"]) for answer in answers}) == 1
        assert running.ends() == 0
    assert "Traceback" not in running.told
    socket.create_server(("127.0.0.1", port)).close()


# -- a relay --


@pytest.mark.parametrize("workers", [1, 2])
def test_a_relay_serves_what_a_primary_has(filled: Path, tmp_path: Path, workers: int) -> None:
    """Byte for byte, from a root of its own, in which it makes no store."""
    own = tmp_path / "relay"
    with _serving("--root", filled, "--port", "0") as primary:
        url = primary.address()
        reads = {"HORDE_MODEL_REFERENCE_PRIMARY_API_URL": f"{url}/api", "HORDE_MODEL_REFERENCE_OFFLINE": "0"}
        port = _free_port()
        words = ("--root", own, "--port", port, "--relay", "--workers", workers)
        with _serving(*words, **reads, HORDE_MODEL_REFERENCE_ENABLE_GITHUB_FALLBACK="0") as relay:
            relay.within_deadline(lambda: relay.told.count("Application startup complete") == workers)
            for path in (f"{_V2}/image_generation", f"{_V2}/clip", f"{_V2}/text_generation"):
                there = httpx.get(f"{url}{path}", timeout=_SECONDS)
                here = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=_SECONDS)
                facts = [(a.status_code, a.content, a.headers["etag"]) for a in (there, here)]
                assert facts[0] == facts[1]
                assert int(here.headers["age"]) < _SECONDS
            mode = httpx.get(f"http://127.0.0.1:{port}/replicate_mode", timeout=_SECONDS).json()
            assert (mode["replicate_mode"], mode["writable"]) == ("REPLICA", False)
            relay.ends()
        primary.ends()
    assert not list(own.glob("*.sqlite3*"))
    assert "Traceback" not in primary.told + relay.told
