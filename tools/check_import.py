"""Importing the package does nothing (design D1), seen from outside in fresh interpreters.

The first one watches `import horde_model_reference` with an audit hook: no output, no file but Python's own modules, no
socket, process or thread, and few modules. The second imports every public submodule and must stay silent.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.workshop import PACKAGE, ROOT, finish

__all__ = ["MODULES_MORE", "Watched", "faults", "main", "watch"]

MODULES_MORE = 60
_WATCHED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.fork",
    "os.posix_spawn",
    "os.mkdir",
    "os.remove",
    "os.rename",
)

_WATCH = """
import sys
target, report = sys.argv[1:]
watching, events = True, []
def hook(event, args):
    if not watching:
        return
    if event == "open":
        path, mode, flags = args
        writes = isinstance(mode, str) and set(mode) & set("wax+") or (flags or 0) & 3
        if writes or not str(path).endswith((".py", ".pyc", ".so", ".pyd", ".zip")):
            events.append(f"open {path} ({mode})")
    elif event.startswith(EVENTS):
        events.append(event)
sys.addaudithook(hook)
import _thread
threads, before = _thread._count(), set(sys.modules)
__import__(target)
watching = False
after = sorted(set(sys.modules) - before)
import json
with open(report, "w", encoding="utf-8") as file:
    json.dump({"events": events, "modules": after, "threads": _thread._count() - threads}, file)
"""

_NOTHING = '{"events": [], "modules": [], "threads": 0}'

_IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


@dataclass(frozen=True)
class Watched:
    """What one import did."""

    output: str
    events: tuple[str, ...]
    modules: tuple[str, ...]
    threads: int


def _run(program: str, words: list[str], path: Path) -> str:
    """All that an isolated-from-our-variables interpreter prints; its exit code counts as output too."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HORDE", "AI_HORDE", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, *words],
        env={**environment, "PYTHONPATH": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout + (f"(exit code {done.returncode})" if done.returncode else "")


def watch(target: str, path: Path) -> Watched:
    """Import `target`, found below `path`, in a fresh interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        output = _run(_WATCH.replace("EVENTS", repr(_WATCHED_EVENTS)), [target, str(report)], path)
        seen = json.loads(report.read_text("utf-8") if report.exists() else _NOTHING)
    return Watched(output, tuple(seen["events"]), tuple(seen["modules"]), seen["threads"])


def faults(target: str, seen: Watched) -> Iterator[str]:
    """What the import did that it must not."""
    if seen.output:
        yield f"import {target} prints: {seen.output}"
    yield from (f"import {target}: {event}" for event in seen.events)
    if seen.threads:
        yield f"import {target} starts {seen.threads} threads"
    if len(seen.modules) > MODULES_MORE:
        yield f"import {target} loads {len(seen.modules)} modules, at most {MODULES_MORE}: {', '.join(seen.modules)}"


def _public_submodules(path: Path) -> list[str]:
    found = pkgutil.walk_packages([str(path / PACKAGE)], f"{PACKAGE}.", onerror=lambda _: None)
    return sorted(m.name for m in found if not any(part.startswith("_") for part in m.name.split(".")))


def main() -> int:
    """Check the package as it lies in `src`."""
    path = ROOT / "src"
    sys.path.insert(0, str(path))
    seen = watch(PACKAGE, path)
    names = _public_submodules(path)
    noise = _run(_IMPORT_ALL, names, path)
    found = [*faults(PACKAGE, seen), *(f"importing the submodules prints: {line}" for line in noise.splitlines())]
    return finish("import", found, f"silent, {len(seen.modules)} modules more; {len(names)} submodules silent too")


if __name__ == "__main__":
    sys.exit(main())
