"""The program as a process, and what holds for every command."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol, cast

import pytest
import typer.main

from horde_model_reference.cli.main import app
from tests.cli.conftest import Hmr

_PROGRAM = [sys.executable, "-m", "horde_model_reference"]
_SECONDS = 60
_BOXES = set("─│┃━┏┓╭╮")


class _Option(Protocol):
    opts: list[str]


class _Command(Protocol):
    commands: dict[str, _Command]
    params: Sequence[_Option]
    help: str | None


COMMANDS = cast("_Command", typer.main.get_command(app)).commands


def _environment(**more: str) -> dict[str, str]:
    ours = ("HORDE_MODEL_REFERENCE_", "AIWORKER_", "PYTHONUNBUFFERED")  # buffers are part of what is tested
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    source = Path(__file__).parents[2] / "src"
    return {**kept, "PYTHONPATH": str(source), "HORDE_MODEL_REFERENCE_OFFLINE": "1", **more}


def _run(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    words_given = [*_PROGRAM, *map(str, words)]
    return subprocess.run(
        words_given,
        env=_environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_of_itself(hmr: Hmr, name: str) -> None:
    """And nothing but plain text in it."""
    done = hmr(name, "--help")
    assert done.code == 0
    assert f"hmr {name}" in done.out.partition("Examples:")[2]
    assert not _BOXES & set(done.out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("serve", "demo")])
def test_every_command_that_prints_data_can_print_json(name: str) -> None:
    """Only the two that run until they are stopped cannot."""
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.mark.parametrize(
    "words",
    [
        ["import", "--starter"],
        ["export", "{out}"],
        ["list"],
        ["list", "clip"],
        ["show", "image_generation", "SDXL 1.0"],
        ["query", "clip"],
        ["stats"],
        ["stats", "clip"],
        ["validate", "{root}"],
        ["diff", "0"],
        ["log"],
        ["verify"],
        ["config"],
        ["status"],
        ["doctor"],
    ],
)
def test_the_json_of_every_command_is_json_and_its_text_is_plain(
    hmr: Hmr, filled: Path, tmp_path: Path, words: list[str]
) -> None:
    """In a pipe there are no colours and no boxes."""
    chosen = [word.format(out=tmp_path / "out", root=filled) for word in words]
    assert hmr(*chosen, "--root", filled, "--json").value is not None
    text = hmr("--root", filled, *chosen).out
    assert "\x1b" not in text
    assert not _BOXES & set(text)


def test_the_help_documents_every_exit_code(hmr: Hmr) -> None:
    """The same that docs/command-line.md lists."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
    shown = hmr("--help").out.partition("Exit codes:")[2].partition("Examples:")[0]
    codes = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert codes == ["0", "1", "2", "3", "4", "5", "70", "130", "141"]
    assert all(f"| {code} |" in page for code in codes)


def test_options_before_and_after_the_command_mean_the_same(hmr: Hmr, filled: Path) -> None:
    """Common options may stand in either place; the one after is stronger."""
    before = hmr("--root", filled, "--json", "list")
    after = hmr("--root", "elsewhere", "list", "--json", "--root", filled)
    assert before.out == after.out


def test_the_program_runs_as_a_module_and_reads_the_environment(tmp_path: Path) -> None:
    """The data root is under AIWORKER_CACHE_HOME; a bad setting is exit code 2 and names the variable."""
    assert _run("import", "--starter", AIWORKER_CACHE_HOME=str(tmp_path)).returncode == 0
    assert (tmp_path / "horde_model_reference" / "reference.sqlite3").is_file()
    done = _run("status", "--json", AIWORKER_CACHE_HOME=str(tmp_path))
    assert json.loads(done.stdout)["mode"] == "PRIMARY"
    bad = _run("list", HORDE_MODEL_REFERENCE_CACHE_TTL_SECONDS="soon", AIWORKER_CACHE_HOME=str(tmp_path))
    assert (bad.returncode, "CACHE_TTL_SECONDS" in bad.stderr) == (2, True)
    doctor = _run("doctor", "--json", HORDE_MODEL_REFERENCE_CACHE_TTL_SECONDS="soon")
    assert doctor.returncode == 1
    assert [(check["level"], check["check"]) for check in json.loads(doctor.stdout)] == [("FAIL", "settings")]


