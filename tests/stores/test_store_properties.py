"""Any sequence of changes, commits and rollbacks, against dicts that do the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from horde_model_reference.domain.events import Operation
from horde_model_reference.stores.sql import SqlStore

_LORA = "lora"
_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_CHANGES = st.lists(st.tuples(st.sampled_from("abcdé"), st.none() | _VALUES), max_size=6)


class _Undone(Exception):
    """Ends a unit of work without a commit."""


class StoreAgainstDicts(RuleBasedStateMachine):
    """`history[n]` is what the category holds at revision n."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = SqlStore(f"sqlite:///{Path(self._folder.name) / 'reference.sqlite3'}")
        self.history: list[dict[str, str]] = [{}]

    revisions = Bundle("revisions")

    @initialize(target=revisions)
    def begin_empty(self) -> int:
        """Revision 0 is there."""
        return 0

    @rule(target=revisions, changes=_CHANGES)
    def commit(self, changes: list[tuple[str, str | None]]) -> int:
        """A unit of work that ends well."""
        self.history += self._change(changes, undo=False)
        return len(self.history) - 1

    @rule(changes=_CHANGES)
    def roll_back(self, changes: list[tuple[str, str | None]]) -> None:
        """A unit of work that raises at its end."""
        try:
            self._change(changes, undo=True)
        except _Undone:
            return
        raise AssertionError("the unit of work hid an error")

    @rule(revision=revisions)
    def read_at(self, revision: int) -> None:
        """The past stays as it was, in its order."""
        snapshot = self.store.snapshot(_LORA, at=revision)
        assert list(json.loads(snapshot.body).items()) == list(self.history[revision].items())

    @rule()
    def reopen(self) -> None:
        """Another process would see the same."""
        self.store.close()

    @invariant()
    def now_is_the_end_of_history(self) -> None:
        """Records, revision and log agree."""
        snapshot = self.store.snapshot(_LORA)
        assert list(json.loads(snapshot.body).items()) == list(self.history[-1].items())
        assert snapshot.revision == self.store.head() == len(self.history) - 1

    def teardown(self) -> None:
        """At the end the whole log is walked."""
        assert self.store.verify() == []
        self.store.close()
        self._folder.cleanup()

    def _change(self, changes: list[tuple[str, str | None]], *, undo: bool) -> list[dict[str, str]]:
        states = [self.history[-1]]
        with self.store.begin(actor="model") as unit:
            for name, value in changes:
                before = states[-1]
                if value is None:
                    event = unit.delete(_LORA, name)
                    after = {key: held for key, held in before.items() if key != name}
                else:
                    event = unit.put(_LORA, name, json.dumps(value))
                    after = {**before, name: value}
                assert (event is None) == (after == before)
                assert event is None or (event.operation is Operation.CREATE) == (name not in before)
                states += [] if event is None else [after]
            assert list(unit.entries(_LORA)) == list(states[-1])
            if undo:
                raise _Undone
        return states[1:]


TestStoreAgainstDicts = StoreAgainstDicts.TestCase
TestStoreAgainstDicts.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
