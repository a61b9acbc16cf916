"""Where changes are decided about: the store of this machine, by its owner, or its PRIMARY, with a key of the AI Horde.

Both have the same methods, so each command is written once. The key is in `HORDE_API_KEY` and nowhere else: it is read
here, sent in a header that is never shown, and no redirect takes it elsewhere.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

from typer import BadParameter

from horde_model_reference import errors
from horde_model_reference.cli.context import Session, known
from horde_model_reference.domain.changes import Actor, Change, Operation, Role
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.flow import Network, NoNetwork, Request, Response
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.transport import HttpNetwork

if TYPE_CHECKING:
    from horde_model_reference.moderation.queue import Queue

__all__ = ["Act", "Desk", "network_of", "opened"]

Act: TypeAlias = Literal["revert", "withdraw", "rebase", "comments", "review"]
"""What is done to one change, as the routes call it."""
_SECONDS, _MOST_BYTES = 60.0, 2**31
_KEY = re.compile(r"[!-~]{1,200}")
_NEXT = {
    401: "HORDE_API_KEY has to be the key of your user of the AI Horde",
    403: "`hmr changes`, `review` and `comment` are for every key; docs/who-may-do-what.md says who may do the rest",
    404: "`hmr changes` lists what there is",
}
_KINDS: dict[int, type[errors.HordeModelReferenceError]] = {
    401: errors.NotAllowed,
    403: errors.NotAllowed,
    404: errors.NotFound,
    422: errors.MalformedInput,
}


def opened(session: Session, by: str) -> Desk:
    """The desk of this machine's store, if it owns one, else that of its PRIMARY. Raises `NotAllowed` without a key."""
    if session.reads_store:
        from horde_model_reference.wiring import queue_of

        return _Own(queue_of(session.store, session.settings), _owner(by), session.settings.pending_queue.enabled)
    url, key = (session.settings.primary_api_url or "").rstrip("/"), os.environ.get("HORDE_API_KEY", "").strip()
    if by or not url:
        raise BadParameter("this machine has no store; over HTTP there is no --as, and PRIMARY_API_URL has to be set")
    if not _KEY.fullmatch(key):
        told = "set HORDE_API_KEY to your key of the AI Horde, or name a store of your own by --root or --database"
        raise errors.NotAllowed(f"{url} asks for a key, and there is {'no usable one' if key else 'none'}: {told}")
    return _OverHttp(url, key, network_of(session))


def network_of(session: Session) -> Network:
    """The way out, if there may be one."""
    return NoNetwork() if session.is_offline else HttpNetwork()


def _owner(by: str) -> Actor:
    """Who can write the store may do everything, under the name they give: roles are for those who ask over HTTP."""
    name, _, number = by.rpartition("#")
    if by and not (name and number.isascii() and number.isdigit()):
        raise BadParameter("--as is written NAME#ID, for example Ann#101")
    user = "owner"
    with suppress(KeyError, OSError):  # a user without a name
        user = getpass.getuser()
    return Actor(id=number or user, username=by or user, roles=frozenset(Role))


