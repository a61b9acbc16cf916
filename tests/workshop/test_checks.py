"""The checks of `make check` find what they are for: each is shown a fault, and the same thing without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings
from typer.main import get_command

from tools.check_cycles import cycles
from tools.check_docs import command_words, missing_names, missing_words, setting_names
from tools.check_examples import Example, examples, run
from tools.check_homes import strays
from tools.check_hygiene import file_faults, text_faults
from tools.check_import import faults, watch
from tools.check_links import anchors, broken
from tools.check_sizes import bodies, too_large


def _module(folder: Path, source: str) -> Path:
    (folder / "watched.py").write_text(source, "utf-8")
    return folder


def test_a_cycle_is_found_with_all_its_members() -> None:
    """Three modules that import each other in a ring are one finding; a diamond is none."""
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert list(cycles(ring)) == [("a", "b", "c")]
    assert list(cycles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()})) == []


def test_a_module_that_imports_itself_is_a_cycle() -> None:
    """A package whose `__init__` names itself is a ring of one."""
    assert list(cycles({"a": {"a"}})) == [("a",)]


def test_a_library_outside_its_home_is_found() -> None:
    """httpx is for the transport alone, also by a submodule; the standard library is for all."""
    imports = [
        ("horde_model_reference.transport", "httpx"),
        ("horde_model_reference.sources.http", "httpx"),
        ("horde_model_reference.domain.names", "re"),
    ]
    assert list(strays(imports)) == ["horde_model_reference.sources.http imports httpx, which belongs in transport"]


def test_a_body_is_counted_without_signature_and_docstring() -> None:
    """Comments and blank lines inside count, decorators and the docstring do not."""
    source = '@property\ndef f(\n    self,\n):\n    """Doc."""\n    a = 1\n\n    return a\n\n\ndef g(): ...\n'
    assert list(bodies(source)) == [("f", 3)]


def test_long_files_and_long_bodies_are_found(tmp_path: Path) -> None:
    """One line over either limit is a finding, at the limit there is none."""
    path = tmp_path / "long.py"
    path.write_text("def f():\n" + "    x = 1\n" * 50 + "#\n" * 449, "utf-8")
    assert list(too_large(path, "long.py")) == []
    path.write_text("def f():\n" + "    x = 1\n" * 51 + "#\n" * 449, "utf-8")
    assert list(too_large(path, "long.py")) == [
        "long.py: 501 lines, at most 500",
        "long.py: body of f has 51 lines, at most 50",
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("print('hello')", "prints: hello"),
        ("import sys; sys.stderr.write('hello')", "prints: hello"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("open(__file__ + '.txt', 'w').close()", "watched.py.txt"),
        ("open('/etc/hosts').close()", "/etc/hosts"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "subprocess.Popen"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
            "starts 1 thread",
        ),
        ("import asyncio, sqlite3, http.client, xml.dom.minidom", "modules, at most 60"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_import_that_does_something_is_found(tmp_path: Path, source: str, told: str) -> None:
    """Output, sockets, files, processes, threads, many modules and failures of an import are all reported."""
    found = list(faults("watched", watch("watched", _module(tmp_path, source))))
    assert any(told in finding for finding in found), found


def test_an_import_that_does_nothing_passes(tmp_path: Path) -> None:
    """Reading Python's own modules is what an import is."""
    assert list(faults("watched", watch("watched", _module(tmp_path, "import enum, json")))) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("docs/a.md", "see https://" + "py" + "pi.org/project/x"),
        ("docs/a.md", "files.python" + "hosted.org"),
        ("tests/a.py", "cd " + "/wo" + "rk/main"),
        ("Makefile", 'X = "' + "/ro" + 'ot/x"'),
        ("src/a.py", "# TO" + "DO: later"),
        ("src/a.py", "# FIX" + "ME later"),
    ],
)
def test_what_no_file_may_hold_is_found(name: str, line: str) -> None:
    """Registry hosts and machine paths anywhere, unfinished marks in the product."""
    assert len(list(text_faults(name, line))) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("src/a.py", 'UNKNOWN_HASH = "FIX' + 'ME"'),
        ("docs/a.md", "TO" + "DO lists are fine in prose"),
        ("docs/a.md", "https://example.org" + "/wo" + "rk/x and ./wo" + "rk/x and $ROOT" + "/wo" + "rk/x"),
    ],
)
def test_what_only_looks_forbidden_passes(name: str, line: str) -> None:
    """The sentinel for an unknown hash is data, and a folder inside another is no machine's path."""
    assert list(text_faults(name, line)) == []


