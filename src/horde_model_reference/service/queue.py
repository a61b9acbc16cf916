"""The routes of the queue: list, look, decide, apply, revert, and the audit of it all; the same under v1 and v2."""

# No `from __future__ import annotations` here: see routes.py.
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import JSONResponse, StreamingResponse

from horde_model_reference.domain.changes import Change, Status
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.moderation.audit import (
    audited,
    batch_summary,
    exported,
    net_changes,
    shown_difference,
    with_events,
)
from horde_model_reference.moderation.queue import Applied
from horde_model_reference.service.errors import documented, failure, status_of
from horde_model_reference.service.routes import CategoryName, OfV2, Served
from horde_model_reference.service.who import AnyUser, Approver, Moderated, Requestor, described, record_of, told
from horde_model_reference.service.writes import PendingChangeRecord
from horde_model_reference.settings import CanonicalFormat
from horde_model_reference.stores.queue import ChangeFilter

__all__ = ["pending_router", "queue_router"]

F = TypeVar("F", bound=Callable[..., Response])
_Text = Annotated[str, StringConstraints(strip_whitespace=True)]
Title = Annotated[_Text, StringConstraints(min_length=1, max_length=120)]
Reason = Annotated[_Text, StringConstraints(max_length=500)]
Job = Annotated[_Text, StringConstraints(max_length=120)]
Statuses = Annotated[list[Status] | None, Query()]
Categories = Annotated[list[CategoryName] | None, Query()]
Number = Annotated[int, Field(gt=-(2**63), lt=2**63)]  # what a database can hold
Offset = Annotated[Number, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=500)]
Domain = Annotated[
    CanonicalFormat | None, Query(alias="domain_override", description="Kept for old clients: there is one queue")
]
_OPEN = (Status.pending, Status.approved)
_READ, _WRITE = documented(401, 404, 422, 429, 503), documented(400, 401, 403, 404, 409, 422, 429, 503)


class PendingQueuePage(BaseModel):
    """Some of the changes that were asked for, and how many there are."""

    items: list[PendingChangeRecord]
    total: int
    offset: int
    limit: int | None


class PurgePendingChangesRequest(BaseModel):
    """Which changes to take out for good: a filter, or all; `dry_run` only tells which."""

    statuses: list[Status] | None = None
    categories: list[str] | None = None
    model_name: Annotated[str, StringConstraints(max_length=200)] | None = None
    requested_by: list[str] | None = None
    purge_all: bool = False
    dry_run: bool = False


class PendingBatchRequest(BaseModel):
    """A decision: what is approved, what is rejected and why. `override_reason`: why a change of one's own is right."""

    batch_title: Title
    approved_ids: list[Number] | None = None
    rejected_ids: list[Number] | None = None
    reject_reason: Reason | None = None
    override_reason: Reason = ""


class ApplyPendingChangeRequest(BaseModel):
    """`job_id` makes it safe to ask again."""

    job_id: Job | None = None


class ApplyPendingChangesRequest(ApplyPendingChangeRequest):
    """Approved changes of one batch. Without `atomic` what can be applied is, and the answer tells what could not."""

    change_ids: Annotated[list[Number], Query(min_length=1)]
    allow_mixed_batch: bool = False
    atomic: bool = True


class ReasonRequest(BaseModel):
    """Why."""

    reason: Annotated[Reason, StringConstraints(min_length=1)]


class CommentRequest(BaseModel):
    """What there is to say."""

    text: Annotated[_Text, StringConstraints(min_length=1, max_length=5_000)]


def queue_router(version: str) -> APIRouter:
    """The queue under one version; names of operations are made of names and paths, as clients know them."""
    tags: list[Any] = [version, "pending_queue"]
    router = APIRouter(prefix=f"/model_references/{version}/pending_queue", tags=tags, responses=_READ)
    _add_reading(router)
    _add_deciding(router)
    _add_applying(router)
    _add_proposers(router)
    _add_audit(router)
    return router


