"""Whole files: bounded reads, and writes of which a reader sees all or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from horde_model_reference.errors import MalformedInput
from horde_model_reference.files import read_bounded, write_atomically

_READER = """
import sys
from pathlib import Path
path, torn, seen = Path(sys.argv[1]), 0, set()
print("ready", flush=True)
while True:
    data = path.read_bytes()
    if data == b"end":
        break
    if len(data) != 50_000 or data != data[:1] * 50_000:
        torn += 1
    seen.add(data[:1])
print(torn, len(seen))
"""

_CRASH = """
import os, sys
from pathlib import Path
from horde_model_reference.files import write_atomically
os.replace = lambda *_: os._exit(3)   # the machine stops just before the new file takes its place
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_a_file_is_written_with_its_folders_and_readable_by_others(tmp_path: Path) -> None:
    """Other programs read the mirror."""
    path = tmp_path / "a" / "b" / "c.json"
    write_atomically(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_never_sees_a_torn_file(tmp_path: Path) -> None:
    """Another process reads without pause while the file is replaced 200 times."""
    path = tmp_path / "file"
    write_atomically(path, b"a" * 50_000)
    with subprocess.Popen([sys.executable, "-c", _READER, str(path)], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for number in range(200):
            write_atomically(path, bytes([97 + number % 26]) * 50_000)
        write_atomically(path, b"end")
        torn, seen = map(int, reader.stdout.read().split())
    assert torn == 0
    assert seen > 1


def test_a_crash_before_the_replacement_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever else lies in the folder then, nobody reads it."""
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", _CRASH, str(path)], env=_with_source(), check=False)
    assert done.returncode == 3
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.glob("*.json")] == ["file.json"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    """A folder of that name stands in the way: the temporary file is taken away again."""
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    """The error names the file and the limit."""
    path = tmp_path / "large.json"
    path.write_bytes(b"12345")
    assert read_bounded(path, limit=5) == b"12345"
    with pytest.raises(MalformedInput, match="limit of 4 bytes") as caught:
        read_bounded(path, limit=4)
    assert caught.value.where == str(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """Opening it for reading would hang until somebody writes."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MalformedInput, match="regular"):
        read_bounded(tmp_path / "pipe")


def test_an_absent_file_is_an_os_error(tmp_path: Path) -> None:
    """Absence is the caller's to judge."""
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none")


def _with_source() -> dict[str, str]:
    import horde_model_reference

    return {**os.environ, "PYTHONPATH": str(Path(horde_model_reference.__file__).parents[1])}
