"""Everything that goes wrong, a row each: what is done, and what a reader must get then."""

from __future__ import annotations

import ctypes
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from horde_model_reference.domain.categories import get_category_descriptor
from horde_model_reference.sources.local import StarterSource
from tests.reading.simulators import http
from tests.resilience import site as at
from tests.resilience.site import CATEGORIES, Answer, documents, says, slowly, well

View = dict[str, dict[str, object] | None]
"""What a reader sees: category -> name -> description."""

NONE, SOON, YEAR = (0, 0), 0.5, 365 * 86_400.0


@dataclass(frozen=True)
class Fault:
    """`serve` is what PRIMARY, and GitHub at the same `place`, answers from now on; `damage` is done to the data root,
    `around` to the process, and by `clock` seconds it was wrong when the cache was written.

    `empty` and `held` name what is right once the source was asked, with nothing here and with the old records held;
    `lines` are the fewest and most in the log. `deadline` is the first load's, short where it will be used up.
    `copy_lost`: the file is no copy any more. `heals`: the new records come by themselves in the end (`alone`), or to
    who asks again (`asked`).
    """

    name: str
    serve: Answer | None = None
    place: str = "site"
    empty: str = "starter"
    held: str = "old"
    lines: tuple[int, int] = (1, 1)
    lines_empty: tuple[int, int] = (1, 1)
    deadline: float = 2.0
    copy_lost: bool = False
    heals: str = ""
    clock: float = 0
    damage: Callable[[Path], None] = lambda root: None
    around: Callable[[], AbstractContextManager[None]] = nullcontext


def views() -> dict[str, View]:
    """Name -> what a reader sees then."""
    starter = {c: json.loads(body) if (body := StarterSource.body(c)) else None for c in CATEGORIES}
    found: dict[str, dict[str, Any]] = {
        "starter": starter,
        "nothing": {category: {} for category in CATEGORIES},
        "old": at.OLD.records,
        "new": at.NEW.records,
        "few": at.REDUCED.records,
        "readable": at.NEW.records | {"esrgan": documents("esrgan", "new", 5)},
    }
    return {name: {c: described(records) for c, records in view.items()} for name, view in found.items()}


def described(records: dict[str, Any] | None) -> dict[str, object] | None:
    """Name -> description, of those that can be read."""
    return None if records is None else {n: d.get("description") for n, d in records.items() if isinstance(d, dict)}


def files(root: Path) -> dict[str, Path]:
    """Category -> where its records lie, of those that are there."""
    places = {category: root / get_category_descriptor(category).v2_filename(category) for category in CATEGORIES}
    return {category: path for category, path in places.items() if path.is_file()}


def spoil(root: Path, change: Callable[[bytes], bytes]) -> None:
    """Each file has other bytes; what stands beside it still tells of the good ones. A killed writer's remains, too."""
    for path in files(root).values():
        path.write_bytes(change(path.read_bytes()))
    (root / ".esrgan.json.half.tmp").write_bytes(b'{"esrgan 0": {"na')


def shift_times(root: Path, seconds: float) -> None:
    """Every file says that it was written long ago, or is yet to be written."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + seconds))


def protect(root: Path, mode: int = 0o555) -> None:
    """Nothing under the root may be written."""
    for path in [root, *root.rglob("*")]:
        path.chmod(mode)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions of files count, for root too: this thread, and all that it starts, give up overriding them."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    if os.geteuid() or libc.capget(header, data):
        yield
        return
    before = data[0]
    data[0] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    libc.capset(header, data)
    yield
    data[0] = before
    libc.capset(header, data)


_CLOCK = Fault("", well(at.NEW), empty="new", held="new", lines=NONE, lines_empty=NONE, heals="alone")
_DAMAGED = Fault("", empty="old", lines=(0, 1), lines_empty=NONE, copy_lost=True)
_DISK = Fault("", well(at.NEW), empty="new", held="new")

_ROWS = [
    Fault("refused", place="closed port"),
    Fault("DNS", place="no such name", deadline=SOON),
    Fault("TLS", place="strange certificate"),
    Fault("connect timeout", place="full queue", deadline=SOON),
    Fault("read timeout", slowly(b"", b" ", 30), deadline=SOON),
    Fault("slow drip of headers", slowly(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n", 0.02), deadline=SOON),
    Fault("slow drip of body", slowly(http(200, b"{", content_length="999999"), b" ", 0.02), deadline=SOON),
    Fault("reset", says(at.tear)),
    Fault("redirect loop", says(lambda asked: http(302, location=asked.path))),
    *(Fault(str(code), says(http(code, b'{"detail": "no"}'))) for code in (401, 404, 500, 503)),
    Fault("429 with Retry-After", says(http(429, b"slow down", retry_after="3600"))),
    Fault("HTML 200", says(http(200, b"<!doctype html><title>Sign in here</title>", content_type="text/html"))),
    Fault("truncated", says(lambda asked: http(200, at.body_of(asked, "cut")[:500]))),
    Fault("invalid JSON", says(http(200, b'{"esrgan 0": {"name": oops}}'))),
    Fault("list root", says(http(200, b'[{"name": "esrgan 0"}]'))),
    Fault("null root", says(http(200, b"null"))),
    Fault("{} root", says(http(200, b"{}")), empty="nothing", lines_empty=NONE),
    Fault("all records bad", says(http(200, b'{"esrgan 0": ["bad"], "esrgan 1": null}'))),
    Fault("one bad record", well(at.ONE_BAD), empty="readable", held="readable"),
    Fault("half the models gone", well(at.GUTTED), empty="few", lines_empty=NONE),
    Fault("half gone on purpose", well(at.REDUCED), empty="few", held="few", lines=NONE, lines_empty=NONE),
    Fault("200 MB body", says(at.huge_begins, *[at.BLANKS] * 200)),
    Fault("gzip bomb", says(lambda asked: http(200, at.bomb(), content_encoding="gzip"))),
    replace(_CLOCK, name="restarted mid-body", serve=at.restarted, lines=(0, 1), lines_empty=(0, 1), heals="asked"),
    replace(_DISK, name="disk full", around=full_disk),
    replace(_DISK, name="read-only disk", damage=protect, around=without_privileges),
    replace(_DAMAGED, name="torn cache file", damage=partial(spoil, change=lambda data: data[: len(data) // 2])),
    replace(_DAMAGED, name="corrupt cache", damage=partial(spoil, change=lambda data: b"\xff\x00" * (len(data) // 2))),
    replace(_CLOCK, name="clock a year ahead", damage=partial(shift_times, seconds=-YEAR), clock=-YEAR),
    replace(_CLOCK, name="clock a year behind", damage=partial(shift_times, seconds=YEAR), clock=YEAR),
]
FAULTS = {fault.name: fault for fault in _ROWS}
