"""The routes of reading: each takes what it needs, asks `Serving`, and answers. One factory serves both versions."""

# No `from __future__ import annotations` here: FastAPI could not see types that are local to the factory.
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Union

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, find_category, get_all_registered_categories
from horde_model_reference.domain.metadata import CategoryMetadata
from horde_model_reference.domain.records import GenericModelRecord, get_record_type_for_category
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.service.answers import Ready
from horde_model_reference.service.errors import RESPONSES
from horde_model_reference.service.renderings import Form
from horde_model_reference.service.schemas import (
    BackendInfo,
    CategoryLastUpdatedResponse,
    CategoryName,
    ContainsMessage,
    HeartbeatResponse,
    LastUpdatedResponse,
    Manifest,
)
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import CanonicalFormat as _Format
from horde_model_reference.settings import ReplicateMode

__all__ = ["V1_NAMES", "VERSIONS", "ApiVersion", "Served", "metadata_router", "reference_router", "root_router"]

_DOCS = "Its interface is documented at /api/docs."
_BUSY: dict[int | str, dict[str, Any]] = {503: RESPONSES[503]}
_ABSENT: dict[int | str, dict[str, Any]] = {status: RESPONSES[status] for status in (404, 422, 503)}
_PAST: dict[int | str, dict[str, Any]] = _ABSENT | {410: RESPONSES[410]}
At = Annotated[int | None, Query(ge=0, description="A past revision, of the `X-Reference-Revision` that answers carry")]


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


V1_NAMES = {
    "stable_diffusion": "image_generation",
    "stable_diffusion.json": "image_generation",
    "db.json": "text_generation",
}


async def _v1_category(model_category_name: str) -> str:
    return find_category(V1_NAMES.get(model_category_name) or model_category_name.removesuffix(".json"))


@dataclass(frozen=True)
class ApiVersion:
    """What differs between the two interfaces: how categories are listed and spelt, and what their operations are
    called; what the records of a category are, and which of the two formats its metadata counts."""

    name: str
    form: Form
    categories: Callable[[], list[str]]
    category: Callable[[str], Any]
    operations: str
    records: Any
    canonical: _Format


_RECORD_TYPES = (*map(get_record_type_for_category, get_all_registered_categories()), GenericModelRecord)
_RECORDS = dict[str, Union[_RECORD_TYPES]]  # type: ignore[valid-type]  # noqa: UP007  (of as many as there are)

VERSIONS = (
    ApiVersion(
        "v1",
        Form.V1,
        lambda: [*get_all_registered_categories()],
        _v1_category,
        "legacy",
        dict[str, Any],
        _Format.legacy,
    ),
    ApiVersion("v2", Form.V2, lambda: [*CANONICAL_CATEGORIES], _v2_category, "v2", _RECORDS, _Format.v2),
)


def root_router() -> APIRouter:
    """What the service says of itself."""
    router = APIRouter(tags=["default"], responses=_BUSY)

    @router.get("/", operation_id="read_root__get", response_model=ContainsMessage)
    async def read_root(serving: Served) -> Response:
        """A welcome, and where the documentation is."""
        return Ready(await serving.document({"message": f"This is the AI Horde model reference. {_DOCS}"}))

    @router.get("/heartbeat", operation_id="heartbeat_heartbeat_get")
    async def heartbeat(serving: Served) -> HeartbeatResponse:
        """Whether the service is up, and whether what it serves is as new as it should be."""
        return Ready(await serving.heartbeat())  # type: ignore[return-value]  # a Response goes as it is

    @router.get("/replicate_mode", operation_id="replicate_mode_replicate_mode_get", response_model=BackendInfo)
    async def replicate_mode(serving: Served) -> Response:
        """Whether this service owns the reference, in which format it accepts changes, and whether it does now."""
        mode = ReplicateMode.PRIMARY if serving.is_primary else ReplicateMode.REPLICA
        told = {"replicate_mode": mode, "canonical_format": serving.settings.canonical_format, "writable": False}
        return Ready(await serving.document(told))

    return router


def reference_router(version: ApiVersion) -> APIRouter:
    """The reads of one API version."""
    router = APIRouter(prefix=f"/model_references/{version.name}", tags=[version.name], responses=_ABSENT)
    _add_lists(router, version)
    if version.form is Form.V2:
        _add_v2(router)
    else:
        _add_text_with_groups(router)
    Category = Annotated[str, Depends(version.category)]  # noqa: N806  (a type)

    @router.get(
        "/{model_category_name}",
        operation_id=f"read_{version.operations}_reference",
        response_model=version.records,
        responses=_PAST,
    )
    async def read_category(serving: Served, category: Category, at: At = None) -> Response:
        """All records of a category by name."""
        return Ready(await serving.category(version.form, category, at))

    return router


