"""The commands of the workshop: what `make` offers, and what it installs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("dev.txt", "plain.txt", "wheel.txt")


def _lock(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", text, re.MULTILINE))


def test_make_alone_lists_every_command() -> None:
    """Whoever types `make` learns what there is, and nothing is done."""
    told = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    assert re.findall(r"make ([a-z-]+)", told) == phony[1].split()


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    """pip refuses a lock that lacks one; better to learn it here. No line names a host."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []
    assert "://" not in text


def test_the_locks_agree() -> None:
    """The smaller locks are cut out of the one that the tests run with."""
    dev = _lock("dev.txt")
    assert _lock("plain.txt").items() <= _lock("wheel.txt").items() <= dev.items()


def test_the_plain_install_stays_small() -> None:
    """pydantic, pydantic-settings, httpx, filelock and what they need: nothing heavy slips in."""
    heavy = {"sqlalchemy", "fastapi", "typer", "rich", "uvicorn", "psycopg"}
    assert heavy.isdisjoint(_lock("plain.txt"))
    assert heavy <= _lock("wheel.txt").keys()


def test_what_the_project_declares_is_locked() -> None:
    """A dependency that was added to pyproject.toml and not locked would be missing from `.venv`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = [words for name, words in project["project"]["optional-dependencies"].items() if name != "all"]
    asked = [*project["project"]["dependencies"], *(word for words in extras for word in words)]
    asked += [word for word in project["dependency-groups"]["dev"] if isinstance(word, str)]
    names = {re.split(r"[\[<>=;! ]", word)[0].lower().replace("_", "-") for word in asked} - {"horde-model-reference"}
    assert names <= _lock("dev.txt").keys()


def test_an_old_python_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Someone whose python3 is too old reads which version is needed and how to name another interpreter."""
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n', "utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["sh", "tools/setup_venv.sh", str(old), str(tmp_path / "venv"), "requirements/plain.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
    assert "Python 3.9.1" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_import_check_passes_on_the_product() -> None:
    """`import horde_model_reference` prints nothing, opens nothing and loads little (design D1)."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.check_import"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
