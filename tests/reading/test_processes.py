"""What can only be seen from outside: sockets, forks, the end of the interpreter, all in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import horde_model_reference
from tests.reading.samples import ESRGAN, text
from tests.reading.simulators import Asked, Loopback

SOURCE = str(Path(horde_model_reference.__file__).parents[1])


def _program(program: str, root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("HORDE", "AI_HORDE", "PYTHON"))}
    environment = {**kept, "PYTHONPATH": SOURCE, "AIWORKER_CACHE_HOME": str(root), **variables}
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def _silent(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Warning" not in done.stderr
    assert "Error" not in done.stderr


_OFFLINE = """
import sys
opened = []
def hook(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        opened.append((event, args))
sys.addaudithook(hook)
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(prefetch_strategy="sync")
assert manager.offline and list(manager.esrgan_models) == ["A", "B"]
assert manager.get_all_model_references(overwrite_existing=True)["image_generation"]
assert not opened, opened
assert "httpx" not in sys.modules and "sqlalchemy" not in sys.modules
"""


def test_an_offline_reader_opens_no_socket(tmp_path: Path) -> None:
    """An audit hook of the interpreter sees none; not even the HTTP library is imported."""
    (tmp_path / "horde_model_reference").mkdir()
    (tmp_path / "horde_model_reference" / "esrgan.json").write_text(text(ESRGAN))
    _silent(_program(_OFFLINE, tmp_path, HORDE_MODEL_REFERENCE_OFFLINE="true"))


_EXIT = """
import threading
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(prefetch_strategy="async", replicate_mode="REPLICA", offline=False)
assert manager.prefetch_pending
"""


def _never(asked: Asked) -> Iterator[bytes]:
    import time

    time.sleep(30)
    yield b""


def test_the_interpreter_exits_during_a_prefetch(tmp_path: Path) -> None:
    """At once and without a word, though PRIMARY has not answered."""
    with Loopback(_never) as server:
        _silent(_program(_EXIT, tmp_path, HORDE_MODEL_REFERENCE_PRIMARY_API_URL=f"{server.url}/api"))


_FORK = """
import faulthandler, os, time
faulthandler.dump_traceback_later(15, exit=True)
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(prefetch_strategy="async", offline=True)
time.sleep(DELAY)
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        manager.ensure_ready()
        os._exit(0 if len(manager.image_generation_models) > 5 else 1)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
manager.ensure_ready()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("delay", [0, 0.005, 0.03])
def test_forked_children_read_whatever_the_prefetch_of_the_parent_was_doing(tmp_path: Path, delay: float) -> None:
    """The fork happens while a thread of the parent loads; no lock of it stays locked in the children."""
    _silent(_program(_FORK.replace("DELAY", str(delay)), tmp_path))


_LOG = """
import logging
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(offline=True)
assert manager.get_model_reference("esrgan")
logging.getLogger("horde_model_reference.anything").warning("not printed: the application configured nothing")
"""


def test_a_program_that_configured_no_logging_sees_none(tmp_path: Path) -> None:
    """A bad record is a warning in the log, and the log is silent until somebody wants it."""
    (tmp_path / "horde_model_reference").mkdir()
    records = {**ESRGAN, "bad": []}
    (tmp_path / "horde_model_reference" / "esrgan.json").write_text(text(records))
    done = _program(_LOG, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


_LOOPS = """
import asyncio, threading
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(prefetch_strategy="async", offline=True)
seen = []
async def main():
    await manager.deferred_prefetch_handle
    seen.append(len(await manager.get_model_reference_async("esrgan")) == len(manager.esrgan_models))
threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(8)]
def look():
    seen.append(bool(manager.get_model("esrgan", "RealESRGAN_x4plus")))
threads += [threading.Thread(target=look) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join(20)
assert seen == [True] * 12, seen
"""


def test_loops_in_many_threads_read_at_once_while_it_loads(tmp_path: Path) -> None:
    """Eight loops and four threads over one manager."""
    _silent(_program(_LOOPS, tmp_path))
