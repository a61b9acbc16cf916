"""docs/operations.md and the calls of docs/http.md do what they say.

The blocks that the pages mark as run here are typed into one shell, as a reader would, with the program of this
environment. Only the ports are others, since a machine may have those of the pages in use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.wiring import Mode, Parts, assemble
from tools.check_examples import examples

ROOT = Path(__file__).resolve().parents[2]
V2 = "/api/model_references/v2"
_MARK = "tests/workshop/test_operations.py runs it"
_DEADLINE = 60.0
_PATIENTLY = "--retry 30 --retry-connrefused --retry-delay 1"
_PORTS = ("19800", "19801", "19802", "19803", "8090")


def _sections(page: str) -> dict[str, str]:
    """What a page has to run here, as one script for each heading."""
    parts = re.split(r"^#{2,3} (.*)$", (ROOT / "docs" / page).read_text("utf-8"), flags=re.MULTILINE)
    found = {
        heading: "\n".join(block.body for block in examples(part) if block.reason.startswith(_MARK))
        for heading, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {heading: script for heading, script in found.items() if script}


OPERATIONS, HTTP = _sections("operations.md"), _sections("http.md")


def _free_ports() -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return dict(zip(_PORTS, ports, strict=True))


def _within_deadline(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Shell:
    """One shell in an empty folder. What was left in the background there goes on until `end`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = _free_ports()
        self._steps = 0
        kept = {n: v for n, v in os.environ.items() if not n.upper().startswith(("HORDE", "AI", "HTTP", "PYTHON"))}
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(folder),
            "AIWORKER_CACHE_HOME": str(folder / "primary"),
            "HORDE_MODEL_REFERENCE_ENABLE_GITHUB_FALLBACK": "false",
            "HORDE_MODEL_REFERENCE_SERVICE__PORT": str(self._ports["19800"]),  # where no flag names one
        }
        with self.log.open("wb") as log:
            self._bash = subprocess.Popen(
                ["bash", "-euo", "pipefail"],
                cwd=folder,
                env=kept | own,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """What all commands said on standard error."""
        return self.folder / "log"

    def url(self, port: int = 19800) -> str:
        """The address of what the pages put on that port."""
        return f"http://127.0.0.1:{self._ports[str(port)]}"

    def output(self, step: int) -> str:
        """What the commands of a step printed so far, those in the background included."""
        return (self.folder / f"step-{step}.out").read_text("utf-8")

    def type(self, script: str) -> str:
        """What it printed. A command that fails ends the shell, and the test."""
        self._steps += 1
        step = self.folder / f"step-{self._steps}"
        typed = re.sub("|".join(_PORTS), lambda found: str(self._ports[found[0]]), script)
        step.with_suffix(".sh").write_text(typed, "utf-8")
        self._say(f". ./{step.name}.sh > {step.name}.out; touch {step.name}.done")
        _within_deadline(lambda: step.with_suffix(".done").exists() or self._bash.poll() is not None)
        assert step.with_suffix(".done").exists(), f"{typed}\n{self.output(self._steps)}\n{self.log.read_text('utf-8')}"
        return self.output(self._steps)

    def _say(self, line: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{line}\n".encode())
        self._bash.stdin.flush()

    def end(self) -> int:
        """Ask all that runs in the background to end, as a service manager does, and wait for it."""
        with suppress(BrokenPipeError):  # it has ended itself
            self._say("kill $(jobs -p) || true; wait || true; exit")
        try:
            return self._bash.wait(_DEADLINE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGKILL)


@contextmanager
def _shell(folder: Path) -> Iterator[Shell]:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    shell = Shell(folder)
    try:
        yield shell
    finally:
        shell.end()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One into which the first section of the page was typed: a PRIMARY runs."""
    with _shell(tmp_path_factory.mktemp("operations")) as shell:
        shell.type(OPERATIONS["Serve"])
        yield shell


@pytest.fixture(scope="module")
def manifest(shell: Shell) -> dict[str, dict[str, object]]:
    """What PRIMARY serves, by category."""
    found: dict[str, dict[str, object]] = httpx.get(f"{shell.url()}{V2}/manifest").json()["categories"]
    assert len(found) == 13
    return found


def _replica(root: Path, url: str) -> Parts:
    settings = make_settings(primary_api_url=f"{url}/api", enable_github_fallback=False, follow_changes=False)
    return assemble(Mode(ReplicateMode.REPLICA, offline=False, base_path=root), settings)


def _connected(shell: Shell) -> float:
    told = httpx.get(f"{shell.url()}/metrics").text
    found = re.search(r"^horde_model_reference_replicas_connected (\S+)$", told, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _one_more_connects(shell: Shell, command: str) -> None:
    before = _connected(shell)
    shell.type(command)
    _within_deadline(lambda: _connected(shell) > before)


def test_no_section_is_left_out() -> None:
    """A section that says it is run here is run here."""
    assert OPERATIONS.keys() == {"Serve", "A relay", "The static export", "Is it well?", "Metrics"}
    assert len(HTTP) == 7


def test_the_first_section_serves(shell: Shell) -> None:
    """Both servers answer, and the access log of the first one is one object a line (curl ends none)."""
    printed = shell.output(1)
    assert '"status":"ok"' in printed
    assert '"name":"stable_diffusion"' in printed
    assert '"replicate_mode":"PRIMARY"' in printed
    logged = list(map(json.loads, re.findall(r'\{"client": .*?\}$', printed, re.MULTILINE)))
    assert {"client", "method", "path", "query", "status", "ms"} == logged[0].keys()
    assert "/api/heartbeat" in {line["path"] for line in logged}


@pytest.mark.parametrize("heading", list(HTTP))
def test_the_calls_of_the_page_on_http_work(shell: Shell, heading: str) -> None:
    """Each is answered: curl is told to fail where it is not."""
    printed = shell.type(HTTP[heading])
    assert printed.strip()
    if heading == "Cheap polling":
        assert printed.strip() == "304"
    if heading.startswith("The stream"):
        assert "event: changes" in printed


def test_a_relay_and_one_behind_it_serve_the_bytes_of_primary(shell: Shell, tmp_path: Path) -> None:
    """Three hashes that are one; the tags are the same as well, and a change comes through the whole chain."""
    hashes = re.findall(r"\b[0-9a-f]{64}\b", shell.type(OPERATIONS["A relay"]))
    assert len(hashes) == 3
    assert len(set(hashes)) == 1

    near, far = shell.url(19801), shell.url(19802)
    answers = [httpx.get(f"{url}{V2}/clip") for url in (shell.url(), near, far)]
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert ["age" in answer.headers for answer in answers] == [False, True, True]
    assert httpx.get(f"{far}/heartbeat").json()["status"] == "ok"

    (tmp_path / "blip.json").write_text('{"New": {"name": "New", "record_type": "blip"}}', "utf-8")
    shell.type(f"hmr import {tmp_path}/blip.json")
    _within_deadline(lambda: "New" in httpx.get(f"{far}{V2}/blip").json())
    assert httpx.get(f"{far}{V2}/blip").content == httpx.get(f"{shell.url()}{V2}/blip").content


def test_the_library_reads_the_static_export_from_a_plain_file_server(
    shell: Shell, manifest: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    """What the page shows, and every category as the service has it, byte for byte."""
    printed = shell.type(OPERATIONS["The static export"])
    assert "stable_diffusion_1" in printed
    assert f"{shell.url(8090)}/api" in printed
    with closing(_replica(tmp_path, shell.url(8090))) as replica:
        for category in manifest:
            held = replica.reference.snapshot(category)
            assert held.body == httpx.get(f"{shell.url()}{V2}/{category}").content
            assert held.source == f"{shell.url(8090)}/api"


def test_an_export_into_the_folder_that_is_served_is_read_next(shell: Shell, tmp_path: Path) -> None:
    """A change, the export again, and the next look of a replica has it."""
    if not (shell.folder / "site").exists():
        shell.type(OPERATIONS["The static export"])
    with closing(_replica(tmp_path / "replica", shell.url(8090))) as replica:
        assert b"Newer" not in replica.reference.snapshot("blip").body
        (tmp_path / "blip.json").write_text('{"Newer": {"name": "Newer", "record_type": "blip"}}', "utf-8")
        shell.type(f"hmr import {tmp_path}/blip.json && hmr export --static ./site")
        assert b"Newer" in replica.reference.snapshot("blip", fresh=True).body


def test_health_and_metrics_are_told(shell: Shell) -> None:
    """The heartbeat, the doctor, and every name of the table of metrics."""
    assert '"status":"ok"' in shell.type(OPERATIONS["Is it well?"])
    printed = shell.type(OPERATIONS["Metrics"])
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    names = re.findall(r"^\| `(\w+)(?:\{[\w,]+\})?` \|", page.partition("### Metrics")[2], re.MULTILINE)
    assert len(names) == 6
    assert [name for name in names if f"horde_model_reference_{name}" not in printed] == []


def test_who_waits_is_answered_when_the_server_is_told_to_end(tmp_path: Path) -> None:
    """A held request gets its answer, a stream its end, and the server goes by itself."""
    with _shell(tmp_path) as shell:
        shell.type(f"hmr serve &\ncurl -sf {_PATIENTLY} http://127.0.0.1:19800/heartbeat")
        for call in (f"'{shell.url()}{V2}/changes?wait=55' > held", f"-N '{shell.url()}{V2}/changes/stream' > stream"):
            _one_more_connects(shell, f"curl -s -w '%{{http_code}}' {call} &")
        shell.type("kill %1 && wait")
        assert (tmp_path / "held").read_text("utf-8") == "204"
        assert (tmp_path / "stream").read_text("utf-8").endswith("200")
        assert "Finished server process" in shell.log.read_text("utf-8")
