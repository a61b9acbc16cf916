"""Which of our errors is which status: the only place that knows status codes of failures."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from horde_model_reference import errors
from horde_model_reference.domain.query import Unsortable
from horde_model_reference.horde.users import KeyUnknown, TooManyAttempts
from horde_model_reference.moderation.prereview import ProposalInvalid

__all__ = ["ErrorResponse", "answer_errors", "documented", "failure", "problem", "status_of"]

_STATUS: dict[type[Exception], int] = {
    errors.UnknownCategory: 422,
    Unsortable: 400,
    errors.ModelNotFound: 404,
    errors.ReferenceUnavailable: 404,
    errors.ChangeNotFound: 404,
    errors.ChangeRefused: 400,
    errors.ChangeOutdated: 409,
    errors.ModelExists: 409,
    errors.NotAllowed: 403,
    errors.UsersUnavailable: 503,
    KeyUnknown: 401,
    TooManyAttempts: 429,
    ProposalInvalid: 422,
    errors.RevisionUnknown: 410,
    errors.SourceUnavailable: 503,
    errors.StoreError: 503,
}
_MEDIA_TYPE = "application/problem+json"
_READ_WHOLE = ". Read the categories whole, and go on from the X-Reference-Revision that comes with them"


class ErrorResponse(BaseModel):
    """What went wrong, for clients that read `detail`; the other members are those of RFC 9457."""

    detail: str | list[dict[str, Any]]
    type: str
    title: str
    status: int


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What else than 200 a route answers, as FastAPI documents it."""
    content = {_MEDIA_TYPE: {"schema": ErrorResponse.model_json_schema()}}
    told = {each: {"content": content} if each >= 400 else {} for each in statuses}
    return {status: {"description": HTTPStatus(status).phrase, **more} for status, more in told.items()}


def problem(
    status: int, detail: object, headers: dict[str, str] | None = None, more: dict[str, object] | None = None
) -> JSONResponse:
    """A failure as RFC 9457 has it, with `more` members of its own. `detail` is what clients have always read: a text,
    or FastAPI's list of faults."""
    members: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    later = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    headers = {"Cache-Control": "no-store"} | later | (headers or {})
    return JSONResponse(jsonable_encoder(members | (more or {})), status, headers, _MEDIA_TYPE)


def status_of(error: Exception) -> int:
    """The status that says whose fault it is."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def failure(error: Exception) -> dict[str, object]:
    """Why a change was not applied: which one, and the difference where its record moved since it was proposed."""
    told = {"failed_change_id": getattr(error, "change_id", None), "failed_error": str(error)}
    allowed, difference = getattr(error, "allowed", None), getattr(error, "difference", None)
    known = {"failed_error_type": type(error).__name__, "allowed": allowed, "difference": difference}
    return told | {name: value for name, value in known.items() if value is not None}


def answer_errors(app: FastAPI) -> None:
    """Make the app answer failures as problems, with the status that says whose fault it is."""
    for kind in (*_STATUS, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, errors.RevisionUnknown):
        return problem(410, f"{error}{_READ_WHOLE}", {"X-Reference-Revision": str(error.newest)})
    if isinstance(error, RequestValidationError):
        return problem(422, error.errors())
    if isinstance(error, HTTPException):
        return problem(error.status_code, error.detail, dict(error.headers or {}))
    if isinstance(error, ProposalInvalid):
        found = [(("body", *each.field.split(".")) if each.field else ("body",), each) for each in error.findings]
        return problem(422, [{"type": each.check, "loc": loc, "msg": each.reason} for loc, each in found])
    status, wait = status_of(error), getattr(error, "retry_after", None)
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    more = failure(error) if isinstance(error, errors.ChangeRefused | errors.ChangeOutdated) else {}
    return problem(status, "Internal Server Error" if status == 500 else str(error), headers, more)
