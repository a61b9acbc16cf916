"""Which of our errors is which status: the only place that knows status codes of failures."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from horde_model_reference.errors import (
    HordeModelReferenceError,
    ModelNotFound,
    ReferenceUnavailable,
    StoreError,
    UnknownCategory,
)

__all__ = ["answer_errors"]

_STATUS: tuple[tuple[type[HordeModelReferenceError], int], ...] = (
    (UnknownCategory, 422),
    (ModelNotFound, 404),
    (ReferenceUnavailable, 404),
    (StoreError, 503),
)


def answer_errors(app: FastAPI) -> None:
    """Make the app answer our errors as `{"detail": ...}` with the status that says whose fault it is."""
    for kind, status in _STATUS:
        app.add_exception_handler(kind, _Answer(status))


class _Answer:
    def __init__(self, status: int) -> None:
        self._status = status

    async def __call__(self, _request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, self._status)
