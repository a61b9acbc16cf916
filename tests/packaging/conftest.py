"""The tests of the built wheel; `make test-wheel` copies this folder away from the source tree and runs it there.

`WHEEL_UNDER_TEST` is the wheel, `WHEEL_PLAIN_PYTHON` an interpreter with only the plain install of it. Without them
there is no wheel to test, and `make test` passes these files by.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

if "WHEEL_UNDER_TEST" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_at(tmp_path: Path) -> Run:
    """Run a program in an empty folder, with an empty cache and none of our variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HORDE", "AI_HORDE", "PYTHON"))}
    environment = {**kept, "AIWORKER_CACHE_HOME": str(tmp_path / "cache"), "HORDE_MODEL_REFERENCE_OFFLINE": "true"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def plain_python() -> str:
    """The interpreter with the plain install."""
    return os.environ["WHEEL_PLAIN_PYTHON"]
