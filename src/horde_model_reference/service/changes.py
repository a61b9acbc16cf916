"""The feed over HTTP: asked for, held until there is something to tell, or told as it happens (server-sent events)."""

# No `from __future__ import annotations` here: see routes.py.
import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from starlette.types import Receive, Scope, Send

from horde_model_reference.domain.categories import find_category
from horde_model_reference.errors import RevisionUnknown, StoreError
from horde_model_reference.service.answers import IDENTITY, SECURITY, Answer, Ready, preferred_coding
from horde_model_reference.service.errors import documented
from horde_model_reference.service.feed import Feed, Question
from horde_model_reference.service.routes import Served
from horde_model_reference.service.serving import Serving

__all__ = ["Streams", "changes_router", "polled"]

_MOST_CHANGES, _MOST_STREAMS = 1000, 10_000
_LONGEST_WAIT = 55  # many proxies give up on a request after a minute
_POLLED = {f"{prefix}/model_references/v2/changes" for prefix in ("", "/api")}
_OPERATION = "read_v2_changes"
_POLL = re.compile(rb"since=(\d{1,18})(?:&at=([0-9a-f]{8}))?(?:&wait=(\d{1,3}(?:\.\d{1,6})?))?")
_EVENT_ID = re.compile(r"(\d{1,18})(?:-([0-9a-f]{8}))?\Z")


async def _followed(serving: Served) -> Serving:
    if not serving.is_primary and serving.origin.revision is None:
        raise HTTPException(404, "This relay serves what has no revisions, so it has no log of changes")
    return serving


Followed = Annotated[Serving, Depends(_followed)]
At = Annotated[str | None, Query(description="The `X-Reference-Mark` that came with revision `since`")]


def changes_router() -> APIRouter:
    """What happened after a revision. Goes before the categories: its path looks like one of theirs."""
    router = APIRouter(prefix="/model_references/v2", tags=["v2"], responses=documented(204, 404, 410, 422, 503))
    events: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}

    @router.get("/changes", operation_id=_OPERATION, response_model=dict[str, Any])
    async def read_changes(
        request: Request,
        serving: Followed,
        since: Annotated[int, Query(ge=0)] = 0,
        category: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_CHANGES)] = _MOST_CHANGES,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0,
        at: At = None,
    ) -> Response:
        """What happened to records after revision `since`; where that is nothing yet, for `wait` seconds at most."""
        only = None if category is None else find_category(category)
        coding = preferred_coding(",".join(request.headers.getlist("accept-encoding")))
        return await _whats_new(serving, Question(since, only, limit, coding), at, wait)

    @router.get("/changes/stream", operation_id="stream_v2_changes", response_class=Response, responses=events)
    async def stream_changes(
        request: Request,
        serving: Followed,
        since: Annotated[int | None, Query(ge=0)] = None,
        category: str | None = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """The same as server-sent events, from revision `since` or the `Last-Event-ID` on; without either, from now on.

        The data of an event is what `/changes` answers; its id is the revision up to which it tells everything.
        """
        streams: Streams = request.app.state.streams
        feed, only = serving.feed, None if category is None else find_category(category)
        known = _EVENT_ID.match(last_event_id or "")
        head = await feed.bell.look()
        start = int(known[1]) if known else head if since is None else since
        await _require_mark(feed, start, known and known[2])
        if start != head:  # says so now where nobody can go on from there
            await feed.tell(Question(start, only, _MOST_CHANGES, IDENTITY), head)
        if streams.open >= _MOST_STREAMS:
            raise HTTPException(503, "Too many streams are open; try again later, or ask /changes")
        return _Stream(streams, feed, start, only)

    return router


async def _whats_new(serving: Serving, asked: Question, at: str | None, wait: float) -> Response:
    feed, age = serving.feed, serving.age
    await _require_mark(feed, asked.since, at)
    head = await (feed.bell.other_than(asked.since, wait) if wait else feed.bell.look())
    if head == asked.since:
        headers = {"X-Reference-Mark": await feed.marked(head)} | ({} if age is None else {"Age": str(age)})
        return Response(status_code=204, headers={"X-Reference-Revision": str(head)} | headers)
    return Ready(replace(await feed.tell(asked, head), age=age))


async def _require_mark(feed: Feed, since: int, mark: str | None) -> None:
    if mark and await feed.marked(since) != mark:  # the reader followed another history up to there
        raise RevisionUnknown(since, await feed.bell.look())


async def polled(serving: Serving, scope: Scope) -> Response | None:
    """The answer to the question that replicas ask all day, of which the framework's share would be the largest.

    None for whatever is not such a question, or has no such answer: the routes say so.
    """
    if scope["method"] != "GET" or scope["path"] not in _POLLED:
        return None
    found = _POLL.fullmatch(scope["query_string"])
    if found is None or (wait := float(found[3] or 0)) > _LONGEST_WAIT:
        return None
    scope["operation"] = _OPERATION
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding").decode("latin-1")
    asked = Question(int(found[1]), None, _MOST_CHANGES, preferred_coding(accepted))
    with suppress(HTTPException, RevisionUnknown, StoreError):
        return await _whats_new(await _followed(serving), asked, found[2].decode() if found[2] else None, wait)
    return None


@dataclass
class Streams:
    """The streams of one app. Each remembers no more than how far it has told; what it tells is made once for all.

    A stream that has nothing to tell says so every `beat` seconds; its reader may take `slowest` for what it is told.
    """

    beat: float = 15.0
    slowest: float = 30.0
    open: int = 0


@lru_cache(maxsize=32)
def _event(answer: Answer) -> bytes:
    label = f"{answer.revision}-{answer.mark}".encode()
    return b"id: %b\nevent: changes\ndata: %b\n\n" % (label, answer.body.data)


class _Stream(Response):
    """One reader's stream. One who takes nothing for too long is let go, and goes on from the last event later."""

    def __init__(self, streams: Streams, feed: Feed, since: int, category: str | None) -> None:
        super().__init__(media_type="text/event-stream")
        self._streams, self._feed = streams, feed
        self._told, self._category = since, category

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), *SECURITY]
        headers.append((b"x-accel-buffering", b"no"))  # for nginx, which would keep events back
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._streams.open += 1
        talking, gone = asyncio.ensure_future(self._talk(send)), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({talking, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.open -= 1
            for task in (talking, gone):
                task.cancel()
        with suppress(asyncio.CancelledError, TimeoutError):  # it is the reader who has gone, or who takes nothing
            with suppress(StoreError):  # the reader comes back, and is told then what is wrong
                await talking
            await send({"type": "http.response.body", "body": b""})

    async def _talk(self, send: Send) -> None:
        bell = self._feed.bell
        await self._send(send, b"retry: 3000\n: connected\n\n")
        while not bell.is_closed:
            head = await bell.other_than(self._told, self._streams.beat)
            if head == self._told:
                await self._send(send, b": still here\n\n")
                continue
            try:
                answer = await self._feed.tell(Question(self._told, self._category, _MOST_CHANGES, IDENTITY), head)
            except RevisionUnknown:
                await self._send(send, b"event: reset\ndata: {}\n\n")
                return
            self._told = answer.revision or head
            await self._send(send, _event(answer))

    async def _send(self, send: Send, data: bytes) -> None:
        async with asyncio.timeout(self._streams.slowest):
            await send({"type": "http.response.body", "body": data, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
