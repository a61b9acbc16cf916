"""What a type checker sees of the manager: mypy reads a user's program, and must agree with every assertion in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("reading_program.py")
ROOT = Path(__file__).resolve().parents[2]


def test_reads_are_narrowed_by_their_category(tmp_path: Path) -> None:
    """Strict mypy accepts the program, its `assert_type` lines and its expected errors."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        str(tmp_path),
        str(PROGRAM),
    ]
    result = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
