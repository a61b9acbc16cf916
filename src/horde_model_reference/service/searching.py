"""Searching over HTTP: which records, in which order, which page; the records come as every read has them."""

# No `from __future__ import annotations` here: see routes.py.
import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Scope

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.search import Found, Unsortable, in_order
from horde_model_reference.errors import HordeModelReferenceError
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.service.answers import Ready
from horde_model_reference.service.errors import RESPONSES
from horde_model_reference.service.renderings import Content, Form, Rendering
from horde_model_reference.service.routes import Served
from horde_model_reference.service.schemas import SearchQuestion, SearchQuestionOfCategory, SearchResponse
from horde_model_reference.service.serving import Serving

__all__ = ["search_router", "searched"]

_COUNT = b'"parameters_count":'
_SOURCES = ("horde", "any")
_PATH = re.compile(r"(?:/api)?/model_references/v2/(?:(\w+)/)?search")
_LISTS = ("tags_any", "tags_all", "tags_none")
_ALL, _ONE = (
    f"search_{what}_get"
    for what in ("all_model_references_v2_search", "category_model_references_v2__model_category_name__search")
)
_AT_ONCE = 2_000
"""Among so many records a search takes a millisecond, less than handing it to a thread and waiting for it."""


def search_router() -> APIRouter:
    """The two searches. Goes before the categories: one path looks like one of theirs."""
    failures: dict[int | str, dict[str, Any]] = {status: RESPONSES[status] for status in (400, 422, 503)}
    router = APIRouter(prefix="/model_references/v2", tags=["v2", "search"], responses=failures)

    @router.get("/search", operation_id=_ALL, response_model=SearchResponse)
    async def search_all(serving: Served, asked: Annotated[SearchQuestion, Query()]) -> Response:
        """Records of all categories; without an order, category by category in the order they were created."""
        return await _found_in_all(serving, asked)

    @router.get("/{model_category_name}/search", operation_id=_ONE, response_model=SearchResponse)
    async def search_category(
        serving: Served, model_category_name: str, asked: Annotated[SearchQuestionOfCategory, Query()]
    ) -> Response:
        """Records of one category; without an order, as they were created."""
        return await _found_in_one(serving, asked, model_category_name)

    return router


async def searched(serving: Serving, scope: Scope) -> Response | None:
    """The answer to a search, without the framework's share, which would be the largest.

    None for whatever is no search, or not a valid one: the routes say so.
    """
    if scope["method"] != "GET" or (path := _PATH.fullmatch(scope["path"])) is None:
        return None
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    lists = {wanted: [value for name, value in pairs if name == wanted] for wanted in _LISTS}
    said = dict(pairs) | {name: values for name, values in lists.items() if values}
    scope["operation"] = _ALL if path[1] is None else _ONE
    with suppress(ValidationError, HTTPException, Unsortable, HordeModelReferenceError):
        if path[1] is None:
            return await _found_in_all(serving, SearchQuestion.model_validate(said))
        return await _found_in_one(serving, SearchQuestionOfCategory.model_validate(said), path[1])
    return None


async def _found_in_all(serving: Serving, asked: SearchQuestion) -> Response:
    return await _found(serving, asked, await serving.all_renderings(get_all_registered_categories()))


async def _found_in_one(serving: Serving, asked: SearchQuestionOfCategory, category: str) -> Response:
    if asked.source not in _SOURCES:
        raise HTTPException(400, f"There is no source {asked.source!r} here, only {' and '.join(_SOURCES)}")
    return await _found(serving, asked, [await serving.rendering(Form.V2, category)])


async def _found(serving: Serving, asked: SearchQuestion, renderings: Sequence[Rendering]) -> Response:
    contents = [rendering.content for rendering in renderings]
    if sum(len(content.pieces) for content in contents) <= _AT_ONCE:
        page = _page(asked, contents)
    else:
        async with serving.searching:
            page = await asyncio.to_thread(_page, asked, contents)
    revisions = [rendering.revision for rendering in renderings if rendering.revision is not None]
    return Ready(await serving.document(page, min(revisions, default=None)))


def _page(asked: SearchQuestion, contents: Sequence[Content]) -> bytes:
    by_category = {content.category: content for content in contents}
    found = asked.search().among(chain.from_iterable(content.listed for content in contents))
    if asked.sort_by is not None:
        found = in_order(found, asked.sort_by, descending=asked.sort_desc)
    shown = found[asked.offset : asked.offset + asked.limit]
    more = b"true" if asked.offset + len(shown) < len(found) else b"false"
    told = b",".join(_told(by_category[each[0]], each) for each in shown)
    numbers = b'"total":%d,"offset":%d,"limit":%d' % (len(found), asked.offset, asked.limit)
    return b'{"results":[%b],%b,"has_more":%b}' % (told, numbers, more)


def _told(content: Content, found: Found) -> bytes:
    return content.shown.get(found[1]) or content.shown.setdefault(found[1], _made(content, found))


def _made(content: Content, found: Found) -> bytes:
    """A record with the name that searches have always used beside the one that reads have."""
    document, count = content.document(found[1]), found[2].__dict__.get("parameters_count")
    if count is None or (_COUNT in document and "parameters_count" in decode_object(document)):
        return document
    return b'%b,"parameters_count":%d}' % (document[:-1], count)
