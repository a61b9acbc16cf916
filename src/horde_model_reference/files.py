"""Reading and writing whole files: reads are bounded, writes are atomic and durable."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from horde_model_reference.errors import MalformedInput

__all__ = ["MAX_FILE_BYTES", "read_bounded", "write_atomically"]

MAX_FILE_BYTES = 512 * 1024 * 1024  # no file of the reference is this large; what is, is not read


def read_bounded(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The file's bytes. Raises `MalformedInput` where it is larger than `limit` or no regular file, `OSError` else."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write into it
        raise MalformedInput("not a regular file", where=str(path))
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise MalformedInput(f"larger than the limit of {limit} bytes", where=str(path))
    return data


def write_atomically(path: Path, data: bytes) -> Path:
    """Replace the file, so that a reader sees the old bytes or the new ones, and a crash leaves one of the two.

    The bytes are on the disk when this returns; folders are created as needed. A link stays one; what is there and no
    regular file (a device, a folder) is refused: the new file would take its place.
    """
    file = Path(os.path.realpath(path))
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(data)
            temporary.flush()
            os.fsync(descriptor)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(file), None  # the name that its owner knows, not the temporary one
        raise
    if os.name == "posix":
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path
