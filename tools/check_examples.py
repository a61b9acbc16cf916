"""The examples of README.md and docs/ are run: each page with an empty cache, away from the network.

Blocks fenced as `python`, `shell`, `sh`, `bash` or `console` run unless the line before the fence, blank lines aside,
is `<!-- not run: the reason -->`. In a `console` block the lines after `$ ` are run; the others are what a reader sees.
Shell examples find a store that holds the starter catalogue; the blocks of one page share it and run in order.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.check_links import pages
from tools.workshop import PACKAGE, ROOT, finish, loud

__all__ = ["Example", "examples", "main", "run"]

_SHELLS = ("shell", "sh", "bash", "console")
_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w+)[^\n]*\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->\s*\Z", re.DOTALL)
_SEED = "hmr import --starter"
_SECONDS = 60
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Example:
    """One block that a reader may copy; `reason` says why it is not run, if it is not."""

    line: int
    language: str
    body: str
    reason: str = ""

    def command(self) -> list[str]:
        """What runs it."""
        if self.language == "python":
            return [sys.executable, "-c", self.body]
        lines = self.body.splitlines()
        typed = [line[2:] for line in lines if line.startswith("$ ")] if self.language == "console" else lines
        return ["bash", "-euo", "pipefail", "-c", "\n".join(typed)]


def examples(text: str) -> Iterator[Example]:
    """The blocks of a page, in order, that have a language we run."""
    for block in _FENCE.finditer(text):
        language = block["language"].lower()
        if language == "python" or language in _SHELLS:
            marked = _NOT_RUN.search(text, max(0, block.start() - 300), block.start())
            line = text.count("\n", 0, block.start()) + 1
            yield Example(line, language, block["body"], marked["reason"] if marked else "")


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HORDE", "AI_HORDE", "PYTHON"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(home),
        "AIWORKER_CACHE_HOME": str(home / "cache"),
        "HORDE_MODEL_REFERENCE_OFFLINE": "true",
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def run(command: list[str], home: Path) -> str:
    """Why the command failed, empty if it did not."""
    try:
        done = subprocess.run(
            command,
            cwd=home,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {_SECONDS} seconds"
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}" if done.returncode else ""


def _page(page: Path, shells_too: bool) -> Iterator[tuple[Example, str]]:
    """Each example of a page that was run, with why it failed."""
    todo = [e for e in examples(page.read_text("utf-8")) if not e.reason and (shells_too or e.language == "python")]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if any(e.language in _SHELLS for e in todo) and (failure := run(["bash", "-c", _SEED], home)):
            yield Example(1, "shell", _SEED), failure
        for example in todo:
            yield example, run(example.command(), home)


def main() -> int:
    """Run the examples of every page."""
    shells_too = (ROOT / "src" / PACKAGE / "cli" / "__init__.py").exists()
    if not shells_too:
        loud("there is no command line yet, so no shell example was run")
    if importlib.util.find_spec(PACKAGE) is None:
        loud("the package is not installed here: run `make setup`")
    results = [(page, example, why) for page in pages() for example, why in _page(page, shells_too)]
    found = (f"{page.relative_to(ROOT)}:{example.line}: {why}" for page, example, why in results if why)
    return finish("examples", found, f"{len(results)} examples ran")


if __name__ == "__main__":
    sys.exit(main())
