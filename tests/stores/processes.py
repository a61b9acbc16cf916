"""What other processes do to a store while a test looks on: `python -m tests.stores.processes COMMAND ADDRESS ...`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from horde_model_reference.errors import HordeModelReferenceError, StoreUnavailable
from horde_model_reference.stores.sql import SqlStore

__all__ = ["COUNTER", "first_line_of", "increment", "let_go", "lines_of", "start"]

COUNTER = "miscellaneous"


def start(command: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that does `command`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "tests.stores.processes", command, *arguments]
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line_of(process: subprocess.Popen[str]) -> str:
    """The first line it prints, as soon as it does."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """What it printed further; it must end well."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.splitlines()


def increment(store: SqlStore, times: int) -> None:
    """Add one to one record, that many times."""
    for _ in range(times):
        with store.begin(actor="counter") as unit:
            held = unit.entry(COUNTER, "count")
            unit.put(COUNTER, "count", str(int(held.document) + 1 if held else 1))


def _increment(address: str, times: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    increment(SqlStore(address), int(times))
    print("done")


def _hold(address: str) -> None:
    """Hold the write lock until told to end."""
    with SqlStore(address).begin(actor="holder"):
        print("held", flush=True)
        sys.stdin.readline()


def _unprivileged(address: str, command: str) -> None:
    """Read or write as a user who is not the owner; the way it failed is printed."""
    store = SqlStore(address)
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        if command == "write":
            increment(store, 1)
        else:
            print(store.head())
    except HordeModelReferenceError as error:
        print(type(error).__name__, error)


def _fork(address: str) -> None:
    """Fork with open connections, and write in parent and child at once."""
    store = SqlStore(address)
    increment(store, 5)
    child = os.fork()
    increment(store, 20)
    if child == 0:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    increment(store, 5)
    print(json.dumps([status, store.head(), store.verify()]))


def _fork_in_the_middle(address: str) -> None:
    """Fork inside a unit of work: the child is refused, whatever it asks, and the parent commits."""
    store = SqlStore(address)
    with store.begin(actor="parent") as unit:
        unit.put(COUNTER, "count", "1")
        child = os.fork()
        if child == 0:
            try:
                store.head()
            except StoreUnavailable as error:
                os._exit("when this process was forked" in error.reason)
            os._exit(2)
        _, status = os.waitpid(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), store.head(), store.verify()]))


def _fork_and_close(address: str) -> None:
    """The parent closes its store while the child, which wrote before, goes on writing."""
    store = SqlStore(address)
    increment(store, 1)
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    if os.fork() == 0:
        increment(store, 1)
        os.write(to_parent, b".")
        os.read(from_parent, 1)
        increment(store, 1)
        os.write(to_parent, b".")
        os.read(from_parent, 1)
        os._exit(0)
    os.read(from_child, 1)
    store.close()
    os.write(to_child, b".")
    os.read(from_child, 1)
    increment(store, 1)
    os.write(to_child, b".")
    os.wait()
    store.close()
    print(json.dumps([store.entries(COUNTER)["count"].document, store.verify()]))


def _kill(address: str, rounds: str) -> None:
    """Kill a writer at a random moment, again and again; what it had reported must be there, and be sound."""
    lost, written = [], 0
    for turn in range(int(rounds)):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _write_and_report(address, turn, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            reported = [pipe.readline()] if turn % 2 else []  # every other one dies early, maybe before its first write
            time.sleep(random.random() * 0.04)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            reported = [line.strip() for line in (*reported, *pipe) if line.endswith("\n")]
        store = SqlStore(address)
        held = store.entries(COUNTER)
        lost += [name for name in reported if name not in held or f"{name} beside" not in held]
        lost += [str(fault) for fault in store.verify()]
        store.close()
        written += len(reported)
    print(json.dumps([lost, written]))


def _write_and_report(address: str, turn: int, pipe: int) -> None:
    store = SqlStore(address)
    i = 0
    while True:
        name, i = f"{turn}/{i}", i + 1
        with store.begin(actor="doomed") as unit:
            unit.put(COUNTER, name, json.dumps("x" * 3_000))
            unit.put(COUNTER, f"{name} beside", "1")
        os.write(pipe, f"{name}\n".encode())


_COMMANDS: dict[str, Callable[..., None]] = {
    "increment": _increment,
    "hold": _hold,
    "unprivileged": _unprivileged,
    "fork": _fork,
    "fork in the middle": _fork_in_the_middle,
    "fork and close": _fork_and_close,
    "kill": _kill,
}

if __name__ == "__main__":
    _COMMANDS[sys.argv[1]](*sys.argv[2:])
