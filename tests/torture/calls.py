"""Kill a process at the n-th time that it calls the system to write, to sync, to rename or to delete, for every n that
there is; or let that call fail. Needs `strace`, which injects both, and the right to trace one's own processes."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from tests.stores.processes import first_line_of, let_go
from tests.torture.kills import Outcome, look_at, said_by
from tests.torture.writers import start

__all__ = ["CALLS", "ERRORS", "TracingRefused", "fail_at", "kill_at", "torture_calls"]

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
"""What changes a file in a story of propose, approve, apply and revert with a mirror."""
ERRORS = tuple(
    each.split()
    for each in ("write ENOSPC", "pwrite64 ENOSPC", "pwrite64 EIO", "fsync EIO", "fdatasync EIO", "rename EIO")
)


class TracingRefused(Exception):
    """There is no `strace` here, or nobody may trace."""


def kill_at(outcome: Outcome, address: str, root: Path, call: str, number: int) -> bool:
    """Kill a writer at that call of its story, and look at what is left; False where it never came to that."""
    status = _play(outcome, address, root, f"{call}-{number}", f"{call}:signal=KILL:when={number}")
    outcome.kills += status == -signal.SIGKILL
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def fail_at(outcome: Outcome, address: str, root: Path, call: str, error: str, number: int) -> None:
    """Let that call fail: the writer tries what was refused again, and all of its story comes true."""
    label = f"{call}-{error}-{number}"
    before = outcome.acknowledged
    status = _play(outcome, address, root, label, f"{call}:error={error}:when={number}")
    if status != 0 or outcome.acknowledged != before + 4:
        outcome.inconsistent.append(f"{label}: ended with {status}, {outcome.acknowledged - before} of 4 acknowledged")


def torture_calls(call: str, outcome: Outcome, address: str, root: Path) -> int:
    """Kill at each time of that call; gives how many there are."""
    number = 1
    while kill_at(outcome, address, root, call, number):
        number += 1
    return number - 1


def _play(outcome: Outcome, address: str, root: Path, turn: str, injection: str) -> int:
    if shutil.which("strace") is None:
        raise TracingRefused("strace is not installed")
    with start("story", address, str(root), turn) as writer:
        assert first_line_of(writer) == "ready"
        words = ["strace", "-f", "-p", str(writer.pid), "-e", f"inject=?{injection}", "-o", "/dev/null"]
        tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
        if "attached" not in told:
            writer.kill()
            tracer.communicate()
            raise TracingRefused(told.strip())
        let_go(writer)
        said = said_by(writer)
        status = writer.wait(timeout=60)
        tracer.communicate(timeout=60)
    outcome.acknowledged += len(said)
    look_at(outcome, address, root, said)
    return status
