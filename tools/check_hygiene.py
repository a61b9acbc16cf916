"""What no file of the project may hold: package registries, paths of one machine, unfinished marks, real data.

The forbidden hosts are put together from parts, so that this file does not hold them itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.workshop import ROOT, finish, project_files

__all__ = ["file_faults", "main", "text_faults"]

_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb", "debian", "org"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
    )
)
_TOP_FOLDERS = ("work", "root", "farm")
_MARKS = (r"\bTODO\b", r"\bXXX\b", r"#.*\bFIXME\b")
_HOST = re.compile("|".join(re.escape(host) for host in _HOSTS), re.IGNORECASE)
_MACHINE = re.compile(r"(?<![\w.~$}>-])/(?:" + "|".join(_TOP_FOLDERS) + r")/[\w.-]")
_UNFINISHED = re.compile(r"(?:" + "|".join(_MARKS) + r")(?![\"'`])")
_LARGEST = 300_000
_REAL_NAMES = {"models.csv", "db.json", "stable_diffusion.json"}
_REAL_SIZE = 100_000


def text_faults(name: str, text: str) -> Iterator[str]:
    """The forbidden words of one file. The word for an unknown hash is a mark in comments only."""
    rules = [(_HOST, "names a package registry"), (_MACHINE, "holds a path of one machine")]
    if name.startswith("src/"):
        rules.append((_UNFINISHED, "is marked as unfinished"))
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{name}:{number} {what}: {line.strip()[:100]}" for rule, what in rules if rule.search(line))


def file_faults(name: str, size: int) -> Iterator[str]:
    """Whether a file is too large to be ours, or looks like the real reference."""
    if size > _LARGEST:
        yield f"{name}: {size} bytes; data of that size does not belong here"
    if Path(name).name in _REAL_NAMES and size > _REAL_SIZE:
        yield f"{name}: looks like the real reference, which is not ours to publish"


def _findings(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        yield from file_faults(name, path.stat().st_size)
        yield from text_faults(name, path.read_text("utf-8", errors="replace"))


def main() -> int:
    """Check every file that a commit could hold."""
    paths = project_files()
    return finish("hygiene", _findings(paths), f"{len(paths)} files clean")


if __name__ == "__main__":
    sys.exit(main())
