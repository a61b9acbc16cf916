"""A proposed change on its way through moderation: what it holds, and the table of what may become of it.

Nothing here decides who may do what, or looks at a record: that is `moderation`. A change is a value; each verdict
makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from horde_model_reference.domain.events import chained
from horde_model_reference.domain.findings import Severity
from horde_model_reference.errors import ChangeRefused

if TYPE_CHECKING:
    from horde_model_reference.domain.findings import JsonObject
else:
    JsonObject = dict[str, object]  # pydantic takes JSON as it is: what a record may hold is checked elsewhere

__all__ = ["TRANSITIONS", "Action", "Actor", "Change", "Comment", "NamedFinding", "QueueEvent", "Role"]
__all__ += ["Status"]

Status = StrEnum("Status", "pending approved applying applied rejected withdrawn")
"""Where a change stands. `applying` is what other programs know; here applying is one transaction, so none ever is."""
Role = StrEnum("Role", "requestor approver license_editor")
"""What a user may be to the queue; an approver is a requestor too."""
Action = StrEnum("Action", "enqueue edit comment withdraw approve reject apply revert rebase purge")
"""What an audit event of the queue tells."""
Operation: TypeAlias = Literal["create", "update", "delete"]
"""What a change does to its record."""

TRANSITIONS: dict[tuple[Status, Action], Status] = {
    (Status.pending, Action.edit): Status.pending,
    (Status.pending, Action.approve): Status.approved,
    (Status.pending, Action.reject): Status.rejected,
    (Status.pending, Action.withdraw): Status.withdrawn,
    (Status.pending, Action.rebase): Status.withdrawn,
    (Status.approved, Action.reject): Status.rejected,
    (Status.approved, Action.withdraw): Status.withdrawn,
    (Status.approved, Action.rebase): Status.withdrawn,
    (Status.approved, Action.apply): Status.applied,
    (Status.applied, Action.revert): Status.applied,
}
"""What moderation allows (design.md D9); all else is refused."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Actor(_Value):
    """A user of the AI Horde: the number after the last `#` of the name, the whole name, and what they may do."""

    id: str
    username: str
    roles: frozenset[Role] = frozenset()


class NamedFinding(_Value):
    """What the machine noticed before a person looked: `check` names the rule, `field` where."""

    check: str
    severity: Severity
    reason: str
    field: str = ""


class Comment(_Value):
    """What somebody said about a change, at a Unix time in seconds."""

    by: str
    username: str
    at: int
    text: str


class Change(_Value):
    """A proposal and all that became of it, as clients read it. Times are Unix seconds.

    `payload` is the record as it shall be, in the format that `domain` names; of a deletion, the record as it was.
    `base_revision` is the one at which the record stood when this was proposed, 0 where there was none, and
    `applied_revision` the one that it made. `reverts` names the change that this one takes back.
    """

    change_id: int
    resource_kind: Literal["model_reference"] = "model_reference"
    resource_id: str | None = None
    category: str
    model_name: str
    operation: Operation
    payload: JsonObject | None = None
    requested_by: str
    requested_username: str
    requested_at: int
    status: Status = Status.pending
    notes: str | None = None
    batch_id: int | None = None
    batch_title: str | None = None
    approved_by: str | None = None
    approved_username: str | None = None
    approved_at: int | None = None
    rejected_by: str | None = None
    rejected_username: str | None = None
    rejected_at: int | None = None
    reject_reason: str | None = None
    applied_at: int | None = None
    applied_by: str | None = None
    applied_username: str | None = None
    applied_job_id: str | None = None
    updated_at: int
    request_metadata: JsonObject | None = None
    related_models: list[str] | None = None
    domain: Literal["v2", "legacy"] = "v2"
    base_revision: int = 0
    applied_revision: int | None = None
    reverts: int | None = None
    findings: tuple[NamedFinding, ...] = ()
    comments: tuple[Comment, ...] = ()

    def after(self, action: Action, at: int, **facts: object) -> Change:
        """The change once that was done to it. Raises `ChangeRefused` for what the table does not allow."""
        allowed = tuple(str(each) for status, each in TRANSITIONS if status == self.status)
        if (self.status, action) not in TRANSITIONS:
            raise ChangeRefused(self.change_id, f"is {self.status}, so it cannot be: {action}", allowed=allowed)
        told = {"status": TRANSITIONS[self.status, action], "updated_at": at, **facts}
        return self.model_copy(update=told)


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """One line of the queue's log: who did what to which change, at a Unix time in seconds, with facts as JSON."""

    event_id: int
    at: int
    actor: str
    action: Action
    change_id: int
    batch_id: int | None
    payload: str
    hash: str = ""

    @property
    def revision(self) -> int:
        """Its place in the chain."""
        return self.event_id

    def chained_to(self, before: str) -> str:
        """The hash this event must have when `before` is the hash of the one before it."""
        return chained(self, before)
