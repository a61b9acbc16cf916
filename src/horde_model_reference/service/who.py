"""Who asks, and what they may do: dependencies of every route that is not for everybody.

The key is checked before anything of the body is read; what a route is told comes through `told`, after that.
"""

# No `from __future__ import annotations` here: see routes.py.
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ValidationError

from horde_model_reference.domain.changes import Actor, Role
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.moderation.queue import Queue
from horde_model_reference.service.routes import Served

__all__ = ["AnyUser", "Approver", "Moderated", "Requestor", "described", "record_of", "told"]

_KEY = APIKeyHeader(name="apikey", auto_error=False, description="A key of the AI Horde")
_MOST_BYTES = 2**20
M = TypeVar("M", bound=BaseModel)
_Asks = Callable[..., Coroutine[Any, Any, M]]


async def _user(request: Request, key: Annotated[str | None, Security(_KEY)]) -> Actor:
    if not key:
        raise HTTPException(401, "Not authenticated")
    address = request.client.host if request.client else ""
    user: Actor = await request.app.state.users.identify_async(key, address)
    return user


AnyUser = Annotated[Actor, Depends(_user)]
"""Whoever has a valid key."""


def _having(role: Role) -> Callable[..., Coroutine[Any, Any, Actor]]:
    async def require(serving: Served, user: AnyUser) -> Actor:
        settings = serving.settings.pending_queue
        if not (settings.approver_ids or (role is Role.requestor and settings.requestor_ids)):
            raise HTTPException(401, f"Nobody is on the pending queue {role} list of this service")
        if role not in user.roles:
            raise HTTPException(403, f"You are not on the pending queue {role} list.")
        return user

    return require


Requestor = Annotated[Actor, Depends(_having(Role.requestor))]
Approver = Annotated[Actor, Depends(_having(Role.approver))]


async def _moderated(request: Request, _user: AnyUser) -> Queue:
    queue: Queue | None = request.app.state.queue
    if queue is None:
        raise HTTPException(503, "This is a replica: changes are proposed and reviewed on PRIMARY")
    return queue


Moderated = Annotated[Queue, Depends(_moderated)]
"""The queue of a PRIMARY, for somebody with a valid key."""


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise HTTPException(413, f"The body is longer than {_MOST_BYTES} bytes")
    return bytes(data)


def told(kind: type[M], by: Any) -> Any:
    """A dependency: the body as that model, once it is clear that `by` may ask."""

    async def read(request: Request, _by: by) -> M:
        try:
            return kind.model_validate_json(await _body(request) or b"{}")
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in faults]) from None

    return Depends(read)


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """What the OpenAPI document says of a body with that schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def record_of(by: Any) -> Any:
    """A dependency: the body as a JSON object, once it is clear that `by` may propose it."""

    async def read(request: Request, _by: by) -> JsonObject:
        try:
            return decode_object(await _body(request))
        except MalformedInput as error:
            fault = {"type": "json_invalid", "loc": ("body",), "msg": error.reason, "input": {}}
            raise RequestValidationError([fault]) from None

    return Depends(read)
