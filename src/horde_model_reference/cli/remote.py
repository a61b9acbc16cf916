"""What is done to changes: in the store of this machine, by its owner, else at PRIMARY, with a key of the AI Horde.

The key is in `HORDE_API_KEY` and nowhere else: it goes into a header that is never shown, and follows no redirect.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from typer import BadParameter

from horde_model_reference import errors
from horde_model_reference.cli.context import Session
from horde_model_reference.domain.changes import Actor, Change, Role
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.flow import Network, NoNetwork, Request, Response
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.transport import HttpNetwork

if TYPE_CHECKING:
    from horde_model_reference.moderation.queue import Queue

__all__ = ["ANSWER", "CHANGE", "Answer", "do", "network_of"]

T = TypeVar("T")
E = TypeVar("E", bound=errors.HordeModelReferenceError)
_SECONDS, _MOST_BYTES, _BRIEF = 60.0, 2**31, 200
_REDIRECTED, _GONE, _LATER = 300, 404, (429, 500, 502, 503, 504)
_KINDS = {401: errors.NotAllowed, 403: errors.NotAllowed, 422: errors.MalformedInput}


class Answer(BaseModel):
    """What is told that is no change; what there is depends on the question."""

    user_id: str = ""
    items: list[Change] = []
    total: int = 0
    approved: list[Change] = []
    rejected: list[Change] = []
    applied: list[Change] = []
    failures: list[dict[str, Any]] = []
    current_state: dict[str, Any] | None = None
    proposed_state: dict[str, Any] | None = None
    detail: str | list[dict[str, Any]] = ""
    difference: list[dict[str, Any]] = []


CHANGE, ANSWER = Change.model_validate_json, Answer.model_validate_json


def do(
    session: Session,
    by: str,
    own: Callable[[Queue, Actor], T],
    path: str,
    read: Callable[[bytes], T],
    body: JsonObject | None = None,
    method: str = "POST",
) -> T:
    """What `own` gives, in a store of this machine; else what `read` makes of the answer of PRIMARY at `path`."""
    if session.reads_store:
        return _own(session, by, own)
    url, key = (session.settings.primary_api_url or "").rstrip("/"), os.environ.get("HORDE_API_KEY", "").strip()
    if by or not url:
        raise BadParameter("there is no store here for --as; a PRIMARY is asked where PRIMARY_API_URL is set")
    if not re.fullmatch("[!-~]{1,200}", key):
        told = "set HORDE_API_KEY to your key of the AI Horde, or name a store of your own by --root or --database"
        raise errors.NotAllowed(f"{url} asks for a key, and there is {'no usable one' if key else 'none'}: {told}")
    headers, content = {"apikey": key, "content-type": "application/json"}, b"" if body is None else encode(body)
    request = Request(f"{url}/model_references/v2/{path}", headers, _SECONDS, _MOST_BYTES, method, content)
    with closing(network_of(session)) as network:
        answer = network.begin(request).result()
    if answer.status >= _REDIRECTED and not answer.body.startswith(b'{"applied"'):  # some of several were
        raise _refusal(url, answer)
    try:
        return read(answer.body)
    except ValidationError:
        raise errors.SourceUnavailable(url, "answers what no PRIMARY does; check PRIMARY_API_URL") from None


def network_of(session: Session) -> Network:
    """The way out, if there may be one."""
    return NoNetwork() if session.is_offline else HttpNetwork()


def _own(session: Session, by: str, own: Callable[[Queue, Actor], T]) -> T:
    """Who can write the store may do everything, under the name they give: roles are for those who ask over HTTP."""
    from horde_model_reference.moderation.prereview import ProposalInvalid

    name, _, number = by.rpartition("#")
    if by and not (name and number.isdecimal()):
        raise BadParameter("--as is written NAME#ID, for example Ann#101")
    user = "owner"
    with suppress(KeyError, OSError):  # a user without a name
        user = getpass.getuser()
    try:
        return own(session.queue, Actor(id=number or user, username=by or user, roles=frozenset(Role)))
    except ProposalInvalid as error:
        raise errors.MalformedInput(_lines((each.field, each.reason) for each in error.findings)) from None
    except errors.ChangeOutdated as error:
        raise _explained(error, error.difference) from None


def _refusal(url: str, answer: Response) -> errors.HordeModelReferenceError:
    """What PRIMARY said, or somebody in between, as the error that it is."""
    told = Answer()
    with suppress(ValidationError):
        told = ANSWER(answer.body)
    detail = told.detail
    if not isinstance(detail, str):
        detail = _lines((".".join(map(str, each["loc"][1:])), each["msg"]) for each in detail)
    if answer.status in _LATER or not detail:
        again = f"; try again in {answer.headers['retry-after']} s" if "retry-after" in answer.headers else ""
        return errors.SourceUnavailable(url, f"{detail or f'HTTP {answer.status}'}{again}")
    if answer.status == _GONE:
        absent = errors.ChangeNotFound(0)  # or a batch, or a model
        absent.args = (detail,)
        return absent
    kind: type[errors.HordeModelReferenceError] = _KINDS.get(answer.status, errors.HordeModelReferenceError)
    return _explained(kind(detail), told.difference)


def _explained(error: E, difference: Iterable[Any]) -> E:
    """With what became of the record since, beside what the change makes of it."""
    for each in difference:
        values = " -> ".join(encode(each.get(side)).decode()[:_BRIEF] for side in ("before", "after"))
        error.add_note(f"{each.get('side')}: {each.get('path') or 'record'} {each.get('kind')}: {values}")
    return error


def _lines(faults: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{place or 'the record'}: {reason}" for place, reason in faults)
