"""The wheel with every extra, in an environment that holds only what it asks for."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

PACKAGE = "horde_model_reference"
_SCRIPTS = Path(sys.executable).parent


def test_the_package_under_test_is_the_installed_one() -> None:
    """Not the source tree, whatever the working folder is."""
    found = Path(str(importlib.import_module(PACKAGE).__file__)).resolve()
    assert found.is_relative_to(Path(sysconfig.get_path("purelib")).resolve())


def test_the_distribution_is_what_clients_pin() -> None:
    """Clients ask for `>=8.5,<9`, and for the licence by its identifier."""
    told = importlib.metadata.metadata(PACKAGE)
    major, minor = (int(part) for part in told["Version"].split(".")[:2])
    assert (8, 5) <= (major, minor) < (9, 0)
    assert told["License-Expression"] == "AGPL-3.0-or-later"


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    """The typing mark, the starter catalogue and the licence are in; tests, caches and tools are not."""
    names = zipfile.ZipFile(os.environ["WHEEL_UNDER_TEST"]).namelist()
    assert f"{PACKAGE}/py.typed" in names
    assert [name for name in names if name.startswith(f"{PACKAGE}/data/starter/") and name.endswith(".json")]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {PACKAGE}
    assert not [name for name in names if "__pycache__" in name]


def test_every_module_imports() -> None:
    """With all extras there is no module that lacks something."""
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_every_documented_name_resolves() -> None:
    """The lazy exports point at something."""
    package = importlib.import_module(PACKAGE)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


@pytest.mark.parametrize("command", ["hmr", "horde-model-reference"])
def test_both_commands_answer(run_at: Run, command: str) -> None:
    """The long name and the short one are the same program."""
    done = run_at(str(_SCRIPTS / command), "--help")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_the_demo_runs_through(run_at: Run) -> None:
    """Import, serve, read back and query, from the wheel alone; without a terminal it ends by itself."""
    done = run_at(sys.executable, "-m", PACKAGE, "demo")
    assert done.returncode == 0, done.stderr
