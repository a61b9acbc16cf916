"""What a type checker sees of queries: mypy reads a program of a user, and must agree with every assertion in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("query_program.py")
ROOT = Path(__file__).resolve().parents[2]


def _mypy(program: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(cache), str(program)]
    return subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)


def test_queries_give_the_record_class_of_their_category(tmp_path: Path) -> None:
    """Strict mypy accepts the program, its `assert_type` lines and its expected errors."""
    result = _mypy(PROGRAM, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
