"""Anything that people may do to the queue over HTTP, at random, against a small model of the rules: each status, and
at the end each record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from horde_model_reference.domain.changes import TRANSITIONS, Action, Operation, Status
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.settings import CanonicalFormat
from tests.service.moderated import PEOPLE, Moderated, blip, legacy_blip, moderated

_SECONDS = 12.0
_QUEUE = "v2/pending_queue"
_APPROVERS = ("key-approver", "key-second-approver")
_WHO = st.sampled_from([*_APPROVERS, "key-requestor"])
_BY = st.sampled_from(_APPROVERS)
_NAMES, _WHICH = st.sampled_from("abc"), st.integers(1, 12)
_OPERATIONS: st.SearchStrategy[Operation] = st.sampled_from(["create", "update", "delete"])
_METHODS = {"create": "POST", "update": "PUT", "delete": "DELETE"}
_INVERSE: dict[Operation, Operation] = {"create": "delete", "update": "update", "delete": "create"}
_JOBS = st.sampled_from(["", "job", "another"])


@dataclass(frozen=True)
class Expected:
    """What the model knows of a change; `stood` is the revision of its record that it was made against, and `before`
    and `text` are the record's description before and after, None where there is no record."""

    name: str
    operation: Operation
    by: str
    stood: int
    text: str | None
    status: Status = Status.pending
    batch: int | None = None
    job: str = ""
    made: int | None = None
    before: str | None = None


