"""Answers ready to be sent: a body, its headers and tags, in each form that somebody asked for so far.

An answer belongs to one revision. It is made once and given to everybody who asks the same; what differs between them
(the coding, what they have already) costs one look into a table.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache, partial

import brotli
import zstandard
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.single_flight import SingleFlight

__all__ = ["CODINGS", "FOREVER", "IDENTITY", "KEEP", "SECURITY", "Answer", "Body", "Headers", "Ready"]
__all__ += ["preferred_coding"]

Headers = list[tuple[bytes, bytes]]
KEEP = "horde_model_reference.keep"
"""The name in the scope under which the layer in front leaves a function that takes a `Ready`."""
SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
FOREVER = "public, max-age=31536000, immutable"
"""What was at a past revision stays so."""
IDENTITY = "identity"
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda data: zstandard.ZstdCompressor(level=9).compress(data),  # one is for one thread at a time
    "br": partial(brotli.compress, quality=5),
    "gzip": partial(gzip.compress, compresslevel=6, mtime=0),
}
"""Content codings in the order in which we prefer them; the best levels would save 3 % more, while readers wait."""
_ACCEPTED = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?\Z")
_WORTH_COMPRESSING, _SMALL, _MOST_SPELLINGS = 1024, 65_536, 64
_COMPRESSING = SingleFlight[bytes]()
_EMPTY: Message = {"type": "http.response.body", "body": b""}


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
    """The bytes of an answer, and what follows from them, each made once. Safe to use from many threads."""

    data: bytes
    _forms: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Those known so far by their coding: only these can a reader have been told."""

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

    def etag(self, coding: str = IDENTITY) -> str:
        """A strong entity tag: the hash of exactly the bytes of that form, so equal in every process that has them."""
        return self.tags.get(coding) or self.tags.setdefault(coding, content_etag(self.form(coding)))


@dataclass(frozen=True, eq=False)
class Answer:
    """A body, the newest revision at which it was current, and what else is known of it; None where it is not.

    `updated` is the Unix time of its last change, `age` how many seconds ago it was last known to be current. Usually
    a cache in between asks each time, and may give out what it has while it asks.
    """

    body: Body
    revision: int | None = None
    mark: str | None = None
    updated: int | None = None
    age: int | None = None
    lasting: str = "public, max-age=0, stale-while-revalidate=30"


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of an answer: the messages that send it, and the same headers as they travel."""

    tag: bytes
    start: Message
    body: Message
    unmodified: Message
    lines: bytes
    unmodified_lines: bytes

    @classmethod
    def of(cls, answer: Answer, coding: str) -> _Form:
        """Compresses, where nobody has asked for that coding before."""
        data, tag = answer.body.form(coding), answer.body.etag(coding)
        told = {
            b"etag": tag,
            b"cache-control": answer.lasting,
            b"vary": "accept-encoding, origin",
            b"x-reference-revision": answer.revision,
            b"x-reference-mark": answer.mark,
            b"last-modified": None if answer.updated is None else formatdate(answer.updated, usegmt=True),
            b"age": answer.age,
        }
        short = [(name, str(value).encode()) for name, value in told.items() if value is not None]
        about = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        about += [(b"content-encoding", coding.encode())] if coding != IDENTITY else []
        whole = [*about, *short, *SECURITY]
        return cls(
            tag.encode(),
            {"type": "http.response.start", "status": 200, "headers": whole},
            {"type": "http.response.body", "body": data},
            {"type": "http.response.start", "status": 304, "headers": short},
            *(b"".join(b"%b: %b\r\n" % header for header in headers) for headers in (whole, short)),
        )


class Ready(Response):
    """An answer as a response. Give it to as many requests as you like, in one event loop."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self._by_spelling: dict[bytes, _Form] = {}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if keep := scope.get(KEEP):
            keep(self)
        await self.tell(scope, lambda message: send({**message}))  # what is in between may give it other headers

    async def tell(self, scope: Scope, send: Send) -> int:
        """Answer, with nothing between us and the server; gives the status."""
        accepted, known = _conditions(scope["headers"])
        form = self._by_spelling.get(accepted) or await self._form(accepted)
        if known and (unmodified := form.unmodified if known == form.tag else self._known(known, form)):
            await send(unmodified)
            await send(_EMPTY)
            return 304
        await send(form.start)
        await send(_EMPTY if scope["method"] == "HEAD" else form.body)
        return 200

    def at_once(self, headers: Headers) -> tuple[int, bytes, bytes] | None:
        """Status, header lines and body for a `GET` with those headers; None where they are still to be made."""
        accepted, known = _conditions(headers)
        form = self._by_spelling.get(accepted)
        if form is None or (known and known != form.tag):
            return None
        return (304, form.unmodified_lines, b"") if known else (200, form.lines, form.body["body"])

    async def _form(self, accepted: bytes) -> _Form:
        body = self.answer.body
        coding = body.coding(accepted.decode("latin-1"))
        is_soon = len(body.data) < _SMALL or coding in body.tags
        form = _Form.of(self.answer, coding) if is_soon else await run_in_threadpool(_Form.of, self.answer, coding)
        if len(self._by_spelling) < _MOST_SPELLINGS:
            self._by_spelling[accepted] = form
        return form

    def _known(self, if_none_match: bytes, form: _Form) -> Message | None:
        """What tells a reader that it has this already, in whatever form: a cache goes on with the one it is told."""
        known = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
        if form.tag in known or b"*" in known:
            return form.unmodified
        theirs = (coding for coding, tag in [*self.answer.body.tags.items()] if tag.encode() in known)
        return next((_Form.of(self.answer, coding).unmodified for coding in theirs), None)


def _conditions(headers: Headers) -> tuple[bytes, bytes]:
    """What a request says in `Accept-Encoding` and in `If-None-Match`."""
    accepted = known = b""
    for name, value in headers:
        if name == b"accept-encoding":
            accepted = accepted + b"," + value if accepted else value
        elif name == b"if-none-match":
            known = known + b"," + value if known else value
    return accepted, known
