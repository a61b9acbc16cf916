"""The routes that propose changes: of v2, and of v1 where the canonical format is the legacy one."""

# No `from __future__ import annotations` here: see routes.py.
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from horde_model_reference.domain.categories import Category, get_all_registered_categories
from horde_model_reference.domain.changes import Actor, Change, Operation
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.records import get_record_type_for_category
from horde_model_reference.moderation.queue import Proposal, Queue
from horde_model_reference.service.errors import documented
from horde_model_reference.service.routes import OfV2, Served
from horde_model_reference.service.who import Approver, Moderated, Requestor, described, record_of, told
from horde_model_reference.settings import CanonicalFormat

__all__ = ["PendingChangeRecord", "legacy_writes_router", "writes_router"]

_FAILURES = documented(400, 401, 403, 404, 409, 413, 422, 429, 503)
_PATH = "/{model_category_name}/model/{model_name:path}"
_OBJECT = {"type": "object"}
_DONE = {"create": 201, "update": 200}
F = TypeVar("F", bound=Callable[..., Response])
Seen = Annotated[int | None, Header(alias="X-Reference-Revision", ge=0, description="What you had read")]


class PendingChangeRecord(Change):
    """A proposal and what became of it."""


class ModelMetadataCorrectionRequest(BaseModel):
    """What an approver knows better of a record's history; only what is given changes."""

    created_at: int | None = None
    created_by: str | None = None
    updated_at: int | None = None
    updated_by: str | None = None


async def _v2_queue(serving: Served, queue: Moderated) -> Queue:
    if serving.settings.canonical_format is not CanonicalFormat.v2:
        raise HTTPException(503, "This service accepts changes in the legacy format, under v1")
    return queue


V2Queue = Annotated[Queue, Depends(_v2_queue)]


async def _proposer(serving: Served, by: Requestor) -> Actor:
    if not serving.settings.pending_queue.enabled and "approver" not in by.roles:
        raise HTTPException(403, "The queue is turned off, so only approvers can change anything")
    return by


Proposer = Annotated[Actor, Depends(_proposer)]
Record = Annotated[dict[str, Any], record_of(Proposer)]


def _add_typed(route: Callable[..., Callable[[Callable[..., Response]], object]], category: Category) -> None:
    body = {"$ref": f"#/components/schemas/{get_record_type_for_category(category).__name__}"}

    @route("post", f"/{category}", f"create_v2_{category}", body)
    def create(serving: Served, queue: V2Queue, by: Proposer, record: Record, seen: Seen = None) -> Response:
        """Propose a new record of this category."""
        return _proposed(serving, queue, by, _proposal(category, "create", record, seen, f"create_v2_{category}"))

    @route("put", f"/{category}/model/{{model_name:path}}", f"update_v2_{category}", body)
    def update(
        serving: Served, queue: V2Queue, by: Proposer, model_name: str, record: Record, seen: Seen = None
    ) -> Response:
        """Propose how a record of this category shall be."""
        route = f"update_v2_{category}"
        return _proposed(serving, queue, by, _proposal(category, "update", record, seen, route, model_name))


def writes_router() -> APIRouter:
    """Proposals in v2: a record to create, to update, or to delete. The category of the path decides its class."""
    router = APIRouter(prefix="/model_references/v2", tags=["v2"])

    def route(method: str, path: str, operation: str, body: dict[str, Any] | None = None) -> Callable[[F], F]:
        shown = described(body) if body else {}
        facts: dict[str, Any] = {"response_model": PendingChangeRecord, "responses": _FAILURES, "openapi_extra": shown}
        made: Callable[[F], F] = getattr(router, method)(path, operation_id=operation, status_code=202, **facts)
        return made

    for category in get_all_registered_categories():
        _add_typed(route, category)

    @route("post", "/{model_category_name}/add", "create_v2_model", _OBJECT)
    def create_any(
        serving: Served, queue: V2Queue, by: Proposer, category: OfV2, record: Record, seen: Seen = None
    ) -> Response:
        """Propose a new record of any category."""
        return _proposed(serving, queue, by, _proposal(category, "create", record, seen, "create_v2_model"))

    @route("put", _PATH, "update_v2_model", _OBJECT)
    def update_any(
        serving: Served,
        queue: V2Queue,
        by: Proposer,
        category: OfV2,
        model_name: str,
        record: Record,
        seen: Seen = None,
    ) -> Response:
        """Propose how a record of any category shall be."""
        return _proposed(serving, queue, by, _proposal(category, "update", record, seen, "update_v2_model", model_name))

    @route("delete", _PATH, "delete_v2_model")
    def delete(
        serving: Served, queue: V2Queue, by: Proposer, category: OfV2, model_name: str, seen: Seen = None
    ) -> Response:
        """Propose that a record goes."""
        return _proposed(serving, queue, by, _proposal(category, "delete", None, seen, "delete_v2_model", model_name))

    return router


