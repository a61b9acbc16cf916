"""Which of our errors is which status: the only place that knows status codes of failures."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from horde_model_reference.errors import (
    ModelNotFound,
    ReferenceUnavailable,
    RevisionUnknown,
    StoreError,
    UnknownCategory,
)

__all__ = ["answer_errors", "no_feed"]

_STATUS = {UnknownCategory: 422, ModelNotFound: 404, ReferenceUnavailable: 404, RevisionUnknown: 410, StoreError: 503}
_READ_WHOLE = ". Read the categories whole, and go on from the X-Reference-Revision that comes with them"


def no_feed() -> HTTPException:
    """What a service answers that keeps no log of changes."""
    return HTTPException(404, "This service is a replica and keeps no log of changes; ask its PRIMARY")


def answer_errors(app: FastAPI) -> None:
    """Make the app answer our errors as `{"detail": ...}` with the status that says whose fault it is."""
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, partial(_answer, status))


async def _answer(status: int, _request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RevisionUnknown):
        headers = {"X-Reference-Revision": str(error.newest)}
        return JSONResponse({"detail": f"{error}{_READ_WHOLE}"}, status, headers)
    return JSONResponse({"detail": str(error)}, status)