def _add_reading(router: APIRouter) -> None:
    @router.get("/changes", response_model=PendingQueuePage)
    def list_pending_changes(
        queue: Moderated,
        statuses: Statuses = None,
        categories: Categories = None,
        batch_id: Annotated[Number | None, Query(ge=1)] = None,
        model_name: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
        requested_by: Annotated[list[str] | None, Query()] = None,
        offset: Offset = 0,
        limit: Limit = 50,
    ) -> Response:
        """Changes in the order they were proposed; each filter that is given must hold."""
        which = ChangeFilter(statuses, categories, requested_by, batch_id, None, model_name)
        return _page(*queue.page(which, offset=offset, limit=limit), offset, limit)

    @router.get("/my_changes", response_model=PendingQueuePage, responses=documented(403))
    def list_my_pending_changes(
        queue: Moderated,
        by: Requestor,
        statuses: Statuses = None,
        categories: Categories = None,
        offset: Offset = 0,
        limit: Limit = 50,
    ) -> Response:
        """What I proposed."""
        which = ChangeFilter(statuses, categories, [by.id])
        return _page(*queue.page(which, offset=offset, limit=limit), offset, limit)

    @router.get("/changes/{change_id}", response_model=PendingChangeRecord)
    def read_pending_change(queue: Moderated, change_id: Number) -> Response:
        """One change."""
        return JSONResponse(queue.change(change_id).model_dump(mode="json"))

    @router.get("/changes/{change_id}/diff", response_model=dict[str, Any])
    def get_pending_change_diff(queue: Moderated, change_id: Number) -> Response:
        """What it would change, or did: field by field, and in words."""
        change = queue.change(change_id)
        return JSONResponse(shown_difference(change, *queue.states(change)))

    @router.get("/diffs", response_model=dict[str, Any], responses=documented(400))
    def get_pending_changes_diffs(
        queue: Moderated, change_ids: Annotated[list[Number], Query(min_length=1, max_length=100)]
    ) -> Response:
        """The same of many; `errors` tells of those that are not there."""
        wanted = list(dict.fromkeys(change_ids))
        found = {change.change_id: change for change in queue.page(ChangeFilter(change_ids=wanted))[0]}
        diffs = [shown_difference(found[each], *queue.states(found[each])) for each in wanted if each in found]
        gone = [{"change_id": each, "error": "Change not found", "error_type": "NotFound"} for each in wanted]
        errors = [each for each in gone if each["change_id"] not in found]
        return JSONResponse({"diffs": diffs, "total": len(wanted), "errors": errors})


def _asking(router: APIRouter, path: str, asked: type[BaseModel], answer: Any = dict[str, Any]) -> Callable[[F], F]:
    shown = described(asked.model_json_schema())
    return router.post(path, response_model=answer, responses=_WRITE, openapi_extra=shown)


def _add_deciding(router: APIRouter) -> None:
    Purge = Annotated[PurgePendingChangesRequest, told(PurgePendingChangesRequest, Approver)]  # noqa: N806  (a type)
    Decision = Annotated[PendingBatchRequest, told(PendingBatchRequest, Approver)]  # noqa: N806  (a type)

    @_asking(router, "/purge", PurgePendingChangesRequest)
    def purge_pending_changes(queue: Moderated, by: Approver, asked: Purge) -> Response:
        """Take changes out of the queue for good; the log keeps what happened to them."""
        given = asked.model_dump(exclude={"purge_all", "dry_run"}, exclude_none=True)
        if not given and not asked.purge_all:
            raise HTTPException(400, "Say which changes, or purge_all")
        removed = queue.purge(ChangeFilter(**given), by, dry_run=asked.dry_run)
        return JSONResponse({"removed_count": len(removed), "removed_change_ids": removed, "dry_run": asked.dry_run})

    @_asking(router, "/batches", PendingBatchRequest)
    def process_pending_batch(queue: Moderated, by: Approver, asked: Decision) -> Response:
        """Approve and reject, all or nothing; what is approved joins the batch that is open."""
        if not (asked.approved_ids or asked.rejected_ids):
            raise HTTPException(400, "Say what is approved or rejected")
        if asked.rejected_ids and not asked.reject_reason:
            raise HTTPException(400, "Say why it is rejected: reject_reason")
        batch, yes, no = queue.decide(
            asked.batch_title,
            by,
            approved=asked.approved_ids or (),
            rejected=asked.rejected_ids or (),
            reason=asked.reject_reason or "",
            override=asked.override_reason,
        )
        told = {
            "approved": [c.model_dump(mode="json") for c in yes],
            "rejected": [c.model_dump(mode="json") for c in no],
        }
        return JSONResponse({"batch_id": batch, "batch_title": asked.batch_title, **told})


