"""The queue: propose, review, decide, apply, revert. Each is one unit of work: the record, the change, and the log of
both commit together or not at all, whoever else writes at the same time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.changes import Action, Actor, Change, Comment, NamedFinding, Operation, Status
from horde_model_reference.domain.differences import differences
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.errors import (
    ChangeNotFound,
    ChangeOutdated,
    ChangeRefused,
    HordeModelReferenceError,
    ModelExists,
    ModelNotFound,
    NotAllowed,
)
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.moderation.documents import merged, wanted
from horde_model_reference.moderation.neighbours import NeighbourIndex
from horde_model_reference.moderation.prereview import ProposalInvalid, prereview, strictly
from horde_model_reference.stores.queue import ChangeFilter
from horde_model_reference.stores.sql import SqlStore, UnitOfWork

__all__ = ["Applied", "Proposal", "Queue"]

_NO_NAME = re.compile("[\0\ud800-\udfff]")  # what no database takes; so no record has it in its name
_AT_ONCE = "made at once"


@dataclass(frozen=True)
class Proposal:
    """What somebody wants changed. `payload` is the whole record as it shall be; of a deletion it is left out.

    `seen` is the newest revision of the reference that the proposer had read, where they said so.
    """

    category: Category
    model_name: str
    operation: Operation
    payload: JsonObject | None = None
    domain: Literal["v2", "legacy"] = "v2"
    seen: int | None = None
    notes: str | None = None
    route: str = ""


@dataclass(frozen=True)
class Applied:
    """What applying did: the changes that are applied now and, where not all or nothing was asked for, the others."""

    changes: list[Change]
    failures: list[tuple[int, HordeModelReferenceError]] = field(default_factory=list)


@dataclass(frozen=True)
class Queue:
    """Proposed changes to a store. Safe from any thread and process; raises `StoreError` where the store fails."""

    store: SqlStore
    neighbours: NeighbourIndex
    allow_self_approval: bool = False
    clock: Callable[[], float] = time.time
    ask_hosts: Callable[[JsonObject], tuple[NamedFinding, ...]] = lambda _document: ()

    # -- proposing --

    def propose(self, proposal: Proposal, by: Actor) -> Change:
        """Put a change into the queue. Raises `ProposalInvalid`, `ModelExists`, `ModelNotFound`, and `ChangeOutdated`
        where the record moved since the proposer looked."""
        with self._unit(by) as unit:
            return self._proposed(unit, proposal, by)

    def edit(self, change_id: int, payload: JsonObject, by: Actor, notes: str | None = None) -> Change:
        """Let the proposer say it better; the change is looked at anew."""
        with self._unit(by) as unit:
            change = self._own(unit, change_id, by)
            change.after(Action.edit, 0)  # what may not be edited is refused before anybody looks at what was said
            if change.operation == "delete":
                raise ChangeRefused(change_id, "deletes its record, so there is nothing to edit")
            if payload.get("name", change.model_name) != change.model_name:
                raise ChangeRefused(change_id, f"is for {change.model_name}: another name is another proposal")
            payload = {"name": change.model_name, **payload}
            edited = change.model_copy(update={"payload": payload, "notes": notes or change.notes})
            edited = self._looked_at(unit, edited, _document(unit, change))
            return self._become(unit, edited, Action.edit, by, {}, before=change.payload)

    def withdraw(self, change_id: int, by: Actor, reason: str = "") -> Change:
        """Let the proposer take it back."""
        with self._unit(by) as unit:
            return self._become(unit, self._own(unit, change_id, by), Action.withdraw, by, {}, reason=reason)

    def comment(self, change_id: int, text: str, by: Actor) -> Change:
        """Say something about it, whatever its status."""
        with self._unit(by) as unit:
            change, now = unit.queue.change(change_id), self._now()
            said = Comment(by=by.id, username=by.username, at=now, text=text)
            unit.queue.log(Action.comment, change, by=by.id, at=now, text=text)
            return unit.queue.save(change.model_copy(update={"comments": (*change.comments, said), "updated_at": now}))

    def look_again(self, change_id: int) -> Change:
        """Let the machine review it once more, against what the record is now; the hosts of its files are asked where
        the operator allows that."""
        change = self.change(change_id)
        more = self.ask_hosts(self.states(change)[1] or {})
        with self.store.begin(actor="system") as unit:
            change = unit.queue.change(change_id)
            found = self._noticed(unit, change, _document(unit, change)) + more
            return unit.queue.save(change.model_copy(update={"findings": found}))

    def rebase(self, change_id: int, by: Actor) -> Change:
        """A new proposal of the same against the record as it is now; the old one is withdrawn."""
        with self._unit(by) as unit:
            change = self._own(unit, change_id, by)
            change.after(Action.rebase, 0)
            if change.operation == "create" and unit.entry(change.category, change.model_name) is not None:
                raise ModelExists(change.model_name, change.category)
            base = _parsed(unit.queue.past(change.base_revision).get("document")) or {}
            payload = change.payload
            if change.operation == "update" and change.domain == "v2":
                payload = merged(base, change.payload or {}, _document(unit, change) or {})
            again = Proposal(
                change.category, change.model_name, change.operation, payload, change.domain, notes=change.notes
            )
            new = self._proposed(unit, again, by)
            self._become(unit, change, Action.rebase, by, {}, rebased_as=new.change_id)
            return new

    # -- deciding --

    def decide(
        self,
        title: str,
        by: Actor,
        *,
        approved: Collection[int] = (),
        rejected: Collection[int] = (),
        reason: str = "",
        override: str = "",
    ) -> tuple[int | None, list[Change], list[Change]]:
        """Approve and reject at once, all or nothing: (batch, approved, rejected).

        What is approved joins the batch that is open. Raises `NotAllowed` for a proposer's own change, unless the
        operator lets them; then the log says so, with the reason `override`.
        """
        if both := sorted(set(approved) & set(rejected)):
            raise ChangeRefused(both[0], "cannot be approved and rejected at once")
        with self._unit(by) as unit:
            batch = unit.queue.open_batch() if approved else None
            shared: dict[str, object] = {"batch_id": batch, "batch_title": title}
            told: dict[str, JsonValue] = {"batch_id": batch, "batch_title": title}
            yes = []
            for change in map(unit.queue.change, dict.fromkeys(approved)):
                change.after(Action.approve, 0)  # what is not pending is refused before anybody asks whose it is
                own = change.requested_by == by.id
                if own and not self.allow_self_approval:
                    raise NotAllowed(f"change {change.change_id} is your own: another approver has to look at it")
                override_told: JsonObject = {"override": override or "the operator's setting allows it"} if own else {}
                facts = shared | _by("approved", by, self._now())
                yes.append(self._become(unit, change, Action.approve, by, facts, **told, **override_told))
            facts = shared | _by("rejected", by, self._now()) | {"reject_reason": reason}
            no = [
                self._become(unit, change, Action.reject, by, facts, **told, reason=reason)
                for change in map(unit.queue.change, dict.fromkeys(rejected))
            ]
            return batch, yes, no

    def apply(
        self, change_ids: Sequence[int], by: Actor, *, job_id: str = "", atomic: bool = True, mixed: bool = False
    ) -> Applied:
        """Make approved changes true, in that order: all or none, or with `atomic=False` those that can be.

        A `job_id` that was used before gives what it did then. Raises `ChangeOutdated` where a record moved,
        `ChangeRefused` for what is not approved, or not all of one batch and not `mixed`.
        """
        with self._unit(by) as unit:
            done = Applied([])
            for change_id in dict.fromkeys(change_ids):
                try:
                    change = unit.queue.change(change_id)
                    repeated = bool(job_id) and change.applied_job_id == job_id
                    done.changes.append(change if repeated else self._applied(unit, change, by, job_id))
                except (ChangeNotFound, ChangeRefused, ChangeOutdated, ProposalInvalid) as error:
                    if atomic:
                        raise
                    done.failures.append((change_id, error))
            batches = sorted({change.batch_id or 0 for change in done.changes})
            if len(batches) > 1 and not mixed:
                raise ChangeRefused(done.changes[0].change_id, f"and the others are of several batches: {batches}")
            return done

    def apply_batch(self, batch_id: int, by: Actor, *, job_id: str = "", atomic: bool = True) -> Applied:
        """Apply what is approved in a batch, and what that `job_id` applied before. Raises `ChangeNotFound`."""
        changes, _ = self.page(ChangeFilter(batch_id=batch_id))
        if not changes:
            raise ChangeNotFound(batch_id)
        mine = [c for c in changes if c.status == Status.approved or (job_id and c.applied_job_id == job_id)]
        return self.apply([c.change_id for c in mine], by, job_id=job_id, atomic=atomic)

    def revert(self, change_id: int, by: Actor, reason: str) -> Change:
        """Take an applied change back: a new change, applied at once, after which the record is what it was before. One
        that was deleted comes back at the end of its category, as whatever is created does."""
        with self._unit(by) as unit:
            change = unit.queue.change(change_id)
            change.after(Action.revert, 0)  # what is not applied is refused
            if change.applied_revision is None:
                raise ChangeRefused(change_id, "changed nothing when it was applied, so there is nothing to revert")
            made = unit.queue.past(change.applied_revision)
            then = unit.queue.past(_integer(made.get("previous")))
            document = str(then["document"]) if then.get("document") else None
            operation: Operation = "delete" if document is None else "update"
            if change.operation == "delete":
                operation = "create"
            held = unit.entry(change.category, change.model_name)
            expected = 0 if change.operation == "delete" else change.applied_revision
            if (held.revision if held else 0) != expected:
                raise self._outdated(unit, change, held)
            payload = _parsed(document) or change.payload
            inverse = self._drafted(unit, by, change.category, change.model_name, operation, payload, held)
            inverse = inverse.model_copy(update={"reverts": change_id, "notes": reason})
            unit.queue.log(Action.revert, inverse, by=by.id, at=self._now(), reverts=change_id, reason=reason)
            origin = unit.queue.origin(_integer(made.get("previous")))
            if document and held and held.origin and origin is None:
                form, v2 = legacy_format(change.category), decode_object(document.encode())
                said = form.from_v2(change.category, change.model_name, v2, None)
                origin = encode(said).decode()  # an origin is never taken away, so it says the same
            return self._at_once(unit, inverse, by, document, origin)

    def write(self, proposal: Proposal, by: Actor) -> Change:
        """Propose and apply at once: what approvers do where the operator has turned the queue off."""
        with self._unit(by) as unit:
            change = self._proposed(unit, proposal, by)
            return self._applied(unit, self._approved(unit, change, by), by, "")

    def correct(self, category: Category, name: str, facts: JsonObject, by: Actor) -> JsonObject:
        """Change what only the server else says of a record's history; gives its metadata. Raises `ModelNotFound`."""
        with self._unit(by) as unit:
            if (held := unit.entry(category, name)) is None:
                raise ModelNotFound(name, category)
            before = _parsed(held.document) or {}
            metadata = {**_object(before.get("metadata")), **facts}
            after = {**before, "metadata": metadata}
            change = self._drafted(unit, by, category, name, "update", after, held)
            unit.queue.log(Action.enqueue, change, by=by.id, at=self._now(), correction=facts)
            self._at_once(unit, change, by, encode(after).decode())
            return metadata

    def purge(self, which: ChangeFilter, by: Actor, *, dry_run: bool = False) -> list[int]:
        """Take changes out of the queue for good, whatever their status; the log keeps what happened to them."""
        with self._unit(by) as unit:
            changes, _ = unit.queue.page(which)
            if not dry_run:
                for change in changes:
                    unit.queue.log(Action.purge, change, by=by.id, at=self._now(), status=str(change.status))
                unit.queue.remove([change.change_id for change in changes])
            return [change.change_id for change in changes]

    # -- reading --

    def change(self, change_id: int) -> Change:
        """Raises `ChangeNotFound`."""
        with self.store.queue() as rows:
            return rows.change(change_id)

    def page(self, which: ChangeFilter, *, offset: int = 0, limit: int | None = None) -> tuple[list[Change], int]:
        """Those changes in the order they were proposed, and how many there are."""
        with self.store.queue() as rows:
            return rows.page(which, offset=offset, limit=limit)

    def states(self, change: Change) -> tuple[JsonObject | None, JsonObject | None]:
        """The record as v2 has it, before and after: of an applied change as it was then, else now and as proposed."""
        with self.store.queue() as rows:
            if change.applied_revision is not None:
                made = rows.past(change.applied_revision)
                return _parsed(rows.past(_integer(made.get("previous"))).get("document")), _parsed(made.get("document"))
        held = self.store.entry(change.category, change.model_name)
        current = _parsed(held.document) if held else None
        return current, wanted(change, current)

    # -- what they share --

    @contextmanager
    def _unit(self, by: Actor) -> Iterator[UnitOfWork]:
        with self.store.begin(actor=by.id, at_ms=int(self.clock() * 1000)) as unit:
            yield unit

    def _now(self) -> int:
        return int(self.clock())

    def _own(self, unit: UnitOfWork, change_id: int, by: Actor) -> Change:
        change = unit.queue.change(change_id)
        if change.requested_by != by.id:
            raise NotAllowed(f"change {change_id} is not yours: its proposer may edit, withdraw and rebase it")
        return change

    def _proposed(self, unit: UnitOfWork, proposal: Proposal, by: Actor) -> Change:
        category, name, operation = proposal.category, proposal.model_name, proposal.operation
        held = None if _NO_NAME.search(name) else unit.entry(category, name)
        if held is not None and operation == "create":
            raise ModelExists(name, category)
        if held is None and operation != "create":
            raise ModelNotFound(name, category)
        base, now, before = held.revision if held else 0, self._now(), _parsed(held.document) if held else None
        if proposal.seen is not None and base > proposal.seen:
            raise ChangeOutdated(0, proposal.seen, base)
        payload = proposal.payload
        if before is not None and operation == "delete":
            origin = _parsed(held.origin) if held else None
            legacy = proposal.domain == "legacy"
            payload = legacy_format(category).from_v2(category, name, before, origin) if legacy else before
        copies = [
            f"aphrodite/{name}",
            f"koboldcpp/{name.split('/')[1] if '/' in name else name}",
        ]  # as backends offer it
        facts = {
            "notes": proposal.notes,
            "request_metadata": {"route": proposal.route} if proposal.route else None,
            "related_models": copies if category == "text_generation" else None,
            "domain": proposal.domain,
        }
        change = self._drafted(unit, by, category, name, operation, payload, held).model_copy(update=facts)
        change = unit.queue.add(self._looked_at(unit, change, before))
        unit.queue.log(Action.enqueue, change, by=by.id, at=now, operation=operation, category=category, model=name)
        return change

    def _drafted(
        self,
        unit: UnitOfWork,
        by: Actor,
        category: Category,
        name: str,
        operation: Operation,
        payload: JsonObject | None,
        held: Entry | None,
    ) -> Change:
        now = self._now()
        return Change(
            change_id=unit.queue.next_change(),
            category=category,
            model_name=name,
            operation=operation,
            payload=payload,
            requested_by=by.id,
            requested_username=by.username,
            requested_at=now,
            updated_at=now,
            base_revision=held.revision if held else 0,
        )

    def _approved(self, unit: UnitOfWork, change: Change, by: Actor) -> Change:
        facts = _by("approved", by, self._now()) | {"batch_id": unit.queue.next_batch(), "batch_title": _AT_ONCE}
        return self._become(unit, change, Action.approve, by, facts, override=_AT_ONCE)

    def _at_once(
        self, unit: UnitOfWork, change: Change, by: Actor, document: str | None, origin: str | None = None
    ) -> Change:
        approved = self._approved(unit, unit.queue.add(change), by)
        return self._written(unit, approved, by, document, origin, f"apply-{change.change_id}")

    def _looked_at(self, unit: UnitOfWork, change: Change, before: JsonObject | None) -> Change:
        """The change with its payload as it will be kept, and what the machine noticed. Raises `ProposalInvalid`."""
        told: tuple[NamedFinding, ...] = ()
        read, is_v2 = None, change.domain == "v2"
        if change.operation != "delete":
            given = change.payload if is_v2 else wanted(change, before)
            payload, told, record = strictly(change.category, change.model_name, given, before)
            if is_v2:
                change, read = change.model_copy(update={"payload": payload}), record
        return change.model_copy(update={"findings": told + self._noticed(unit, change, before, read)})

    def _noticed(
        self, unit: UnitOfWork, change: Change, before: JsonObject | None, read: GenericModelRecord | None = None
    ) -> tuple[NamedFinding, ...]:
        after = wanted(change, before)
        near = self.neighbours.near(change.category, change.model_name, after or {}, unit.queue.head)
        return prereview(change.category, change.model_name, before, after, near, read)

    def _become(
        self,
        unit: UnitOfWork,
        change: Change,
        action: Action,
        by: Actor,
        facts: Mapping[str, object],
        **told: JsonValue,
    ) -> Change:
        now = self._now()
        after = unit.queue.save(change.after(action, now, **facts))
        unit.queue.log(action, after, by=by.id, at=now, **told)
        return after

    def _applied(self, unit: UnitOfWork, change: Change, by: Actor, job_id: str) -> Change:
        change.after(Action.apply, 0)  # what is not approved is refused before anything is looked at
        held = unit.entry(change.category, change.model_name)
        if (held.revision if held else 0) != change.base_revision:
            raise self._outdated(unit, change, held)
        after = wanted(change, _parsed(held.document) if held else None)
        if after is not None:
            author = "updated_by" if held else "created_by"
            metadata = after.get("metadata")
            after = {
                **after,
                "metadata": {**(metadata if isinstance(metadata, dict) else {}), author: change.requested_by},
            }
        is_entry = change.domain == "legacy" and change.category != "text_generation"  # of those a file has rows
        origin = encode(change.payload).decode() if change.payload and is_entry else None
        job = job_id or f"apply-{change.change_id}-{change.batch_id}"
        return self._written(unit, change, by, None if after is None else encode(after).decode(), origin, job)

    def _written(
        self, unit: UnitOfWork, change: Change, by: Actor, document: str | None, origin: str | None, job_id: str
    ) -> Change:
        """Write the record as the change has it, and the change as applied."""
        category, name, note = change.category, change.model_name, f"change {change.change_id}"
        if document is None:
            event = unit.delete(category, name, expected=change.base_revision, note=note)
        else:
            event = unit.put(category, name, document, origin=origin, expected=change.base_revision, note=note)
        facts = _by("applied", by, self._now()) | {"applied_job_id": job_id}
        facts["applied_revision"] = event.revision if event else None
        return self._become(unit, change, Action.apply, by, facts, batch_id=change.batch_id, job_id=job_id)

    def _outdated(self, unit: UnitOfWork, change: Change, held: Entry | None) -> ChangeOutdated:
        """Why it cannot be applied: what became of the record since, beside what the change would make of it."""
        base = _parsed(unit.queue.past(change.base_revision).get("document"))
        now = _parsed(held.document) if held else None
        sides = {"theirs": now, "yours": wanted(change, base)}
        told = tuple(
            {"side": side, "path": each.path, "kind": each.kind, "before": each.before, "after": each.after}
            for side, document in sides.items()
            for each in differences(base, document)
        )
        return ChangeOutdated(change.change_id, change.base_revision, held.revision if held else 0, told)


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _by(done: str, by: Actor, at: int) -> dict[str, object]:
    return {f"{done}_by": by.id, f"{done}_username": by.username, f"{done}_at": at}


def _document(unit: UnitOfWork, change: Change) -> JsonObject | None:
    held = unit.entry(change.category, change.model_name)
    return _parsed(held.document) if held else None


def _parsed(document: object) -> JsonObject | None:
    return decode_object(document.encode()) if isinstance(document, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
