"""Searching over HTTP: which records, in which order, which page; the records come as every read has them."""

# No `from __future__ import annotations` here: see routes.py.
import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import chain
from typing import Annotated, Any, get_type_hints
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field, ValidationError, create_model
from starlette.responses import Response
from starlette.types import Scope

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.query import Found, Search, Unsortable, in_order
from horde_model_reference.errors import HordeModelReferenceError
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.service.errors import documented
from horde_model_reference.service.renderings import Content, Form
from horde_model_reference.service.routes import Served
from horde_model_reference.service.serving import Serving

__all__ = ["search_router", "searched"]

_COUNT = b'"parameters_count":'
_SOURCES = ("horde", "any")
_PATH = re.compile(r"(?:/api)?/model_references/v2/(?:(\w+)/)?search")
_LISTS = ("tags_any", "tags_all", "tags_none")
_ALL = "search_all_model_references_v2_search_get"
_ONE = "search_category_model_references_v2__model_category_name__search_get"
_AT_ONCE = 2_000
"""Among so many records a search takes a millisecond, less than handing it to a thread and waiting for it."""


class _Asked(BaseModel):
    """An order and a page; what the two searches take beside it follows from `Search`."""

    sort_by: str | None = None
    sort_desc: bool = False
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0)


_HINTS = get_type_hints(Search)
_FILTERS: dict[str, Any] = {field.name: (_HINTS[field.name], field.default) for field in fields(Search)}
_OF_ONE = ("baseline", "inpainting", "backend", "exclude_backend_variations", "quantized")
_OF_ALL = {name: field for name, field in _FILTERS.items() if name not in _OF_ONE}
_AskedOfAll = create_model("SearchQuestion", __base__=_Asked, **_OF_ALL)
_AskedOfOne = create_model("SearchQuestionOfCategory", __base__=_Asked, source=(str, "horde"), **_FILTERS)


class SearchResponse(BaseModel):
    """One page of what was found."""

    results: list[dict[str, Any]]
    total: int
    offset: int
    limit: int
    has_more: bool


def search_router() -> APIRouter:
    """The two searches. Goes before the categories: one path looks like one of theirs."""
    router = APIRouter(prefix="/model_references/v2", tags=["v2", "search"], responses=documented(400, 422, 503))
    OfAll = Annotated[_AskedOfAll, Query()]  # type: ignore[valid-type]  # noqa: N806  (a type, made at run time)
    OfOne = Annotated[_AskedOfOne, Query()]  # type: ignore[valid-type]  # noqa: N806  (as above)

    @router.get("/search", operation_id=_ALL, response_model=SearchResponse)
    async def search_all(serving: Served, asked: OfAll) -> Response:
        """Records of all categories; without an order, category by category in the order they were created."""
        return await _found(serving, asked)

    @router.get("/{model_category_name}/search", operation_id=_ONE, response_model=SearchResponse)
    async def search_category(serving: Served, model_category_name: str, asked: OfOne) -> Response:
        """Records of one category; without an order, as they were created."""
        return await _found(serving, asked, model_category_name)

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
    scope["operation"], question = (_ALL, _AskedOfAll) if path[1] is None else (_ONE, _AskedOfOne)
    with suppress(ValidationError, HTTPException, Unsortable, HordeModelReferenceError):
        return await _found(serving, question.model_validate(said), path[1])
    return None


async def _found(serving: Serving, asked: _Asked, category: str | None = None) -> Response:
    if (source := getattr(asked, "source", "any")) not in _SOURCES:
        raise HTTPException(400, f"There is no source {source!r} here, only {' and '.join(_SOURCES)}")
    if category is None:
        renderings = await serving.origin.renderings(get_all_registered_categories())
    else:
        renderings = [await serving.origin.rendering(Form.V2, category)]
    contents = [rendering.content for rendering in renderings]
    if sum(len(content.pieces) for content in contents) <= _AT_ONCE:
        page = _page(asked, contents)
    else:
        async with serving.searching:
            page = await asyncio.to_thread(_page, asked, contents)
    revisions = [rendering.revision for rendering in renderings if rendering.revision is not None]
    return await serving.document(page, min(revisions, default=None))


def _page(asked: _Asked, contents: Sequence[Content]) -> bytes:
    by_category = {content.category: content for content in contents}
    search = Search(**{name: value for name, value in asked.__dict__.items() if name in _FILTERS})
    among = chain.from_iterable(content.listed for content in contents)
    found = search.among(among, contents[0].narrowed if len(contents) == 1 else None)
    if asked.sort_by is not None:
        found = in_order(found, asked.sort_by, descending=asked.sort_desc)
    shown = found[asked.offset : asked.offset + asked.limit]
    more = b"true" if asked.offset + len(shown) < len(found) else b"false"
    told = b",".join([by_category[each[0]].shown.get(each[1]) or _told(by_category[each[0]], each) for each in shown])
    numbers = b'"total":%d,"offset":%d,"limit":%d' % (len(found), asked.offset, asked.limit)
    return b'{"results":[%b],%b,"has_more":%b}' % (told, numbers, more)


def _told(content: Content, found: Found) -> bytes:
    """A record with the name that searches have always used beside the one that reads have."""
    told, count = content.document(found[1]), found[2].__dict__.get("parameters_count")
    if count is not None and not (_COUNT in told and "parameters_count" in decode_object(told)):
        told = b'%b,"parameters_count":%d}' % (told[:-1], count)
    content.shown[found[1]] = told
    return told
