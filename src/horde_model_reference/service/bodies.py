"""Bodies and the forms they travel in: what follows from the bytes of an answer is made once and kept beside them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

import brotli
import zstandard

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.single_flight import SingleFlight

__all__ = ["CODINGS", "IDENTITY", "Body", "preferred_coding"]

IDENTITY = "identity"
_HUGE = 4_000_000
"""From so many bytes on the best compression takes seconds, while a reader waits."""


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=6 if len(data) > _HUGE else 17).compress(data)


def _brotli(data: bytes) -> bytes:
    compressed: bytes = brotli.compress(data, quality=4 if len(data) > _HUGE else 6)
    return compressed


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=4 if len(data) > _HUGE else 9, mtime=0)


CODINGS: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "br": _brotli, "gzip": _gzip}
"""Content codings in the order in which we prefer them. A further one is a further row."""

_WORTH_COMPRESSING = 1024
_ACCEPTED = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?\Z")
_COMPRESSING = SingleFlight[bytes]()


@lru_cache(maxsize=256)
def preferred_coding(accepted: str) -> str:
    """What an `Accept-Encoding` asks for, of what we have; RFC 9110, 12.5.3. What cannot be read counts as not said."""
    found = filter(None, map(_ACCEPTED.match, accepted.lower().split(",")))
    weights = {match[1]: float(match[2] or 1) for match in found}
    offered = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(offered, key=lambda coding: offered[coding])
    return best if offered[best] > 0 and offered[best] >= weights.get(IDENTITY, 0.0) else IDENTITY


@dataclass(frozen=True, eq=False)
class Body:
    """The bytes of an answer. Safe to use from many threads."""

    data: bytes
    _forms: dict[str, bytes] = field(default_factory=dict)
    _tags: dict[str, str] = field(default_factory=dict)

    def coding(self, accepted: str) -> str:
        """The coding for a reader with that `Accept-Encoding`; what is small is never worth one."""
        return preferred_coding(accepted) if len(self.data) >= _WORTH_COMPRESSING else IDENTITY

    def form(self, coding: str) -> bytes:
        """The bytes in that coding, compressed once, when they are first asked for."""
        if coding == IDENTITY:
            return self.data
        return self._forms.get(coding) or _COMPRESSING.do((id(self), coding), partial(self._compressed, coding))

    def _compressed(self, coding: str) -> bytes:
        return self._forms.get(coding) or self._forms.setdefault(coding, CODINGS[coding](self.data))

    def etag(self, coding: str) -> str:
        """A strong entity tag: the hash of exactly the bytes of that form, so equal in every process that has them."""
        return self._tags.get(coding) or self._tags.setdefault(coding, content_etag(self.form(coding)))

    def made(self) -> list[str]:
        """The codings whose tags are known so far: only those can a reader have been told."""
        return list(self._tags)
