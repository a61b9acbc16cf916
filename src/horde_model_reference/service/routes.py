"""The routes of reading: each takes what it needs, asks `Serving`, and answers. One factory serves both versions."""

# No `from __future__ import annotations` here: FastAPI could not see types that are local to the factory.
import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Union

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, WithJsonSchema

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, find_category, get_all_registered_categories
from horde_model_reference.domain.records import GenericModelRecord, get_record_type_for_category
from horde_model_reference.domain.snapshots import CategoryMetadata
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.service.errors import documented
from horde_model_reference.service.renderings import Form
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import CanonicalFormat, ReplicateMode

__all__ = ["V1_NAMES", "VERSIONS", "ApiVersion", "CategoryName", "Served", "metadata_router", "reference_router"]
__all__ += ["root_router"]

_DOCS = "Its interface is documented at /api/docs."
_PAST = documented(404, 410, 422, 503)
_IMAGE, _TEXT = "image_generation", "text_generation"
At = Annotated[int | None, Query(ge=0, description="A past revision, of the `X-Reference-Revision` that answers carry")]
CategoryName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*get_all_registered_categories()]})]


class ContainsMessage(BaseModel):
    """Something for people."""

    message: str


class BackendInfo(BaseModel):
    """Whether a service owns the reference, in which format it accepts changes, and whether it does now."""

    replicate_mode: ReplicateMode
    canonical_format: CanonicalFormat
    writable: bool


class AIHordeStatus(BaseModel):
    """How asking the AI Horde went lately."""

    degraded: bool
    consecutive_failures: int
    seconds_until_retry: float | None


class HeartbeatResponse(BaseModel):
    """`ok`, or `degraded` where what is served is older than it should be: its `revision`, `age`, what is `stale`."""

    status: str
    ai_horde: AIHordeStatus
    reference: dict[str, int | list[str]]


class LastUpdatedResponse(BaseModel):
    """Unix seconds of the last change of any category; null where there never was one."""

    last_updated: int | None


class CategoryLastUpdatedResponse(LastUpdatedResponse):
    """The same of one category."""

    category: str


class Manifest(BaseModel):
    """Everything that is served, at one revision: of each category `count`, and `bytes` and `etag` without a coding."""

    revision: int
    categories: dict[str, dict[str, int | str]]


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


Served = Annotated[Serving, Depends(_serving)]


async def _v2_category(model_category_name: CategoryName) -> str:
    """A category of v2; what is none is the fault that FastAPI finds with a value outside an enumeration."""
    try:
        return find_category(model_category_name)
    except UnknownCategory as error:
        expected = " or ".join(", ".join(map(repr, error.known)).rsplit(", ", 1))
        fault = {"type": "enum", "loc": ("path", "model_category_name"), "msg": f"Input should be {expected}"}
        raise RequestValidationError([fault | {"input": model_category_name, "ctx": {"expected": expected}}]) from None


OfV2 = Annotated[str, Depends(_v2_category)]
V1_NAMES = {"stable_diffusion": _IMAGE, "stable_diffusion.json": _IMAGE, "db.json": _TEXT}


async def _v1_category(model_category_name: str) -> str:
    return find_category(V1_NAMES.get(model_category_name) or model_category_name.removesuffix(".json"))


@dataclass(frozen=True)
class ApiVersion:
    """What differs between the two interfaces: how categories are listed and spelt, and what their operations are
    called; what the records of a category are, and which of the two formats its metadata counts."""

    name: str
    form: Form
    categories: Callable[[], Iterable[str]]
    category: Callable[[str], Any]
    operations: str
    records: Any
    canonical: CanonicalFormat


_TYPES = (*map(get_record_type_for_category, get_all_registered_categories()), GenericModelRecord)
_RECORDS = dict[str, Union[_TYPES]]  # type: ignore[valid-type]  # noqa: UP007  (of as many as there are)
_V1_CATEGORIES, _V2_CATEGORIES = get_all_registered_categories, lambda: CANONICAL_CATEGORIES
VERSIONS = (
    ApiVersion("v1", Form.V1, _V1_CATEGORIES, _v1_category, "legacy", dict[str, Any], CanonicalFormat.legacy),
    ApiVersion("v2", Form.V2, _V2_CATEGORIES, _v2_category, "v2", _RECORDS, CanonicalFormat.v2),
)


def root_router() -> APIRouter:
    """What the service says of itself."""
    router = APIRouter(tags=["default"], responses=documented(503))

    @router.get("/", operation_id="read_root__get", response_model=ContainsMessage)
    async def read_root(serving: Served) -> Response:
        """A welcome, and where the documentation is."""
        return await serving.document({"message": f"This is the AI Horde model reference. {_DOCS}"})

    @router.get("/heartbeat", operation_id="heartbeat_heartbeat_get", response_model=HeartbeatResponse)
    async def heartbeat(serving: Served) -> Response:
        """Whether the service is up, and whether what it serves is as new as it should be."""
        return await serving.heartbeat()

    @router.get("/replicate_mode", operation_id="replicate_mode_replicate_mode_get", response_model=BackendInfo)
    async def replicate_mode(serving: Served) -> Response:
        """Whether this service owns the reference, in which format it accepts changes, and whether it does now."""
        mode = ReplicateMode.PRIMARY if serving.is_primary else ReplicateMode.REPLICA
        kind = serving.settings.canonical_format
        told = {"replicate_mode": mode, "canonical_format": kind, "writable": serving.is_primary}
        return await serving.document(told)

    return router