class QueueOverHttp(RuleBasedStateMachine):
    """`changes` is the queue, `at` and `texts` the revision and description of each record, as the rules have it."""

    served: Moderated

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[int, Expected] = {}
        self.at: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.words = self.last_batch = 0

    @initialize()
    def begin_with_two_records(self) -> None:
        """In an empty category, so that there is something to update and delete from the start."""
        self.served.told("POST", f"{_QUEUE}/purge", "key-approver", json={"purge_all": True})
        self.numbers: list[int] = []
        self.revision = self.served.store.head()
        for name in self._body():
            number = self.served.told("DELETE", f"{self._version}/blip/model/{name}", "key-requestor")["change_id"]
            self.served.applied(int(str(number)))
        self.served.told("POST", f"{_QUEUE}/purge", "key-approver", json={"purge_all": True})
        self.revision = self.served.store.head()
        for name in "ab":
            self.propose(name, "create", "key-requestor")
            self.decide([len(self.numbers)], [], "key-approver")
            self.apply([len(self.numbers)], "key-approver", "list", "")

    @rule(name=_NAMES, operation=_OPERATIONS, by=_WHO)
    def propose(self, name: str, operation: Operation, by: str) -> None:
        """Allowed where it goes with what is there."""
        text, there = self._word(), name in self.at
        wrong = {409} if there and operation == "create" else {404} if not there and operation != "create" else set()
        path = f"{self._version}/blip"
        if operation == "delete" or (operation == "update" and self._version == "v2"):
            path += f"/model/{name}"
        told = self._ask(_METHODS[operation], path, by, self._record(name, text), wrong)
        if told:
            after = None if operation == "delete" else text
            self._new(told, Expected(name, operation, PEOPLE[by], self.at.get(name, 0), after))

    @rule(which=_WHICH, by=_WHO)
    def edit(self, which: int, by: str) -> None:
        """By its proposer, while it is pending."""
        number, text = self._number(which), self._word()
        wrong = self._not_theirs(number, by) or self._refused(number, Action.edit)
        held = self.changes.get(number)
        if held and held.operation == "delete":
            wrong = wrong or {400}
        record = self._record(held.name if held else "a", text)
        if self._ask("PUT", f"{_QUEUE}/changes/{number}", by, record, wrong):
            self.changes[number] = replace(self.changes[number], text=text)

    @rule(which=_WHICH, by=_WHO)
    def withdraw(self, which: int, by: str) -> None:
        """By its proposer, before it is applied."""
        number = self._number(which)
        wrong = self._not_theirs(number, by) or self._refused(number, Action.withdraw)
        if self._ask("POST", f"{_QUEUE}/changes/{number}/withdraw", by, {"reason": "no"}, wrong):
            self._move(number, Action.withdraw)

    @rule(which=_WHICH, by=_WHO)
    def rebase(self, which: int, by: str) -> None:
        """A new proposal of the same, where the record allows the same verb still."""
        number = self._number(which)
        wrong = self._not_theirs(number, by) or self._refused(number, Action.rebase)
        held = self.changes.get(number)
        if held and not wrong and (held.operation == "create") == (held.name in self.at):
            wrong = {409} if held.operation == "create" else {404}
        told = self._ask("POST", f"{_QUEUE}/changes/{number}/rebase", by, {}, wrong)
        if told and held:
            self._move(number, Action.rebase)
            self._new(told, Expected(held.name, held.operation, held.by, self.at.get(held.name, 0), held.text))

    @rule(yes=st.lists(_WHICH, max_size=3), no=st.lists(_WHICH, max_size=2), by=_BY)
    def decide(self, yes: list[int], no: list[int], by: str) -> None:
        """All of it or nothing."""
        approved, rejected = self._numbers(yes), self._numbers(no)
        wrong = set[int]() if approved or rejected else {400}
        wrong |= {400} if set(approved) & set(rejected) else set()
        for action, numbers in ((Action.approve, approved), (Action.reject, rejected)):
            for number in numbers:
                wrong |= self._refused(number, action)
        if any(each in self.changes and self.changes[each].by == PEOPLE[by] for each in approved):
            wrong |= {403}
        waiting = [held.batch for held in self.changes.values() if held.status == Status.approved]
        asked: JsonObject = {"batch_title": "t", "reject_reason": "no"}
        asked |= {"approved_ids": [*approved], "rejected_ids": [*rejected]}
        told = self._ask("POST", f"{_QUEUE}/batches", by, asked, wrong)
        if told:
            batch = told["batch_id"]
            assert batch is None or isinstance(batch, int)
            assert (batch is not None) == bool(approved)
            assert not (approved and waiting) or batch == waiting[0]
            for number in approved:
                self._move(number, Action.approve, batch=batch)
            for number in rejected:
                self._move(number, Action.reject, batch=batch)

    @rule(
        which=st.lists(_WHICH, min_size=1, max_size=4),
        by=_BY,
        how=st.sampled_from(["one", "list", "some", "batch"]),
        job=_JOBS,
    )
    def apply(self, which: list[int], by: str, how: str, job: str) -> None:
        """One, a list, what can be of a list, or a batch; a job that was there before repeats what it did."""
        numbers, path = self._numbers(which), "apply"
        asked: JsonObject = {"job_id": job, "change_ids": [*numbers], "allow_mixed_batch": True}
        wrong = set[int]()
        if how == "one":
            numbers, path = numbers[:1], f"changes/{numbers[0]}/apply"
        if how == "batch":
            batch = getattr(self.changes.get(numbers[0]), "batch", None) or 10**6
            of_it = {number: held for number, held in self.changes.items() if held.batch == batch}
            wrong, path = (set() if of_it else {404}), f"apply_batch/{batch}?job_id={job}"
            numbers = [n for n, held in of_it.items() if held.status == Status.approved or (job and held.job == job)]
        asked |= {"atomic": False} if how == "some" else {}
        made, failed = self._would_apply(numbers, job)
        wrong |= {failed[0]} if failed else set()
        answer = self.served.ask("POST", f"{_QUEUE}/{path}", by, json=asked)
        assert answer.status_code in (wrong or {200}), (path, asked, answer.text)
        if how == "some" or not wrong:
            told = answer.json()
            applied = {each["change_id"]: each for each in told.get("applied") or [told.get("record")] if each}
            assert made.keys() <= applied.keys()
            for number in made:
                self._took_effect(number, applied[number]["applied_revision"], job)

    @rule(which=_WHICH, by=_BY)
    def revert(self, which: int, by: str) -> None:
        """While the record is what the change made; then it is what it was."""
        number = self._number(which)
        held, wrong = self.changes.get(number), self._refused(number, Action.revert)
        if held and not wrong and self.at.get(held.name, 0) != (0 if held.operation == "delete" else held.made):
            wrong = {409}
        told = self._ask("POST", f"{_QUEUE}/changes/{number}/revert", by, {"reason": "oops"}, wrong)
        if told and held:
            assert told["reverts"] == number
            facts = Expected(held.name, _INVERSE[held.operation], PEOPLE[by], self.at.get(held.name, 0), held.before)
            batch, revision = told["batch_id"], told["applied_revision"]
            assert isinstance(batch, int)
            assert isinstance(revision, int)
            made = self._new(told, replace(facts, status=Status.approved, batch=batch))
            self._took_effect(made, revision, str(told["applied_job_id"]))

    @rule(status=st.sampled_from(["pending", "rejected", "withdrawn", "applied"]), dry=st.booleans())
    def purge(self, status: str, dry: bool) -> None:
        """What has that status, of the name b."""
        wanted = [number for number, held in self.changes.items() if (held.status, held.name) == (status, "b")]
        asked: JsonObject = {"statuses": [status], "model_name": "b", "dry_run": dry}
        told = self._ask("POST", f"{_QUEUE}/purge", "key-approver", asked, set())
        assert told["removed_change_ids"] == wanted
        for number in () if dry else wanted:
            del self.changes[number]

    def teardown(self) -> None:
        """At the end the queue and the records are what the rules make of them, and both logs hold together."""
        listed = self.served.told("GET", f"{_QUEUE}/changes?limit=500", "key-plain")["items"]
        assert isinstance(listed, list)
        found = {each["change_id"]: each for each in listed if isinstance(each, dict)}
        assert found.keys() == self.changes.keys()
        for number, held in self.changes.items():
            facts = found[number]
            assert (facts["status"], facts["model_name"]) == (held.status, held.name)
            assert (facts["base_revision"], facts["batch_id"]) == (held.stood, held.batch)
            assert (facts["applied_revision"], facts["operation"]) == (held.made, held.operation)
        assert {name: record["description"] for name, record in self._body().items()} == self.texts
        entries = self.served.store.entries("blip")
        assert {name: entry.revision for name, entry in entries.items()} == self.at
        assert self.served.store.verify() == []

    @property
    def _version(self) -> str:
        return "v2" if self.served.settings.canonical_format is CanonicalFormat.v2 else "v1"

    def _record(self, name: str, text: str) -> JsonObject:
        return (blip if self._version == "v2" else legacy_blip)(name, text)

    def _body(self) -> dict[str, JsonObject]:
        bodies = [self.served.ask("GET", f"{version}/blip") for version in ("v2", "v1")]
        told: list[dict[str, JsonObject]] = [each.json() if each.is_success else {} for each in bodies]
        texts = [{name: record["description"] for name, record in body.items()} for body in told]
        assert texts[0] == texts[1]
        return told[0]

    def _ask(self, method: str, path: str, by: str, asked: JsonObject, wrong: set[int]) -> JsonObject:
        """What it is told; nothing where one of those statuses is right, and is the answer."""
        answer = self.served.ask(method, path, by, json=asked)
        assert answer.status_code in (wrong or {200, 202}), (method, path, asked, wrong, answer.text)
        told: JsonObject = {} if wrong else answer.json()
        return told

    def _word(self) -> str:
        self.words += 1
        return f"word {self.words}"

    def _number(self, which: int) -> int:
        """The number of the change that was proposed as that one; one that is not there where there were fewer."""
        return self.numbers[which - 1] if which <= len(self.numbers) else 10**6

    def _numbers(self, which: list[int]) -> list[int]:
        return list(dict.fromkeys(map(self._number, which)))

    def _new(self, told: JsonObject, facts: Expected) -> int:
        number = told["change_id"]
        assert isinstance(number, int)
        assert number > max(self.numbers, default=0)
        self.numbers.append(number)
        self.changes[number] = facts
        return number

    def _refused(self, number: int, action: Action) -> set[int]:
        held = self.changes.get(number)
        return {404} if held is None else set() if (held.status, action) in TRANSITIONS else {400}

    def _not_theirs(self, number: int, by: str) -> set[int]:
        held = self.changes.get(number)
        return {404} if held is None else set() if held.by == PEOPLE[by] else {403}

    def _move(self, number: int, action: Action, *, batch: int | None = None) -> None:
        held = self.changes[number]
        status = TRANSITIONS[held.status, action]
        self.changes[number] = replace(held, status=status, batch=held.batch if batch is None else batch)

    def _would_apply(self, numbers: list[int], job: str) -> tuple[dict[int, int], list[int]]:
        """(the changes that can be applied in that order with their revisions, the statuses of the others)."""
        at, revision, failed, made = dict(self.at), self.revision, list[int](), dict[int, int]()
        for number in numbers:
            held = self.changes.get(number)
            if held is None or (refused := self._refused(number, Action.apply)):
                if held is None or not (job and held.job == job):
                    failed.append(404 if held is None else min(refused))
            elif at.get(held.name, 0) != held.stood:
                failed.append(409)
            else:
                revision += 1
                made[number] = revision
                at[held.name] = 0 if held.operation == "delete" else revision
        return made, failed

    def _took_effect(self, number: int, revision: int, job: str) -> None:
        held = self.changes[number]
        self.revision += 1
        assert revision == self.revision
        facts = {"made": revision, "job": job or f"apply-{number}-{held.batch}", "before": self.texts.get(held.name)}
        self.changes[number] = replace(held, status=Status.applied, **facts)  # type: ignore[arg-type]
        self.at.pop(held.name, None)
        self.texts.pop(held.name, None)
        if held.text is not None:
            self.at[held.name], self.texts[held.name] = revision, held.text


@pytest.fixture(params=list(CanonicalFormat), ids=str)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moderated]:
    """An empty PRIMARY."""
    with moderated(tmp_path_factory.mktemp("stateful"), canonical=request.param) as served:
        yield served


def test_the_queue_over_http_is_what_the_rules_make_of_it(service: Moderated) -> None:
    """Each status is the one that the rules have, and so is each record at the end; for some seconds."""
    ends, runs = time.monotonic() + _SECONDS, 0
    machine = type("OverThisService", (QueueOverHttp,), {"served": service})
    chosen = settings(
        max_examples=2, stateful_step_count=30, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    while not runs or time.monotonic() < ends:
        run_state_machine_as_test(machine, settings=chosen)
        runs += 1
