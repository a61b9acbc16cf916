"""What the checks share: where the project lies, which files are its own, and how a check ends.

A check is a function that yields its findings, one line each; `finish` prints them and gives the exit code.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PACKAGE", "ROOT", "finish", "loud", "project_files"]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "horde_model_reference"


def _is_made(name: str) -> bool:
    """Whether a part of a path was made by the tools, for trees that git does not know (an unpacked archive)."""
    return name.startswith((".venv", ".git")) or name.endswith((".egg-info", "_cache", "__pycache__"))


def project_files(root: Path = ROOT) -> list[Path]:
    """The files that git tracks, and those it would track: everything that a commit could publish."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        every = (path.relative_to(root) for path in root.rglob("*"))
        listed = "\0".join(str(path) for path in every if not any(_is_made(part) for part in path.parts))
    return sorted(path for name in set(listed.split("\0")) if name and (path := root / name).is_file())


def loud(message: str) -> None:
    """Say that a part of a check could not be done, so that nobody takes its silence for a pass."""
    print(f"!! NOT CHECKED: {message}", file=sys.stderr)


def finish(check: str, findings: Iterable[str], passed: str) -> int:
    """Print the findings, or in one line what was checked; 1 if there was a finding."""
    found = list(findings)
    for finding in found:
        print(f"{check}: {finding}", file=sys.stderr)
    print(f"{check}: {len(found)} found" if found else f"{check}: {passed}")
    return 1 if found else 0
