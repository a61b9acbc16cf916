"""The routes: each takes what it needs, asks `Serving` or `Feed`, and answers. One factory serves both API versions."""

# No `from __future__ import annotations` here: FastAPI could not see types that are local to the factory.
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, find_category, get_all_registered_categories
from horde_model_reference.errors import RevisionUnknown, StoreError, UnknownCategory
from horde_model_reference.service.bodies import CODINGS, IDENTITY, Answer, Body, preferred_coding
from horde_model_reference.service.errors import no_feed
from horde_model_reference.service.feed import Feed, Question
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import ReplicateMode

__all__ = ["VERSIONS", "ApiVersion", "FeedFirst", "changes_router", "reference_router", "root_router"]

_MOST_CHANGES = 1000
_LONGEST_WAIT = 55  # many proxies give up on a request after a minute
_POLLED = {f"{prefix}/model_references/v2/changes" for prefix in ("", "/api")}
_POLL = re.compile(rb"since=(\d{1,18})(?:&at=([0-9a-f]{8}))?(?:&wait=(\d{1,3}(?:\.\d{1,6})?))?")


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


async def _feed(request: Request) -> Feed:
    feed: Feed | None = request.app.state.feed
    if feed is None:
        raise no_feed()
    return feed


Served = Annotated[Serving, Depends(_serving)]
Changes = Annotated[Feed, Depends(_feed)]


def _v2_category(model_category_name: str) -> str:
    try:
        return find_category(model_category_name)
    except UnknownCategory as error:
        expected = " or ".join(", ".join(map(repr, error.known)).rsplit(", ", 1))
        fault = {"type": "enum", "loc": ("path", "model_category_name"), "msg": f"Input should be {expected}"}
        raise RequestValidationError([fault | {"input": model_category_name, "ctx": {"expected": expected}}]) from None


_V1_NAMES = {
    "stable_diffusion": "image_generation",
    "stable_diffusion.json": "image_generation",
    "db.json": "text_generation",
}


def _v1_category(model_category_name: str) -> str:
    return find_category(_V1_NAMES.get(model_category_name) or model_category_name.removesuffix(".json"))


@dataclass(frozen=True)
class ApiVersion:
    """What differs between the two interfaces: the prefix, how categories are spelt, and whether models have routes."""

    name: str
    categories: Callable[[], list[str]]
    category: Callable[[str], str]
    operations: str
    has_models: bool


VERSIONS = (
    ApiVersion("v1", lambda: list(get_all_registered_categories()), _v1_category, "legacy", has_models=False),
    ApiVersion("v2", lambda: list(CANONICAL_CATEGORIES), _v2_category, "v2", has_models=True),
)


def root_router() -> APIRouter:
    """What the service says of itself."""
    router = APIRouter()

    @router.get("/")
    async def read_root() -> dict[str, str]:
        """A welcome, and where the documentation is."""
        return {"message": "This is the AI Horde model reference. The interface is documented at /api/docs."}

    @router.get("/heartbeat")
    async def heartbeat() -> dict[str, str]:
        """Whether the service is up."""
        return {"status": "ok"}

    @router.get("/replicate_mode")
    async def replicate_mode(serving: Served) -> dict[str, str | bool]:
        """Whether this service owns the reference, in which format it accepts changes, and whether it does now."""
        mode = ReplicateMode.REPLICA if serving.parts.store is None else ReplicateMode.PRIMARY
        return {"replicate_mode": mode, "canonical_format": serving.settings.canonical_format, "writable": False}

    return router


def reference_router(version: ApiVersion) -> APIRouter:
    """The reads of one API version."""
    router = APIRouter(prefix=f"/model_references/{version.name}", tags=[version.name])
    Category = Annotated[str, Depends(version.category)]  # noqa: N806  (a type)

    @router.get("/model_categories", operation_id=f"read_{version.operations}_references_names")
    async def read_names() -> list[str]:
        """The categories of this interface."""
        return version.categories()

    @router.get("/{model_category_name}", operation_id=f"read_{version.operations}_reference")
    def read_category(request: Request, serving: Served, category: Category) -> Response:
        """All records of a category by name."""
        return _respond(request, serving.answer(version.name, category))

    if version.has_models:

        @router.get("/{model_category_name}/model/{model_name:path}", operation_id="read_v2_single_model")
        def read_model(request: Request, serving: Served, category: Category, model_name: str) -> Response:
            """One record. Names may hold slashes, raw or encoded."""
            return _respond(request, serving.answer(version.name, category, model_name))

    return router


