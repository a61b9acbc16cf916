"""The routes: each takes what it needs, asks `Serving`, and answers. One factory serves both API versions."""

# No `from __future__ import annotations` here: FastAPI could not see types that are local to the factory.
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError

from horde_model_reference.domain.categories import (
    CANONICAL_CATEGORIES,
    MODEL_REFERENCE_CATEGORY,
    find_category,
    get_all_registered_categories,
)
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.service.serving import Body, Serving
from horde_model_reference.settings import ReplicateMode

__all__ = ["VERSIONS", "ApiVersion", "reference_router", "root_router"]


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


Served = Annotated[Serving, Depends(_serving)]
IfNoneMatch = Annotated[str | None, Header(alias="if-none-match", include_in_schema=False)]


def _v2_category(model_category_name: str) -> str:
    try:
        return find_category(model_category_name)
    except UnknownCategory as error:
        expected = " or ".join(", ".join(map(repr, error.known)).rsplit(", ", 1))
        fault = {
            "type": "enum",
            "loc": ("path", "model_category_name"),
            "msg": f"Input should be {expected}",
            "input": model_category_name,
            "ctx": {"expected": expected},
        }
        raise RequestValidationError([fault]) from None


_V1_NAMES = {
    "stable_diffusion": MODEL_REFERENCE_CATEGORY.image_generation,
    "db": MODEL_REFERENCE_CATEGORY.text_generation,
}


def _v1_category(model_category_name: str) -> str:
    name = model_category_name.removesuffix(".json")
    if name == "db" and not model_category_name.endswith(".json"):
        raise UnknownCategory(model_category_name, tuple(get_all_registered_categories()))
    return find_category(_V1_NAMES.get(name, name))


@dataclass(frozen=True)
class ApiVersion:
    """What differs between the two interfaces: the prefix, how categories are spelt, and who renders them."""

    name: str
    categories: Callable[[], list[str]]
    category: Callable[[str], str]
    body: Callable[[Serving, str], Body]
    operations: str
    model: Callable[[Serving, str, str], Body] | None = None


VERSIONS = (
    ApiVersion("v1", lambda: list(get_all_registered_categories()), _v1_category, Serving.v1, "legacy"),
    ApiVersion("v2", lambda: list(CANONICAL_CATEGORIES), _v2_category, Serving.v2, "v2", model=Serving.v2_model),
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
    def read_category(serving: Served, category: Category, if_none_match: IfNoneMatch = None) -> Response:
        """All records of a category by name."""
        return _answer(version.body(serving, category), if_none_match)

    if version.model is not None:
        one = version.model

        @router.get("/{model_category_name}/model/{model_name:path}", operation_id="read_v2_single_model")
        def read_model(
            serving: Served, category: Category, model_name: str, if_none_match: IfNoneMatch = None
        ) -> Response:
            """One record. Names may hold slashes, raw or encoded."""
            return _answer(one(serving, category, model_name), if_none_match)

    return router


def _answer(body: Body, if_none_match: str | None) -> Response:
    headers = {"ETag": body.etag, "Cache-Control": "no-cache"}
    if body.revision is not None:
        headers["X-Reference-Revision"] = str(body.revision)
    if if_none_match is not None and _matches(if_none_match, body.etag):
        return Response(status_code=304, headers=headers)
    return Response(body.data, media_type="application/json", headers=headers)


def _matches(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
