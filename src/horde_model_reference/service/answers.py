"""Answers ready to be sent: a body, its headers and tags, in each form that somebody asked for so far.

An answer belongs to one revision. It is made once and given to everybody who asks the same; what differs between them
(the coding, what they have already) costs one look into a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from horde_model_reference.service.bodies import IDENTITY, Body

__all__ = ["CURRENT", "FOREVER", "KEEP", "SECURITY", "Answer", "Headers", "Ready"]

Headers = list[tuple[bytes, bytes]]
KEEP = "horde_model_reference.keep"
"""The name in the scope under which the layer in front leaves a function that takes a `Ready`."""
SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
CURRENT = "public, max-age=0, stale-while-revalidate=30"
"""A cache in between asks each time; while it asks it may give out what it has."""
FOREVER = "public, max-age=31536000, immutable"
"""What was at a past revision stays so."""
_EMPTY: Message = {"type": "http.response.body", "body": b""}
_MOST_SPELLINGS, _SMALL = 64, 65_536


@dataclass(frozen=True, eq=False)
class Answer:
    """A body, the newest revision at which it was current, and what else is known of it; None where it is not.

    `updated` is the Unix time of its last change, `age` how many seconds ago it was last known to be current.
    """

    body: Body
    revision: int | None = None
    mark: str | None = None
    updated: int | None = None
    age: int | None = None
    lasting: str = CURRENT

    def headers(self) -> Headers:
        """What an answer with the body and one without it say alike."""
        told = {
            b"cache-control": self.lasting,
            b"vary": "accept-encoding, origin",
            b"x-reference-revision": self.revision,
            b"x-reference-mark": self.mark,
            b"last-modified": None if self.updated is None else formatdate(self.updated, usegmt=True),
            b"age": self.age,
        }
        return [(name, str(value).encode()) for name, value in told.items() if value is not None]


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of an answer: the messages that send it, and the same headers as they travel."""

    tag: bytes
    start: Message
    body: Message
    unmodified: Message
    data: bytes
    lines: bytes
    unmodified_lines: bytes

    @classmethod
    def of(cls, answer: Answer, coding: str) -> _Form:
        """Compresses, where nobody has asked for that coding before."""
        data, tag, common = answer.body.form(coding), answer.body.etag(coding).encode(), answer.headers()
        about = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        about += [(b"content-encoding", coding.encode())] if coding != IDENTITY else []
        short = [(b"etag", tag), *common]
        whole = [*about, *short, *SECURITY]
        return cls(
            tag,
            {"type": "http.response.start", "status": 200, "headers": whole},
            {"type": "http.response.body", "body": data},
            {"type": "http.response.start", "status": 304, "headers": short},
            data,
            *(b"".join(b"%b: %b\r\n" % header for header in headers) for headers in (whole, short)),
        )


class Ready(Response):
    """An answer as a response. Give it to as many requests as you like, in one event loop."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self._by_coding: dict[str, _Form] = {}
        self._by_spelling: dict[bytes, _Form] = {}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if keep := scope.get(KEEP):
            keep(self)

        async def send_copy(message: Message) -> None:  # what is between us and the server may add headers to it
            await send({**message, "headers": list(message["headers"])} if "headers" in message else message)

        await self.tell(scope, send_copy)

    async def tell(self, scope: Scope, send: Send) -> int:
        """Answer, with nothing between us and the server; gives the status."""
        accepted, known = _conditions(scope["headers"])
        form = self._by_spelling.get(accepted) or await self._form(accepted)
        if known and (unmodified := self._known(known, form)) is not None:
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
        return (304, form.unmodified_lines, b"") if known else (200, form.lines, form.data)

    async def _form(self, accepted: bytes) -> _Form:
        body = self.answer.body
        coding = body.coding(accepted.decode("latin-1"))
        form = self._by_coding.get(coding)
        if form is None and len(body.data) < _SMALL:
            form = _Form.of(self.answer, coding)
        elif form is None:
            form = await run_in_threadpool(_Form.of, self.answer, coding)
        self._by_coding[coding] = form
        if len(self._by_spelling) < _MOST_SPELLINGS:
            self._by_spelling[accepted] = form
        return form

    def _known(self, if_none_match: bytes, form: _Form) -> Message | None:
        """What tells a reader that it has this already, in whatever form: a cache goes on with the one it is told."""
        if if_none_match == form.tag:
            return form.unmodified
        known = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
        if b"*" in known:
            return form.unmodified
        body = self.answer.body
        theirs = (coding for coding in body.made() if body.etag(coding).encode() in known)
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