def changes_router() -> APIRouter:
    """What happened after a revision. Goes before the categories: its path looks like one of theirs."""
    router = APIRouter(prefix="/model_references/v2", tags=["v2"])
    statuses: dict[int | str, dict[str, Any]] = {
        204: {"description": "Nothing happened after `since`"},
        404: {"description": "A replica keeps no log of changes"},
        410: {"description": "Nobody can go on from `since`: read whole"},
    }

    @router.get("/changes", operation_id="read_v2_changes", responses=statuses)
    async def read_changes(
        request: Request,
        feed: Changes,
        since: Annotated[int, Query(ge=0)] = 0,
        category: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_CHANGES)] = _MOST_CHANGES,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0,
        at: Annotated[str | None, Query(description="The `X-Reference-Mark` that came with revision `since`")] = None,
    ) -> Response:
        """What happened to records after revision `since`; where that is nothing yet, for `wait` seconds at most."""
        only = None if category is None else find_category(category)
        return await _whats_new(request, feed, since, at, wait, only, limit)

    return router


async def _whats_new(
    request: Request, feed: Feed, since: int, at: str | None, wait: float, only: str | None, limit: int
) -> Response:
    if at is not None and await feed.marked(since) != at:  # the reader followed another history up to there
        raise RevisionUnknown(since, await feed.bell.look())
    head = await (feed.bell.other_than(since, wait) if wait else feed.bell.look())
    mark = await feed.marked(head)
    if head == since:
        return Response(status_code=204, headers={"X-Reference-Revision": str(head), "X-Reference-Mark": mark})
    coding = preferred_coding(_joined(request, "accept-encoding"))
    answer = await feed.tell(Question(since, only, limit, coding), head)
    await feed.marked(answer.revision or 0)
    return _respond(request, answer)


class FeedFirst:
    """In front of the framework: what replicas ask all day, of which the framework's share would be the largest.

    Whatever is not such a question, or has no such answer, goes on to the routes, which say so.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await _polled(scope) or self._app)(scope, receive, send)


async def _polled(scope: Scope) -> Response | None:
    is_read = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in _POLLED
    asked = _POLL.fullmatch(scope["query_string"]) if is_read else None
    feed: Feed | None = scope["app"].state.feed if asked else None
    if asked is None or feed is None or (wait := float(asked[3] or 0)) > _LONGEST_WAIT:
        return None
    since, at = int(asked[1]), asked[2].decode() if asked[2] else None
    with suppress(RevisionUnknown, StoreError):
        return await _whats_new(Request(scope), feed, since, at, wait, None, _MOST_CHANGES)
    return None


def _joined(request: Request, header: str) -> str:
    return ",".join(request.headers.getlist(header))


def _respond(request: Request, answer: Answer) -> Response:
    body, coding = answer.body, answer.body.coding(_joined(request, "accept-encoding"))
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if answer.revision is not None:
        headers["X-Reference-Revision"] = str(answer.revision)
        feed: Feed | None = request.app.state.feed
        headers |= {"X-Reference-Mark": feed.mark(answer.revision)} if feed is not None else {}
    known = _known_tag(_joined(request, "if-none-match"), body, coding)
    if known is not None:
        return Response(status_code=304, headers=headers | {"ETag": known})
    if coding != IDENTITY:
        headers["Content-Encoding"] = coding
    return Response(body.form(coding), media_type="application/json", headers=headers | {"ETag": body.etag(coding)})


def _known_tag(if_none_match: str, body: Body, coding: str) -> str | None:
    """The tag of the form that the reader has: a cache goes on with the form whose tag it is told."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if "*" in known:
        return body.etag(coding)
    return next((tag for each in (coding, IDENTITY, *CODINGS) if (tag := body.etag(each)) in known), None)