def _add_applying(router: APIRouter) -> None:
    One = Annotated[ApplyPendingChangeRequest, told(ApplyPendingChangeRequest, Approver)]  # noqa: N806  (a type)
    Many = Annotated[ApplyPendingChangesRequest, told(ApplyPendingChangesRequest, Approver)]  # noqa: N806  (a type)
    Why = Annotated[ReasonRequest, told(ReasonRequest, Approver)]  # noqa: N806  (a type)

    @_asking(router, "/changes/{change_id}/apply", ApplyPendingChangeRequest)
    def apply_pending_change_endpoint(queue: Moderated, by: Approver, change_id: Number, asked: One) -> Response:
        """Make an approved change true."""
        done = queue.apply([change_id], by, job_id=asked.job_id or "")
        return JSONResponse({"record": _plain(done.changes[0]), "batch_split_occurred": False})

    @_asking(router, "/apply", ApplyPendingChangesRequest)
    def apply_pending_changes_endpoint(queue: Moderated, by: Approver, asked: Many) -> Response:
        """Make approved changes true, in that order: all or none."""
        mixed, job = asked.allow_mixed_batch, asked.job_id or ""
        return _done(queue.apply(asked.change_ids, by, job_id=job, atomic=asked.atomic, mixed=mixed))

    @router.post("/apply_batch/{batch_id}", response_model=dict[str, Any], responses=_WRITE)
    def apply_batch_endpoint(
        queue: Moderated,
        by: Approver,
        batch_id: Number,
        job_id: Annotated[str | None, Query(max_length=120)] = None,
        atomic: bool = True,
    ) -> Response:
        """Make everything true that is approved in a batch: all or none."""
        return _done(queue.apply_batch(batch_id, by, job_id=(job_id or "").strip(), atomic=atomic))

    @_asking(router, "/changes/{change_id}/revert", ReasonRequest, PendingChangeRecord)
    def revert_applied_change(queue: Moderated, by: Approver, change_id: Number, asked: Why) -> Response:
        """Take an applied change back, at once: the record is what it was before."""
        return JSONResponse(_plain(queue.revert(change_id, by, asked.reason)))


def _add_proposers(router: APIRouter) -> None:
    def route(path: str, method: str = "post", body: type[BaseModel] | None = None) -> Callable[[F], F]:
        shown = described(body.model_json_schema() if body else {"type": "object"}) if body or method == "put" else {}
        facts: dict[str, Any] = {"response_model": PendingChangeRecord, "responses": _WRITE, "openapi_extra": shown}
        made: Callable[[F], F] = getattr(router, method)(f"/changes/{{change_id}}{path}", **facts)
        return made

    @route("", "put")
    def edit_pending_change(
        queue: Moderated, by: Requestor, change_id: Number, payload: Annotated[dict[str, Any], record_of(Requestor)]
    ) -> Response:
        """Say it better: the whole record again. Only its proposer can, as long as nobody has decided."""
        return JSONResponse(_plain(queue.edit(change_id, payload, by)))

    @route("/withdraw", body=ReasonRequest)
    def withdraw_pending_change(
        queue: Moderated,
        by: Requestor,
        change_id: Number,
        asked: Annotated[ReasonRequest, told(ReasonRequest, Requestor)],
    ) -> Response:
        """Take it back. Only its proposer can."""
        return JSONResponse(_plain(queue.withdraw(change_id, by, asked.reason)))

    @route("/rebase")
    def rebase_pending_change(queue: Moderated, by: Requestor, change_id: Number) -> Response:
        """Propose the same against the record as it is now; the old proposal is withdrawn."""
        return JSONResponse(_plain(queue.rebase(change_id, by)))

    @route("/comments", body=CommentRequest)
    def comment_on_pending_change(
        queue: Moderated,
        by: AnyUser,
        change_id: Number,
        asked: Annotated[CommentRequest, told(CommentRequest, Requestor)],
    ) -> Response:
        """Say something about it."""
        return JSONResponse(_plain(queue.comment(change_id, asked.text, by)))

    @route("/review")
    def review_pending_change(queue: Moderated, _by: Requestor, change_id: Number) -> Response:
        """Let the machine look at it once more."""
        return JSONResponse(_plain(queue.look_again(change_id)))


