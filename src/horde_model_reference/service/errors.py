"""Which of our errors is which status: the only place that knows status codes of failures."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from horde_model_reference.domain.search import Unsortable
from horde_model_reference.errors import (
    ModelNotFound,
    ReferenceUnavailable,
    RevisionUnknown,
    SourceUnavailable,
    StoreError,
    UnknownCategory,
)
from horde_model_reference.service.schemas import ErrorResponse

__all__ = ["RESPONSES", "answer_errors", "problem"]

_STATUS: dict[type[Exception], int] = {
    UnknownCategory: 422,
    Unsortable: 400,
    ModelNotFound: 404,
    ReferenceUnavailable: 404,
    RevisionUnknown: 410,
    SourceUnavailable: 503,
    StoreError: 503,
}
_AGAIN_SECONDS = "5"
_MEDIA_TYPE = "application/problem+json"
_READ_WHOLE = ". Read the categories whole, and go on from the X-Reference-Revision that comes with them"

RESPONSES: dict[int, dict[str, object]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "What was asked for makes no sense",
        404: "There is no such thing",
        410: "That revision is not kept, or not there yet",
        422: "A parameter is not valid",
        503: "It cannot be answered now",
    }.items()
}
"""How failures are documented."""


def problem(status: int, detail: object, headers: dict[str, str] | None = None) -> JSONResponse:
    """A failure as RFC 9457 has it. `detail` is what clients have always read: a text, or FastAPI's list of faults."""
    members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    more = {"Retry-After": _AGAIN_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    headers = {"Cache-Control": "no-store"} | more | (headers or {})
    return JSONResponse(jsonable_encoder(members), status, headers, _MEDIA_TYPE)


def answer_errors(app: FastAPI) -> None:
    """Make the app answer failures as problems, with the status that says whose fault it is."""
    for kind in (*_STATUS, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    described = app.openapi
    app.openapi = lambda: _with_problems(described())  # type: ignore[method-assign]  # FastAPI says so


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The framework documents every answer of a route with the media type of its success."""
    for operation in (each for path in document["paths"].values() for each in path.values()):
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "application/json" in (content := response.get("content", {})):
                content[_MEDIA_TYPE] = content.pop("application/json")
    return document


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RevisionUnknown):
        return problem(410, f"{error}{_READ_WHOLE}", {"X-Reference-Revision": str(error.newest)})
    if isinstance(error, RequestValidationError):
        return problem(422, error.errors())
    if isinstance(error, HTTPException):
        return problem(error.status_code, error.detail, dict(error.headers or {}))
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return problem(status, "Internal Server Error" if status == 500 else str(error))