def test_a_reader_is_told_that_its_primary_did_not_answer(tmp_path: Path) -> None:
    """Data from elsewhere is never shown as if it were fresh."""
    nowhere = {
        "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": "http://127.0.0.1:9/api",
        "GITHUB_PROXY_URL_BASE": "http://127.0.0.1:9",
        "HORDE_MODEL_REFERENCE_OFFLINE": "0",
    }
    done = _run("list", "clip", "--root", tmp_path, **nowhere)
    assert done.returncode == 0
    assert "the reference cannot be read: http://127.0.0.1:9/api: Connection refused; GitHub: " in done.stderr
    assert "going on with what the starter catalogue had" in done.stderr
    doctor = json.loads(_run("doctor", "--json", "--root", tmp_path, **nowhere).stdout)
    assert [check["check"] for check in doctor if check["level"] == "WARN"] == ["PRIMARY", "GitHub", "reading"]


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Exit code 5, and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = _run("serve", "--port", taken.getsockname()[1], "--root", tmp_path)
    assert done.returncode == 5
    assert "cannot be served: Address already in use; choose another --port" in done.stderr
    assert done.stderr.count("cannot be served") == 1
    assert "Traceback" not in done.stderr


def test_without_its_packages_the_program_names_the_extra() -> None:
    """In one line, with exit code 2."""
    blind = "import sys; sys.modules['typer'] = None; sys.argv = ['hmr', 'list']\n"
    blind += (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: None if n == 'typer' else find(n)\n"
    )
    code = f"{blind}from horde_model_reference.cli import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "horde_model_reference[cli]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_loads_nothing_heavy() -> None:
    """Neither pydantic nor SQLAlchemy nor the HTTP library is needed to say what the commands are."""
    code = "from horde_model_reference.cli.main import main; import sys; main(['--help'])\n"
    code += "print([m for m in ('pydantic', 'sqlalchemy', 'httpx', 'fastapi', 'rich') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error_message(tmp_path: Path) -> None:
    """`hmr ... | head` ends quietly, as if by SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [*_PROGRAM, "--root", str(tmp_path), "show", "image_generation", "SDXL 1.0"],
            env=_environment(),
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("2>&-", 0), (">/dev/full", 5)])
def test_closed_and_full_streams_are_no_traceback(tmp_path: Path, redirection: str, code: int) -> None:
    """Nobody listening is no failure; an answer that could not be written is one."""
    words = " ".join([*_PROGRAM, "--root", str(tmp_path), "list", "clip"])
    done = subprocess.run(
        ["sh", "-c", f"{words} {redirection}"],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_stream_that_cannot_show_a_letter_is_no_failure(tmp_path: Path) -> None:
    """It is shown escaped."""
    record = {"name": "x", "record_type": "clip", "description": "日本"}
    (tmp_path / "clip.json").write_text(json.dumps({"x": record}), "utf-8")
    done = _run("show", "clip", "x", "--root", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "\\u65e5" in done.stdout


def _reset_signals() -> None:
    """In the child: as a shell in the foreground starts it, whatever this process was told to ignore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _ignore_interrupts() -> None:
    """In the child: as `nohup program &` in a script starts it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_a_terminal(
    *words: object, prepare: Callable[[], None] = _reset_signals, **more: str
) -> tuple[subprocess.Popen[bytes], Generator[bytes, None, None]]:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [*_PROGRAM, *map(str, words)],
        env=_environment(**{"TERM": "xterm", "COLUMNS": "100", **more}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  (nothing but signals)
    )
    os.close(terminal)

    def output() -> Generator[bytes, None, None]:
        try:
            while select.select([master], [], [], _SECONDS)[0]:
                yield os.read(master, 65536)
            process.kill()
            pytest.fail(f"nothing came for {_SECONDS} seconds")
        except OSError:  # the other side is closed
            return
        finally:
            os.close(master)

    return process, output()


def test_a_terminal_gets_tables_and_rounded_sizes(filled: Path) -> None:
    """Boxes and units are for eyes."""
    process, output = _on_a_terminal("--root", filled, "list", "image_generation")
    shown = b"".join(output).decode()
    assert process.wait(30) == 0
    assert _BOXES & set(shown)
    assert "4.27 GB" in shown


def test_the_demo_ends_by_itself_without_a_terminal(tmp_path: Path) -> None:
    """Status 0, the whole path shown, and neither its folder nor its PRIMARY left behind."""
    done = _run("demo", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "/api/model_references/v2/image_generation" in done.stdout
    assert "SDXL 1.0" in done.stdout
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout.partition("(process ")[2].partition(")")[0]), 0)


@pytest.mark.parametrize("prepare", [_reset_signals, _ignore_interrupts])
def test_the_demo_serves_on_a_terminal_until_it_is_stopped(tmp_path: Path, prepare: Callable[[], None]) -> None:
    """Ctrl-C ends it with status 0, which it once did not where interrupts were ignored when it started."""
    process, output = _on_a_terminal("--root", tmp_path / "kept", "demo", prepare=prepare)
    shown = b""
    for data in output:
        shown += data
        if b"Ctrl-C to stop" in shown:
            os.killpg(process.pid, signal.SIGINT)
            break
    shown += b"".join(output)
    assert process.wait(30) == 0
    assert b"Traceback" not in shown
    assert (tmp_path / "kept" / "reference.sqlite3").is_file()


@pytest.mark.parametrize("name", ["a [v2] b", "a [/] b", "a [link=https://x.org]b"])
def test_brackets_in_a_name_are_no_markup_on_a_terminal(tmp_path: Path, name: str) -> None:
    """The title of `show` once lost `[v2]`, and ended with an unexpected `MarkupError` at `[/]`."""
    (tmp_path / "clip.json").write_text(json.dumps({name: {"name": name}}))
    process, output = _on_a_terminal("show", "clip", name, "--offline", "--root", tmp_path)
    shown = b"".join(output).decode()
    assert process.wait(60) == 0
    assert f"clip: {name}".replace(" ", "") in "".join(re.sub(r"\x1b\[[0-9;]*m", "", shown).split())


def test_the_demo_leaves_nothing_behind_when_its_terminal_goes_away(tmp_path: Path) -> None:
    """It once left its folder."""
    process, output = _on_a_terminal("demo", TMPDIR=str(tmp_path))
    shown = b""
    for data in output:
        shown += data
        if b"Ctrl-C to stop" in shown:
            break
    assert list(tmp_path.iterdir())
    output.close()
    os.kill(process.pid, signal.SIGHUP)
    process.wait(_SECONDS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("list 2>&1 >/dev/null | exec true", 141),
        ("list >/dev/full", 5),
        ("--help >/dev/full", 5),
        ("list 2>/dev/full", 5),
    ],
)
def test_what_is_still_buffered_does_not_change_the_exit_code(tmp_path: Path, words: str, code: int) -> None:
    """The interpreter's own last flush once made 120 of it."""
    words, _, pipe = words.partition("|")
    script = " ".join([*_PROGRAM, "--root", str(tmp_path), words])
    reading, writing = os.pipe()
    os.close(reading)
    more = {"HORDE_MODEL_REFERENCE_PRIMARY_API_URL": "http://127.0.0.1:9/api", "HORDE_MODEL_REFERENCE_OFFLINE": "0"}
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            ["sh", "-c", script], env=_environment(**more), stdout=gone if pipe else None, timeout=60, check=False
        )
    assert done.returncode == code


def test_a_new_store_that_is_served_is_told_to_be_empty(tmp_path: Path) -> None:
    """With the command that fills it."""
    process, output = _on_a_terminal("--root", tmp_path / "root", "serve", "--port", "0")
    shown = b""
    for data in output:
        shown += data
        if b"running on" in shown:
            os.killpg(process.pid, signal.SIGINT)
            break
    shown += b"".join(output)
    assert process.wait(_SECONDS) == 0
    assert b"hmr import --starter" in shown
