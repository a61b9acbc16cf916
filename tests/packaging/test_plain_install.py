"""`pip install horde_model_reference` and nothing more: what a GPU worker gets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]

_READ = """
from horde_model_reference import MODEL_REFERENCE_CATEGORY, ModelReferenceManager, PrefetchStrategy
manager = ModelReferenceManager(offline=True, prefetch_strategy=PrefetchStrategy.NONE)
models = manager.get_model_reference(MODEL_REFERENCE_CATEGORY.image_generation)
name = next(iter(models))
print(len(models), models[name].name == name, manager.query("image_generation").where(name=name).first() is not None)
"""


def test_importing_is_silent(run_at: Run, plain_python: str) -> None:
    """No byte on either stream, and the code comes out of the wheel."""
    done = run_at(plain_python, "-c", "import horde_model_reference")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    where = run_at(plain_python, "-c", "import horde_model_reference as h; print(h.__file__)").stdout
    assert "site-packages" in where


def test_only_the_plain_packages_are_there(run_at: Run, plain_python: str) -> None:
    """The test would prove nothing if the extras were installed after all."""
    find = "from importlib.util import find_spec; print([n for n in ('sqlalchemy', 'typer') if find_spec(n)])"
    assert run_at(plain_python, "-c", find).stdout.strip() == "[]"


def test_the_library_reads_the_starter_catalogue_offline(run_at: Run, plain_python: str) -> None:
    """A first run without a network finds records, and can query them."""
    done = run_at(plain_python, "-c", _READ)
    assert done.returncode == 0, done.stderr
    count, named, found = done.stdout.split()
    assert int(count) > 0
    assert (named, found) == ("True", "True")


def test_the_command_says_which_extra_is_missing(run_at: Run, plain_python: str) -> None:
    """`hmr` without its packages names the line to type, in place of a traceback."""
    done = run_at(str(Path(plain_python).with_name("hmr")), "list")
    assert done.returncode not in {0, None}
    assert "horde_model_reference[cli]" in done.stderr
    assert "Traceback" not in done.stderr