def _add_lists(router: APIRouter, version: ApiVersion) -> None:
    @router.get("/info", operation_id=f"read_{version.operations}_reference_api_info", response_model=ContainsMessage)
    async def read_info(serving: Served) -> Response:
        """What this interface is."""
        told = f"This is version {version.name} of the model reference. {_DOCS}"
        return Ready(await serving.document({"message": told}))

    @router.get("/model_categories", operation_id=f"read_{version.operations}_references_names")
    async def read_names(serving: Served) -> list[CategoryName]:
        """The categories of this interface."""
        return Ready(await serving.document(version.categories()))  # type: ignore[return-value]  # a Response goes as it is


def _add_text_with_groups(router: APIRouter) -> None:
    @router.get("/text_generation", operation_id="read_legacy_text_generation_reference", responses=_PAST)
    async def read_text(serving: Served, include_group: bool = False, at: At = None) -> dict[str, Any]:
        """All text models; `include_group` adds to each the group it belongs to."""
        form = Form.V1_GROUPS if include_group else Form.V1
        return Ready(await serving.category(form, "text_generation", at))  # type: ignore[return-value]  # a Response goes as it is


def _add_v2(router: APIRouter) -> None:
    @router.get("/manifest", operation_id="read_v2_manifest", response_model=Manifest)
    async def read_manifest(serving: Served) -> Response:
        """Of every category that is served: how many records, bytes, and the entity tag."""
        return Ready(await serving.manifest())

    for category in get_all_registered_categories():
        _add_typed(router, category)

    @router.get("/{model_category_name}/model/{model_name:path}", operation_id="read_v2_single_model", responses=_PAST)
    async def read_model(
        serving: Served, category: Annotated[str, Depends(_v2_category)], model_name: str, at: At = None
    ) -> dict[str, Any]:
        """One record. Names may hold slashes, raw or encoded."""
        return Ready(await serving.model(category, model_name, at))  # type: ignore[return-value]  # a Response goes as it is


def _add_typed(router: APIRouter, category: str) -> None:
    record_type = get_record_type_for_category(category)

    async def read_all(serving: Served, at: At = None) -> Response:
        """All records of this category by name."""
        return Ready(await serving.category(Form.V2, category, at))

    async def read_one(serving: Served, model_name: str, at: At = None) -> Response:
        """One record of this category. Names may hold slashes, raw or encoded."""
        return Ready(await serving.model(category, model_name, at))

    for path, endpoint, many, told in (
        (f"/{category}", read_all, "all", dict[str, record_type]),  # type: ignore[valid-type]  # known at run time
        (f"/{category}/model/{{model_name:path}}", read_one, "one", record_type),
    ):
        operation = f"read_v2_{category}_{many}"
        router.add_api_route(path, endpoint, operation_id=operation, response_model=told, responses=_PAST)


def metadata_router(version: ApiVersion) -> APIRouter:
    """How often and when the categories changed; of the format in which this PRIMARY accepts changes."""
    prefix = f"/model_references/{version.name}/metadata"
    router = APIRouter(prefix=prefix, tags=[version.name, "metadata"], responses=_ABSENT)
    operations = f"{version.operations}"

    async def counted(serving: Served) -> Serving:
        if not serving.is_primary or serving.settings.canonical_format is not version.canonical:
            raise HTTPException(503, f"Only a PRIMARY that accepts changes in {version.name} keeps this metadata")
        return serving

    Counted = Annotated[Serving, Depends(counted)]  # noqa: N806  (a type)
    Category = Annotated[str, Depends(_v2_category)]  # noqa: N806  (a type)

    @router.get("/last_updated", operation_id=f"read_{operations}_last_updated", response_model=LastUpdatedResponse)
    async def last_updated(serving: Counted) -> Response:
        """When any category changed last."""
        return Ready(await serving.document({"last_updated": await asyncio.to_thread(serving.parts.last_updated)}))

    @router.get("/metadata", operation_id=f"read_all_{operations}_metadata")
    async def all_metadata(serving: Counted) -> dict[str, CategoryMetadata]:
        """The metadata of every category that ever had a record."""
        found = await asyncio.gather(*(_metadata(serving, category) for category in get_all_registered_categories()))
        told = {metadata.category: metadata.model_dump(mode="json") for metadata in found if metadata is not None}
        return Ready(await serving.document(told))  # type: ignore[return-value]  # a Response goes as it is

    @router.get(
        "/{model_category_name}/last_updated",
        operation_id=f"read_{operations}_category_last_updated",
        response_model=CategoryLastUpdatedResponse,
    )
    async def category_last_updated(serving: Counted, category: Category) -> Response:
        """When this category changed last."""
        found = await _metadata(serving, category)
        told = {"category": category, "last_updated": found.last_updated if found is not None else None}
        return Ready(await serving.document(told))

    @router.get("/{model_category_name}", operation_id=f"read_{operations}_category_metadata")
    async def category_metadata(serving: Counted, category: Category) -> CategoryMetadata:
        """The metadata of one category."""
        found = await _metadata(serving, category)
        if found is None:
            raise HTTPException(404, f"{category} never had a record")
        return Ready(await serving.document(found.model_dump(mode="json")))  # type: ignore[return-value]  # a Response goes as it is

    return router


async def _metadata(serving: Serving, category: str) -> CategoryMetadata | None:
    return await asyncio.to_thread(serving.parts.metadata, category)
