"""The rows of moderation: proposed changes, and the log of what was done to them, in whatever transaction is open.

A change is one row: what the queue is searched by, and the rest as JSON. Events are only ever added. They keep the
numbers of changes and batches, so none is given out twice, also after a purge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, bindparam, func, select

from horde_model_reference.domain.changes import Action, Change, QueueEvent, Status
from horde_model_reference.domain.events import GENESIS
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.errors import ChangeNotFound
from horde_model_reference.stores.schema import CHANGES, EVENTS, QUEUE_EVENTS

__all__ = ["ChangeFilter", "QueueRows"]

_LOGGED, _ANY = QUEUE_EVENTS.c, QUEUE_EVENTS.alias().c
_MAY_MOVE = ("status", "batch_id", "applied_job_id")
_COLUMNS = ("change_id", "category", "model_name", "requested_by", *_MAY_MOVE)
_FACTS = tuple(field.name for field in fields(QueueEvent))
_facts = attrgetter(*_FACTS)

# Statements are built once: to build one costs as much as to run it.
_THIS = CHANGES.c.change_id == bindparam("key")
_SELECT, _DELETE = select(CHANGES.c.document).where(_THIS), CHANGES.delete().where(_THIS)
_ADD, _SAVE, _LOG = CHANGES.insert(), CHANGES.update().where(_THIS), QUEUE_EVENTS.insert()
_WAITING = select(CHANGES.c.batch_id).where(CHANGES.c.status == Status.approved).limit(1)
_HIGHEST = (
    select(func.max(column)).where(column.is_not(None)).scalar_subquery() for column in (_ANY.change_id, _ANY.batch_id)
)
_HEAD = select(func.max(EVENTS.c.revision)).scalar_subquery()
_NEWEST = select(_LOGGED.event_id, _LOGGED.hash, *_HIGHEST, _HEAD).order_by(_LOGGED.event_id.desc()).limit(1)
_MADE = select(EVENTS).where(EVENTS.c.revision == bindparam("revision"))


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes: each field that is given must hold. `model_name` is any part of a name, in any case."""

    statuses: Collection[str] | None = None
    categories: Collection[str] | None = None
    requested_by: Collection[str] | None = None
    batch_id: int | None = None
    applied_job_id: str | None = None
    model_name: str | None = None
    change_ids: Collection[int] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same for a query."""
        columns = CHANGES.c
        lists = ((columns.status, self.statuses), (columns.category, self.categories))
        found: list[ColumnElement[bool]]
        found = [column.in_(map(str, wanted)) for column, wanted in lists if wanted is not None]
        if self.requested_by is not None:
            found.append(columns.requested_by.in_(self.requested_by))
        if self.change_ids is not None:
            found.append(columns.change_id.in_(self.change_ids))
        exact = ((columns.batch_id, self.batch_id), (columns.applied_job_id, self.applied_job_id))
        found += [column == value for column, value in exact if value is not None]
        if self.model_name is not None:
            found.append(columns.model_name.icontains(self.model_name, autoescape=True))
        return found


class QueueRows:
    """What a transaction sees of the queue; writing needs one that writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._newest: tuple[int, str, int, int] | None = None
        """Of the log: the last event and its hash, and the highest numbers of a change and of a batch."""
        self._head: int | None = None

    def change(self, change_id: int) -> Change:
        """Raises `ChangeNotFound`."""
        document = self._connection.scalar(_SELECT, {"key": change_id})
        if document is None:
            raise ChangeNotFound(change_id)
        return Change.model_validate_json(document)

    def page(self, which: ChangeFilter, *, offset: int = 0, limit: int | None = None) -> tuple[list[Change], int]:
        """Those changes in the order they were proposed, and how many there are."""
        mine = which.conditions()
        query = select(CHANGES.c.document).where(*mine).order_by(CHANGES.c.change_id).offset(offset).limit(limit)
        found = [Change.model_validate_json(document) for document in self._connection.scalars(query)]
        whole = limit is None and not offset
        return found, len(found) if whole else self._number(select(func.count()).select_from(CHANGES).where(*mine))

    @property
    def head(self) -> int | None:
        """The newest revision of the reference, read along with the log; None where that is empty."""
        self._last()
        return self._head

    def next_change(self) -> int:
        """A number that no change has had."""
        return self._last()[2] + 1

    def open_batch(self) -> int:
        """The batch of what is approved and not applied yet, else a new one."""
        return self._number(_WAITING) or self.next_batch()

    def next_batch(self) -> int:
        """A number that no batch has had."""
        return self._last()[3] + 1

    def batches(self, *, before: int | None, limit: int) -> list[int]:
        """The numbers of batches, newest first, below `before`."""
        query = select(_LOGGED.batch_id).where(_LOGGED.batch_id.is_not(None)).distinct()
        if before is not None:
            query = query.where(_LOGGED.batch_id < before)
        return list(self._connection.scalars(query.order_by(_LOGGED.batch_id.desc()).limit(limit)))

    def save(self, change: Change) -> Change:
        """Write a change that is there already."""
        self._connection.execute(_SAVE, {"key": change.change_id, **_row(change, _MAY_MOVE)})
        return change

    def add(self, change: Change) -> Change:
        """Write a new change."""
        self._connection.execute(_ADD, _row(change, _COLUMNS))
        return change

    def remove(self, change_ids: Collection[int]) -> None:
        """Take changes out of the queue; the log keeps what happened to them."""
        if change_ids:
            self._connection.execute(_DELETE, [{"key": change_id} for change_id in change_ids])

    def log(self, action: Action, change: Change, *, by: str, at: int, **payload: JsonValue) -> None:
        """Add one event to the log, chained to the last. Only in a transaction that writes: no other one does then."""
        last, before, highest_change, highest_batch = self._last()
        told = to_json({"change_id": change.change_id, **payload, "action": action}).decode()
        event = QueueEvent(last + 1, at, by, action, change.change_id, change.batch_id, told)
        digest = event.chained_to(before)
        self._connection.execute(_LOG, dict(zip(_FACTS, _facts(event), strict=True)) | {"hash": digest})
        highest = max(highest_change, event.change_id), max(highest_batch, event.batch_id or 0)
        self._newest = (event.event_id, digest, *highest)

    def events(self, change_ids: Sequence[int] | None = None) -> list[QueueEvent]:
        """What was done to those changes, or to all, in order."""
        query = select(QUEUE_EVENTS).order_by(_LOGGED.event_id)
        if change_ids is not None:
            query = query.where(_LOGGED.change_id.in_(change_ids))
        return [QueueEvent(**row) for row in self._connection.execute(query).mappings()]

    def past(self, revision: int | None) -> Mapping[str, Any]:
        """The event that made that revision, its columns by name; empty where there is none."""
        row = self._connection.execute(_MADE, {"revision": revision}).mappings().one_or_none()
        return {} if row is None else dict(row)

    def origin(self, revision: int | None) -> str | None:
        """The entry that the record came from, as it stood at that event of its own."""
        event = self.past(revision)
        while event and not event["origin"] and event["previous"] is not None:
            event = self.past(event["previous"])
        return event.get("origin")

    def _last(self) -> tuple[int, str, int, int]:
        if self._newest is None:
            row = self._connection.execute(_NEWEST).one_or_none()
            self._newest, self._head = ((*row[:3], row[3] or 0), row[4] or 0) if row else ((0, GENESIS, 0, 0), None)
        return self._newest

    def _number(self, query: object) -> int:
        found: int | None = self._connection.scalar(query)  # type: ignore[call-overload]  # any query of one number
        return found or 0


def _row(change: Change, columns: Sequence[str]) -> dict[str, object]:
    document = change.model_dump_json(exclude_defaults=True)
    return {name: getattr(change, name) for name in columns} | {"document": document}