def legacy_writes_router() -> APIRouter:
    """Proposals in v1: the same with legacy entries."""
    router = APIRouter(prefix="/model_references/v1", tags=["v1_create_update"], responses=_FAILURES)
    answer: dict[int | str, dict[str, Any]] = {202: {"model": PendingChangeRecord}}

    def add_typed(category: Category) -> None:
        created, updated = f"create_legacy_{category}_model", f"update_legacy_{category}_model"
        updated = "update_legacy_model" if category == "image_generation" else updated
        shown: dict[str, Any] = {"response_model": dict[str, Any], "openapi_extra": described(_OBJECT)}

        @router.post(f"/{category}", operation_id=created, status_code=201, responses=answer, **shown)
        def create(serving: Served, queue: Moderated, by: Proposer, entry: Record, seen: Seen = None) -> Response:
            """Propose a new entry; with the queue turned off it is made at once."""
            return _proposed(serving, queue, by, _proposal(category, "create", entry, seen, created, None, "legacy"))

        @router.put(f"/{category}", operation_id=updated, responses=answer, **shown)
        def update(serving: Served, queue: Moderated, by: Proposer, entry: Record, seen: Seen = None) -> Response:
            """Propose how an entry shall be; with the queue turned off it is so at once."""
            name = str(entry.get("name", ""))
            return _proposed(serving, queue, by, _proposal(category, "update", entry, seen, updated, name, "legacy"))

    for category, kind in get_all_registered_categories().items():
        if kind.has_legacy_format:
            add_typed(category)
    gone: dict[int | str, dict[str, Any]] = {202: {"model": PendingChangeRecord}, 204: {"description": "It is gone"}}

    @router.delete(_PATH, operation_id="delete_legacy_model", response_model=dict[str, Any], responses=gone)
    def delete(
        serving: Served, queue: Moderated, by: Proposer, category: OfV2, model_name: str, seen: Seen = None
    ) -> Response:
        """Propose that an entry goes; with the queue turned off it goes at once."""
        name = "delete_legacy_model"
        return _proposed(serving, queue, by, _proposal(category, "delete", None, seen, name, model_name, "legacy"))

    known: Any = {"openapi_extra": described(ModelMetadataCorrectionRequest.model_json_schema())}
    Correction = Annotated[ModelMetadataCorrectionRequest, told(ModelMetadataCorrectionRequest, Approver)]  # noqa: N806  (a type)

    @router.put(f"{_PATH}/metadata", operation_id="set_legacy_model_metadata", response_model=dict[str, Any], **known)
    def set_metadata(queue: Moderated, by: Approver, category: OfV2, model_name: str, asked: Correction) -> Response:
        """Correct what is known of a record's history; at once, and in the audit log like any change."""
        metadata = queue.correct(category, model_name, asked.model_dump(exclude_none=True), by)
        return JSONResponse({"model_name": model_name, "category": category, "metadata": metadata})

    return router


def _proposal(
    category: Category,
    operation: Operation,
    record: "JsonObject | None",
    seen: int | None,
    route: str,
    name: str | None = None,
    domain: Literal["v2", "legacy"] = "v2",
) -> Proposal:
    """What the request asks for; its path, where that names a model, and its body must agree."""
    given = str((record or {}).get("name") or "")
    if not (name or given):
        raise RequestValidationError([{"type": "missing", "loc": ("body", "name"), "msg": "Field required"}])
    if name is not None and given not in ("", name):
        raise HTTPException(400, f"The record is named {given!r}, but the path names {name!r}")
    return Proposal(category, name or given, operation, record, domain, seen, route=route)


def _proposed(serving: Served, queue: Queue, by: Actor, proposal: Proposal) -> Response:
    """Put it into the queue, or with the queue turned off make it so."""
    if (settings := serving.settings.pending_queue).enabled:
        change = queue.propose(proposal, by)
        asks = BackgroundTask(queue.look_again, change.change_id) if settings.checked_hosts else None
        return _told(change, asks)
    change = queue.write(proposal, by)
    if proposal.domain == "v2":
        return _told(change)
    is_gone = proposal.operation == "delete"
    return Response(status_code=204) if is_gone else JSONResponse(change.payload, _DONE[proposal.operation])


def _told(change: Change, then: BackgroundTask | None = None) -> Response:
    return JSONResponse(change.model_dump(mode="json", exclude_none=True), 202, background=then)
