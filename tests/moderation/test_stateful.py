"""Anything that anybody may do to the queue, at random, against a small model of the rules."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from horde_model_reference.domain.changes import TRANSITIONS, Action, Actor, Operation, Status
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import (
    ChangeNotFound,
    ChangeOutdated,
    ChangeRefused,
    HordeModelReferenceError,
    ModelExists,
    ModelNotFound,
    NotAllowed,
)
from horde_model_reference.moderation.queue import Proposal
from horde_model_reference.stores.queue import ChangeFilter
from horde_model_reference.stores.sql import SqlStore
from tests.moderation.samples import ANN, BEN, BLIP, EVE, blip, queue_over, v1_bodies

_WHO, _NAMES, _WORDS = st.sampled_from([ANN, BEN, EVE]), st.sampled_from("abc"), st.sampled_from(["x", "y", "é"])
_WHICH = st.integers(1, 12)
_OPERATIONS = st.sampled_from(["create", "update", "delete"])
_DOMAINS = st.sampled_from(["v2", "legacy"])


@dataclass(frozen=True)
class Expected:
    """What the model knows of a change."""

    name: str
    operation: Operation
    by: str
    base: int
    status: Status = Status.pending
    batch: int | None = None
    job: str = ""
    made: int | None = None


Told = HordeModelReferenceError | None


class QueueAgainstRules(RuleBasedStateMachine):
    """`changes` is the queue and `at` the revision of each record that is there, as the rules have it."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = SqlStore(f"sqlite:///{Path(self._folder.name) / 'reference.sqlite3'}")
        self.queue = queue_over(self.store)
        self.changes: dict[int, Expected] = {}
        self.at: dict[str, int] = {}
        self.states: dict[int, tuple[bytes, dict[str, JsonObject]]] = {}
        self.last_change = self.last_batch = self.revision = 0

    @initialize()
    def begin_with_two_records(self) -> None:
        """So that there is something to update and delete from the start."""
        for name in "ab":
            self.propose(name, "create", "x", EVE, "v2")
            self.decide([self.last_change], [], ANN)
            self.apply([self.last_change], BEN, atomic=True, job="")

    @rule(name=_NAMES, operation=_OPERATIONS, word=_WORDS, by=_WHO, domain=_DOMAINS)
    def propose(self, name: str, operation: Operation, word: str, by: Actor, domain: str) -> None:
        """Allowed where it goes with what is there."""
        payload = None if operation == "delete" else self._payload(name, word, domain)
        wrong: type[HordeModelReferenceError] | None = None
        if (operation == "create") == (name in self.at):
            wrong = ModelExists if operation == "create" else ModelNotFound
        proposal = Proposal(BLIP, name, operation, payload, domain)  # type: ignore[arg-type]
        with _Expecting(wrong):
            change = self.queue.propose(proposal, by)
            self.last_change += 1
            assert change.change_id == self.last_change
            self.changes[change.change_id] = Expected(name, operation, by.id, self.at.get(name, 0))

    @rule(number=_WHICH, by=_WHO, word=_WORDS)
    def edit(self, number: int, by: Actor, word: str) -> None:
        """By its proposer, while it is pending."""
        held = self.changes.get(number)
        wrong = self._not_theirs(number, by) or self._refused(number, Action.edit)
        if not wrong and held and held.operation == "delete":
            wrong = ChangeRefused
        domain = self.queue.change(number).domain if held else "v2"
        with _Expecting(wrong):
            self.queue.edit(number, self._payload(held.name if held else "a", word, domain), by)

    @rule(number=_WHICH, by=_WHO)
    def withdraw(self, number: int, by: Actor) -> None:
        """By its proposer, before it is applied."""
        with _Expecting(self._not_theirs(number, by) or self._refused(number, Action.withdraw)):
            self.queue.withdraw(number, by)
            self._move(number, Action.withdraw)

    @rule(number=_WHICH, by=_WHO)
    def comment(self, number: int, by: Actor) -> None:
        """Whatever its status."""
        with _Expecting(None if number in self.changes else ChangeNotFound):
            self.queue.comment(number, "hm", by)

    @rule(number=_WHICH, by=_WHO)
    def rebase(self, number: int, by: Actor) -> None:
        """A new proposal, where the record allows the same verb still."""
        wrong = self._not_theirs(number, by) or self._refused(number, Action.rebase)
        held = self.changes.get(number)
        if held and not wrong:
            there = held.name in self.at
            wrong = {
                (True, "create"): ModelExists,
                (False, "update"): ModelNotFound,
                (False, "delete"): ModelNotFound,
            }.get((there, held.operation))
        with _Expecting(wrong):
            new = self.queue.rebase(number, by)
            assert held is not None
            self.last_change += 1
            assert new.change_id == self.last_change
            self.changes[new.change_id] = Expected(held.name, held.operation, by.id, self.at.get(held.name, 0))
            self._move(number, Action.rebase)

    @rule(yes=st.lists(_WHICH, max_size=3), no=st.lists(_WHICH, max_size=2), by=st.sampled_from([ANN, BEN]))
    def decide(self, yes: list[int], no: list[int], by: Actor) -> None:
        """All of it or nothing."""
        wrong: set[type[HordeModelReferenceError]] = {ChangeRefused} if set(yes) & set(no) else set()
        for number, action in [*((n, Action.approve) for n in yes), *((n, Action.reject) for n in no)]:
            if refused := self._refused(number, action):
                wrong.add(refused)
            elif action == Action.approve and self.changes[number].by == by.id:
                wrong.add(NotAllowed)
        with _Expecting(*wrong):
            open_batch = self._open_batch()
            batch, _, _ = self.queue.decide("t", by, approved=yes, rejected=no, reason="no")
            assert batch == (open_batch if yes else None)
            self.last_batch = max(self.last_batch, batch or 0)
            for number in set(yes):
                self._move(number, Action.approve, batch=batch)
            for number in set(no):
                self._move(number, Action.reject, batch=batch)

    @rule(
        numbers=st.lists(_WHICH, max_size=4), by=_WHO, atomic=st.booleans(), job=st.sampled_from(["", "job", "another"])
    )
    def apply(self, numbers: list[int], by: Actor, atomic: bool, job: str) -> None:
        """In that order; a job that was there before repeats what it did."""
        at, revision, made, wrong = dict(self.at), self.revision, {}, {}
        for number in dict.fromkeys(numbers):
            held = self.changes.get(number)
            if held and job and held.job == job:
                continue
            if refused := self._refused(number, Action.apply):
                wrong[number] = refused
            elif held and at.get(held.name, 0) != held.base:
                wrong[number] = ChangeOutdated
            elif held:
                revision += 1
                made[number] = revision
                at[held.name] = revision
                if held.operation == "delete":
                    del at[held.name]
        before = self._state()
        with _Expecting(*(set(wrong.values()) if atomic else ())):
            done = self.queue.apply(numbers, by, job_id=job, atomic=atomic, mixed=True)
            assert [(number, type(error)) for number, error in done.failures] == list(wrong.items())
            for change in done.changes:
                if change.change_id in made:
                    self._took_effect(
                        change.change_id, change.applied_revision, job, before if len(made) == 1 else None
                    )

    @rule(number=_WHICH, by=st.sampled_from([ANN, BEN]))
    def revert(self, number: int, by: Actor) -> None:
        """While the record is what the change made; then it is what it was, to the byte."""
        held = self.changes.get(number)
        wrong = self._refused(number, Action.revert)
        if held and not wrong:
            expected = 0 if held.operation == "delete" else held.made
            wrong = (
                ChangeRefused
                if held.made is None
                else ChangeOutdated
                if self.at.get(held.name, 0) != expected
                else None
            )
        alone = held is not None and held.made == self.revision
        with _Expecting(wrong):
            batch = self.last_batch + 1
            inverse = self.queue.revert(number, by, "oops")
            assert held is not None
            self.last_change, self.last_batch = self.last_change + 1, batch
            assert (inverse.change_id, inverse.batch_id) == (self.last_change, batch)
            operation: Operation = {"create": "delete", "delete": "create"}.get(held.operation, "update")  # type: ignore[assignment]
            base = self.at.get(held.name, 0)
            self.changes[inverse.change_id] = Expected(held.name, operation, by.id, base, Status.approved, batch)
            self._took_effect(inverse.change_id, inverse.applied_revision, str(inverse.applied_job_id), None)
            if alone and number in self.states:
                assert self._state() == self.states[number]

    @rule(status=st.sampled_from(["pending", "rejected", "withdrawn", "applied"]), dry=st.booleans())
    def purge(self, status: str, dry: bool) -> None:
        """What has that status, of the name b."""
        wanted = [n for n, held in self.changes.items() if held.status == status and held.name == "b"]
        which = ChangeFilter(statuses=[status], model_name="b")
        assert self.queue.purge(which, ANN, dry_run=dry) == wanted
        for number in () if dry else wanted:
            del self.changes[number]

    @rule()
    def reopen(self) -> None:
        """Another process would see the same."""
        self.store.close()
        self.queue = queue_over(self.store)

    @invariant()
    def the_queue_is_what_the_rules_make_of_it(self) -> None:
        """Numbers, statuses, batches, revisions; and the records that are there."""
        found, total = self.queue.page(ChangeFilter())
        assert total == len(self.changes)
        for change in found:
            held = self.changes[change.change_id]
            assert (change.status, change.model_name, change.operation) == (held.status, held.name, held.operation)
            assert (change.base_revision, change.batch_id, change.applied_revision) == (
                held.base,
                held.batch,
                held.made,
            )
        assert {name: entry.revision for name, entry in self.store.entries(BLIP).items()} == self.at
        assert self.store.head() == self.revision

    def teardown(self) -> None:
        """At the end both logs are walked."""
        assert self.store.verify() == []
        self.store.close()
        self._folder.cleanup()

    def _payload(self, name: str, word: str, domain: str) -> JsonObject:
        if domain == "v2":
            return blip(name, description=f"{word}{self.last_change}")
        return {"name": name, "description": f"{word}{self.last_change}", "available": True, "config": {}}

    def _refused(self, number: int, action: Action) -> type[HordeModelReferenceError] | None:
        held = self.changes.get(number)
        if held is None:
            return ChangeNotFound
        return None if (held.status, action) in TRANSITIONS else ChangeRefused

    def _not_theirs(self, number: int, by: Actor) -> type[HordeModelReferenceError] | None:
        held = self.changes.get(number)
        return ChangeNotFound if held is None else NotAllowed if held.by != by.id else None

    def _open_batch(self) -> int:
        waiting = [held.batch for held in self.changes.values() if held.status == Status.approved]
        return waiting[0] or 0 if waiting else self.last_batch + 1

    def _move(self, number: int, action: Action, **facts: int | str | None) -> None:
        held = self.changes[number]
        self.changes[number] = replace(held, status=TRANSITIONS[held.status, action], **facts)  # type: ignore[arg-type]

    def _took_effect(
        self, number: int, revision: int | None, job: str, before: tuple[bytes, dict[str, JsonObject]] | None
    ) -> None:
        held = self.changes[number]
        job = job or f"apply-{number}-{held.batch}"
        self._move(number, Action.apply, made=revision, job=job)
        if revision is not None:
            self.revision += 1
            assert revision == self.revision
            self.at[held.name] = revision
            if held.operation == "delete":
                del self.at[held.name]
        if before is not None:
            self.states[number] = before

    def _state(self) -> tuple[bytes, dict[str, JsonObject]]:
        body = self.store.snapshot(BLIP).body
        assert json.loads(body) is not None
        return body, v1_bodies(self.queue)


class _Expecting:
    """One of these errors, or none where none is named."""

    def __init__(self, *wrong: type[HordeModelReferenceError] | None) -> None:
        self._wrong = tuple(each for each in wrong if each)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: object) -> bool:
        if not self._wrong:
            return False
        assert kind is not None, f"expected one of {self._wrong}"
        return issubclass(kind, self._wrong)


TestQueueAgainstRules = QueueAgainstRules.TestCase
TestQueueAgainstRules.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