def reference_router(version: ApiVersion) -> APIRouter:
    """The reads of one API version."""
    prefix, name = f"/model_references/{version.name}", f"read_{version.operations}_reference"
    router = APIRouter(prefix=prefix, tags=[version.name], responses=documented(404, 422, 503))

    @router.get("/info", operation_id=f"{name}_api_info", response_model=ContainsMessage)
    async def read_info(serving: Served) -> Response:
        """What this interface is."""
        return await serving.document({"message": f"This is version {version.name} of the model reference. {_DOCS}"})

    @router.get("/model_categories", operation_id=f"{name}s_names", response_model=list[CategoryName])
    async def read_names(serving: Served) -> Response:
        """The categories of this interface."""
        return await serving.document([*version.categories()])

    (_add_v2 if version.form is Form.V2 else _add_text_with_groups)(router)
    Category = Annotated[str, Depends(version.category)]  # noqa: N806  (a type)

    @router.get("/{model_category_name}", operation_id=name, response_model=version.records, responses=_PAST)
    async def read_category(serving: Served, category: Category, at: At = None) -> Response:
        """All records of a category by name."""
        return await serving.category(version.form, category, at)

    return router


def _add_text_with_groups(router: APIRouter) -> None:
    name = f"read_legacy_{_TEXT}_reference"

    @router.get(f"/{_TEXT}", operation_id=name, response_model=dict[str, Any], responses=_PAST)
    async def read_text(serving: Served, include_group: bool = False, at: At = None) -> Response:
        """All text models; `include_group` adds to each the group it belongs to."""
        return await serving.category(Form.V1_GROUPS if include_group else Form.V1, _TEXT, at)


def _add_v2(router: APIRouter) -> None:
    @router.get("/manifest", operation_id="read_v2_manifest", response_model=Manifest)
    async def read_manifest(serving: Served) -> Response:
        """Of every category that is served: how many records, bytes, and the entity tag."""
        return await serving.manifest()

    for category in get_all_registered_categories():
        _add_typed(router, category)

    path, name = "/{model_category_name}/model/{model_name:path}", "read_v2_single_model"

    @router.get(path, operation_id=name, response_model=dict[str, Any], responses=_PAST)
    async def read_model(serving: Served, category: OfV2, model_name: str, at: At = None) -> Response:
        """One record. Names may hold slashes, raw or encoded."""
        return await serving.category(Form.V2, category, at, model_name)


def _add_typed(router: APIRouter, category: str) -> None:
    told, name = get_record_type_for_category(category), f"read_v2_{category}"
    many = dict[str, told]  # type: ignore[valid-type]  # known at run time
    path = f"/{category}/model/{{model_name:path}}"

    @router.get(f"/{category}", operation_id=f"{name}_all", response_model=many, responses=_PAST)
    async def read_all(serving: Served, at: At = None) -> Response:
        """All records of this category by name."""
        return await serving.category(Form.V2, category, at)

    @router.get(path, operation_id=f"{name}_one", response_model=told, responses=_PAST)
    async def read_one(serving: Served, model_name: str, at: At = None) -> Response:
        """One record of this category. Names may hold slashes, raw or encoded."""
        return await serving.category(Form.V2, category, at, model_name)


def metadata_router(version: ApiVersion) -> APIRouter:
    """How often and when the categories changed; of the format in which this PRIMARY accepts changes."""
    prefix, name = f"/model_references/{version.name}/metadata", version.operations
    router = APIRouter(prefix=prefix, tags=[version.name, "metadata"], responses=documented(404, 422, 503))

    async def counted(serving: Served) -> Serving:
        if not serving.is_primary or serving.settings.canonical_format is not version.canonical:
            raise HTTPException(503, f"Only a PRIMARY that accepts changes in {version.name} keeps this metadata")
        return serving

    Counted = Annotated[Serving, Depends(counted)]  # noqa: N806  (a type)

    @router.get("/last_updated", operation_id=f"read_{name}_last_updated", response_model=LastUpdatedResponse)
    async def last_updated(serving: Counted) -> Response:
        """When any category changed last."""
        return await serving.document({"last_updated": await asyncio.to_thread(serving.parts.last_updated)})

    @router.get("/metadata", operation_id=f"read_all_{name}_metadata", response_model=dict[str, CategoryMetadata])
    async def all_metadata(serving: Counted) -> Response:
        """The metadata of every category that ever had a record."""
        found = await asyncio.to_thread(lambda: [*map(serving.parts.metadata, get_all_registered_categories())])
        return await serving.document({each.category: each.model_dump(mode="json") for each in found if each})

    when = f"read_{name}_category_last_updated"

    @router.get("/{model_category_name}/last_updated", operation_id=when, response_model=CategoryLastUpdatedResponse)
    async def category_last_updated(serving: Counted, category: OfV2) -> Response:
        """When this category changed last."""
        found = await asyncio.to_thread(serving.parts.last_updated, category)
        return await serving.document({"category": category, "last_updated": found})

    @router.get(
        "/{model_category_name}", operation_id=f"read_{name}_category_metadata", response_model=CategoryMetadata
    )
    async def category_metadata(serving: Counted, category: OfV2) -> Response:
        """The metadata of one category."""
        if (found := await asyncio.to_thread(serving.parts.metadata, category)) is None:
            raise HTTPException(404, f"{category} never had a record")
        return await serving.document(found.model_dump(mode="json"))

    return router