@dataclass(frozen=True)
class _Own:
    """The store of this machine."""

    queue: Queue
    by: Actor
    queues: bool

    def me(self) -> str:
        """The id of who decides here."""
        return self.by.id

    def propose(self, category: str, name: str, operation: Operation, record: JsonObject | None, seen: int) -> Change:
        """Put a change into the queue. Raises `MalformedInput` with a line for each field that is wrong."""
        from horde_model_reference.moderation.prereview import ProposalInvalid
        from horde_model_reference.moderation.queue import Proposal

        try:
            proposal = Proposal(known(category), name, operation, record, seen=seen or None, route="hmr")
            return (self.queue.propose if self.queues else self.queue.write)(proposal, self.by)
        except ProposalInvalid as error:
            raise errors.MalformedInput("\n".join(f"{each.field}: {each.reason}" for each in error.findings)) from None

    def page(self, which: Mapping[str, Any], offset: int, limit: int) -> tuple[list[Change], int]:
        """Changes by the fields of `ChangeFilter`, and how many there are."""
        from horde_model_reference.stores.queue import ChangeFilter

        return self.queue.page(ChangeFilter(**which), offset=offset, limit=limit)

    def look(self, change_id: int) -> tuple[Change, JsonObject]:
        """One change, and what it makes or made of the record."""
        from horde_model_reference.moderation.audit import shown_difference

        change = self.queue.change(change_id)
        return change, shown_difference(change, *self.queue.states(change))

    def act(self, change_id: int, act: Act, text: str = "") -> Change:
        """Do that to it; `text` is the reason, or the comment."""
        queue, by = self.queue, self.by
        if act == "review":
            return queue.look_again(change_id)
        if act == "rebase":
            return queue.rebase(change_id, by)
        if act == "comments":
            return queue.comment(change_id, text, by)
        return (queue.revert if act == "revert" else queue.withdraw)(change_id, by, text)

    def decide(self, title: str, yes: Sequence[int], no: Sequence[int], reason: str, override: str) -> list[Change]:
        """Approve and reject, all or nothing."""
        return sum(self.queue.decide(title, self.by, approved=yes, rejected=no, reason=reason, override=override)[1:], [])

    def apply(self, ids: Sequence[int], batch: int, job: str, each: bool) -> tuple[list[Change], list[str]]:
        """Make approved changes true, those or a batch: what is applied, and with `each` why the rest is not."""
        try:
            if batch:
                done = self.queue.apply_batch(batch, self.by, job_id=job, atomic=not each)
            else:
                done = self.queue.apply(ids, self.by, job_id=job, atomic=not each)
        except errors.ChangeOutdated as error:
            raise _explained(error, error.difference)
        return done.changes, [str(error) for _, error in done.failures]

    def events(self) -> bytes:
        """The whole audit log, one JSON object a line."""
        from horde_model_reference.moderation.audit import exported

        return b"".join(exported(self.queue.store))


@dataclass(frozen=True)
class _OverHttp:
    """A PRIMARY."""

    url: str
    key: str = field(repr=False)
    network: Network

    def me(self) -> str:
        return str(self._told("GET", "me/roles")["user_id"])

    def propose(self, category: str, name: str, operation: Operation, record: JsonObject | None, seen: int) -> Change:
        method, path = {"create": "POST", "update": "PUT", "delete": "DELETE"}[operation], quote(category, "")
        path += "" if operation == "create" else f"/model/{quote(name, '')}"
        more = {"x-reference-revision": str(seen)} if seen else {}
        return _change(self._told(method, path, record, more))

    def page(self, which: Mapping[str, Any], offset: int, limit: int) -> tuple[list[Change], int]:
        given = {key: value for key, value in which.items() if value is not None}
        page: Any = self._told("GET", f"pending_queue/changes?{urlencode({**given, 'offset': offset, 'limit': limit}, doseq=True)}")
        return list(map(_change, page["items"])), page["total"]

    def look(self, change_id: int) -> tuple[Change, JsonObject]:
        path = f"pending_queue/changes/{change_id}"
        return _change(self._told("GET", path)), self._told("GET", f"{path}/diff")

    def act(self, change_id: int, act: Act, text: str = "") -> Change:
        body: JsonObject = {"text" if act == "comments" else "reason": text}
        return _change(self._told("POST", f"pending_queue/changes/{change_id}/{act}", body))

    def decide(self, title: str, yes: Sequence[int], no: Sequence[int], reason: str, override: str) -> list[Change]:
        body: JsonObject = {"batch_title": title, "approved_ids": [*yes], "rejected_ids": [*no]}
        body |= {"reject_reason": reason or None, "override_reason": override}
        told: Any = self._told("POST", "pending_queue/batches", body)
        return list(map(_change, [*told["approved"], *told["rejected"]]))

    def apply(self, ids: Sequence[int], batch: int, job: str, each: bool) -> tuple[list[Change], list[str]]:
        body: JsonObject = {"change_ids": [*ids], "job_id": job, "atomic": not each}
        path = f"apply_batch/{batch}?{urlencode({'job_id': job, 'atomic': not each})}" if batch else "apply"
        told: Any = self._told("POST", f"pending_queue/{path}", body)
        return list(map(_change, told["applied"])), [failure["failed_error"] for failure in told.get("failures", ())]

    def events(self) -> bytes:
        return self._answer("GET", "pending_queue/audit/export").body

    def _told(self, method: str, path: str, body: JsonObject | None = None, more: Mapping[str, str] = {}) -> JsonObject:
        answer = self._answer(method, path, body, more)