def _add_audit(router: APIRouter) -> None:
    tags: list[Any] = ["audit"]

    @router.get("/audit/current", response_model=dict[str, Any], tags=tags)
    def get_current_pending_changes(serving: Served, queue: Moderated, domain: Domain = None) -> Response:
        """What waits, with everything that happened to it."""
        changes = with_events(*audited(queue, ChangeFilter(statuses=[Status.pending])))
        domain = domain or serving.settings.canonical_format
        told = {"domain": domain, "pending_changes": changes, "total_pending": len(changes)}
        return JSONResponse({**told, "generated_at": int(time.time())})

    @router.get("/audit/batches", response_model=dict[str, Any], tags=tags)
    def list_pending_queue_batches(
        serving: Served,
        queue: Moderated,
        cursor: Annotated[Number | None, Query(ge=1)] = None,
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        domain: Domain = None,
    ) -> Response:
        """Batches, newest first; `next_cursor` goes on."""
        with queue.store.queue() as rows:
            found = rows.batches(before=cursor, limit=limit + 1)
        parts = ((batch, *audited(queue, ChangeFilter(batch_id=batch))) for batch in found[:limit])
        batches = [batch_summary(*each) for each in parts if each[1]]
        told = {"domain": domain or serving.settings.canonical_format, "batches": batches}
        return JSONResponse({**told, "next_cursor": found[limit - 1] if len(found) > limit else None})

    @router.get("/audit/batches/{batch_id}", response_model=dict[str, Any], tags=tags)
    def get_pending_queue_batch_detail(queue: Moderated, batch_id: Number, _domain: Domain = None) -> Response:
        """One batch, with everything that happened to each of its changes."""
        changes, events = audited(queue, ChangeFilter(batch_id=batch_id))
        summary = batch_summary(batch_id, _of_batch(changes, batch_id), events)
        return JSONResponse({**summary, "changes": with_events(changes, events)})

    @router.get("/audit/batches/{batch_id}/net_changes", response_model=dict[str, Any], tags=tags)
    def get_batch_net_changes(serving: Served, queue: Moderated, batch_id: Number, domain: Domain = None) -> Response:
        """What a batch does, or did, to each model altogether."""
        changes, _ = queue.page(ChangeFilter(batch_id=batch_id))
        domain = domain or serving.settings.canonical_format
        told = net_changes(queue, _of_batch(changes, batch_id))
        return JSONResponse({"batch_id": batch_id, "domain": domain, **told, "generated_at": int(time.time())})

    @router.get("/audit/export", response_class=Response, tags=tags)
    def export_audit(queue: Moderated) -> Response:
        """Every event of records and of the queue, one JSON object a line, each with what was before and after."""
        return StreamingResponse(exported(queue.store), media_type="application/x-ndjson")


def pending_router() -> APIRouter:
    """What is proposed of a category, as records; and who I am."""
    router = APIRouter(prefix="/model_references/v2", tags=["v2"], responses=_READ)

    @router.get("/me/roles", response_model=dict[str, Any], tags=["user"])
    def get_current_user_roles(by: AnyUser) -> Response:
        """Whose key this is, and what they may do."""
        roles = sorted(map(str, by.roles))
        told = {f"is_{role}": role in by.roles for role in ("approver", "requestor")}
        told["is_license_editor"] = "license_editor" in by.roles
        return JSONResponse({"user_id": by.id, "username": by.username, "roles": roles, **told})

    @router.get(
        "/{model_category_name}/pending", operation_id="read_v2_reference_pending", response_model=dict[str, Any]
    )
    def read_pending(queue: Moderated, category: OfV2) -> Response:
        """The records that wait to be reviewed or applied, by name; the newest proposal where there are several."""
        changes, _ = queue.page(ChangeFilter(_OPEN, [category]))
        return JSONResponse({each.model_name: each.payload for each in changes if each.operation != "delete"})

    return router


def _page(changes: list[Change], total: int, offset: int, limit: int) -> Response:
    items = [change.model_dump(mode="json") for change in changes]
    return JSONResponse({"items": items, "total": total, "offset": offset, "limit": limit})


def _plain(change: Change) -> JsonObject:
    return change.model_dump(mode="json", exclude_none=True)


def _done(done: Applied) -> Response:
    """What was applied; where something was not, the first failure decides about the status."""
    told: JsonObject = {"applied": [_plain(change) for change in done.changes], "batch_split_occurred": False}
    if not done.failures:
        return JSONResponse(told)
    failures: list[Any] = [failure(error) for _, error in done.failures]
    return JSONResponse({**told, **failures[0], "failures": failures}, status_of(done.failures[0][1]))


def _of_batch(changes: list[Any], batch_id: int) -> list[Any]:
    if not changes:
        raise HTTPException(404, f"Batch {batch_id} not found")
    return changes
