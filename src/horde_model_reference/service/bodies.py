"""Bodies and the forms they travel in: what follows from the bytes of an answer is made once and kept beside them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.single_flight import SingleFlight

__all__ = ["CODINGS", "IDENTITY", "Answer", "Body", "preferred_coding"]

IDENTITY = "identity"
CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": partial(gzip.compress, compresslevel=9, mtime=0)}
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


@dataclass(frozen=True)
class Body:
    """The bytes of an answer. Safe to use from many threads."""

    data: bytes
    _forms: dict[str, bytes] = field(default_factory=dict)

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
        """A strong entity tag; each form has its own, and all follow from the hash of the plain bytes."""
        return self._tag if coding == IDENTITY else f'{self._tag[:-1]}-{coding}"'

    @cached_property
    def _tag(self) -> str:
        return content_etag(self.data)


class Answer(NamedTuple):
    """A body and the newest revision at which it was current, None where that is not known."""

    body: Body
    revision: int | None