def test_the_real_reference_is_recognised_by_name_and_size() -> None:
    """A starter file has the same name and is small; the real one is not."""
    assert list(file_faults("data/stable_diffusion.json", 20_000)) == []
    assert len(list(file_faults("data/stable_diffusion.json", 200_000))) == 1
    assert len(list(file_faults("data/other.json", 400_000))) == 1


def test_examples_are_found_with_their_reason_not_to_run() -> None:
    """A comment right before the fence keeps one block from running, and only that one."""
    skipped = "<!-- not run: needs a GPU -->\n\n```shell\nls\n```\n"
    page = f"text\n\n```python\n1\n```\n\n{skipped}\n```json\n{{}}\n```\n\n```sh\nls\n```\n"
    found = list(examples(page))
    assert [(e.language, e.line, e.reason) for e in found] == [
        ("python", 3, ""),
        ("shell", 9, "needs a GPU"),
        ("sh", 17, ""),
    ]


def test_an_example_that_fails_tells_why(tmp_path: Path) -> None:
    """The exit code and what was printed; in a console block only what follows the prompt runs."""
    assert run(Example(1, "python", "print(1)").command(), tmp_path) == ""
    assert "NameError" in run(Example(1, "python", "nothing").command(), tmp_path)
    assert "exit code 3" in run(Example(1, "shell", "true\nexit 3\ntrue\n").command(), tmp_path)
    assert run(Example(1, "console", "$ echo hello\nhello\n").command(), tmp_path) == ""


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A missing file and a missing heading; links in fenced blocks and to the web are left alone."""
    (tmp_path / "b.md").write_text("# The `first` part\n", "utf-8")
    page = tmp_path / "a.md"
    page.write_text(
        "[ok](b.md#the-first-part) [gone](c.md) [no](b.md#second) [web](https://example.org)\n\n```\n[x](y.md)\n```\n",
        "utf-8",
    )
    assert list(broken(page)) == ["c.md: there is no such file", "b.md#second: there is no such heading"]


def test_headings_of_one_name_are_numbered() -> None:
    """The second and third of the same text get a number, as pages render them."""
    assert anchors("# A\n## A\n## A\n") == {"a", "a-1", "a-2"}


class _Inner(BaseModel):
    port: int = 1


class _Settings(BaseSettings):
    plain: str = ""
    inner: _Inner = _Inner()
    other: str = Field("", validation_alias="OTHER_NAME")


def test_settings_are_named_as_the_environment_names_them() -> None:
    """The prefix, the nesting and an alias of its own are what a user has to type."""
    assert list(setting_names(_Settings, "P_", "__")) == ["P_PLAIN", "P_INNER__PORT", "OTHER_NAME"]


def test_a_setting_must_be_named_in_full() -> None:
    """A longer name that begins with it does not document it."""
    assert list(missing_names("`P_ONE_MORE`, `P_TWO`", ["P_ONE", "P_TWO"])) == ["P_ONE"]


def test_an_option_must_be_told_with_its_command() -> None:
    """`--at` of `log` is not documented by `--at` of `show`; what every command takes may be told once."""
    page = "# Commands\n## Every command\n`--json`\n## hmr show\n`--at`\n## hmr log\n`--limit`\n"
    typed = ["show", "show --at", "show --json", "log", "log --at", "log --limit", "stats"]
    assert list(missing_words(page, typed)) == ["log --at", "stats"]


def test_commands_are_walked_with_their_options() -> None:
    """Commands in groups, long options, negations; nothing that is hidden, and not the help that all have."""
    app = typer.Typer()

    @app.command()
    def show(name: str, at: int = 0, raw: bool = False) -> None: ...

    @app.command(hidden=True)
    def secret() -> None: ...

    inner = typer.Typer()
    inner.command("list")(lambda: None)
    app.add_typer(inner, name="source")
    words = set(command_words(get_command(app)))
    assert words == {"show", "show --at", "show --raw", "source", "source list"}
