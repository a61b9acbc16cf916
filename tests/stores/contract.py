"""What every store must do. A new implementation subclasses `StoreContract` and overrides the fixture `address`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal

import pytest
from sqlalchemy import text

from horde_model_reference.domain.events import Event, Kind, Operation, Replay
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, RevisionUnknown, StoreCorrupt, WriteConflict
from horde_model_reference.stores.sql import SqlStore
from tests.stores.processes import COUNTER, first_line_of, increment, let_go, lines_of, start

__all__ = ["StoreContract", "put", "run_sql"]

LORA, CLIP = "lora", "clip"
STRANGE_NAMES = (
    *("a/b", "..", 'say "hi"', "it's", "back\\slash", "percent %s %(x)s :name ?", "new\nline", "Ünïcödé", "模型"),
    *("👩‍🚀 emoji", "\u202eright to left", "e\u0301 and é", " spaces ", "x" * 512, "🚀" * 512),
)

_FOREIGN = (
    "INSERT INTO records (kind, category, name, position, revision, document) "
    "VALUES ('record', 'lora', 'z', 99, 99, '1')"
)


def put(store: SqlStore, name: str = "a", value: object = 1, *, category: str = LORA, **facts: str | int) -> int:
    """One record in a unit of work of its own; the revision it made."""
    with store.begin(actor="alice", at_ms=int(facts.pop("at_ms", 1_000))) as unit:
        document = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        event = unit.put(category, name, document, note=str(facts.pop("note", "")))
    assert not facts
    assert event is not None
    return event.revision


def delete(store: SqlStore, name: str = "a") -> None:
    """Delete a record in a unit of work of its own."""
    with store.begin(actor="bob", at_ms=1_000) as unit:
        assert unit.delete(LORA, name) is not None


def content(snapshot: Snapshot) -> dict[str, object]:
    """The records of a snapshot, parsed."""
    parsed: dict[str, object] = json.loads(snapshot.body)
    return parsed


def replayed(events: Iterable[Event], category: str = LORA) -> dict[str, object]:
    """The records of a category that events lead to, in order."""
    replay = Replay()
    for event in events:
        replay.apply(event)
    held = [(e.position, key[2], e.document) for key, e in replay.entries.items() if key[:2] == (Kind.RECORD, category)]
    return {name: json.loads(document) for _, name, document in sorted(held)}


def run_sql(store: SqlStore, *statements: str) -> None:
    """What someone with access to the database could do behind our back."""
    with store._transaction(writes=True) as connection:
        for statement in statements:
            connection.execute(text(statement))


class StoreContract:
    """The tests; `address` is the URL of an empty database."""

    @pytest.fixture
    def address(self) -> str:
        """The URL of an empty database."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, address: str) -> Iterator[SqlStore]:
        """An empty store."""
        store = SqlStore(address)
        yield store
        store.close()

    def test_an_empty_store_has_revision_zero_and_nothing_in_it(self, store: SqlStore) -> None:
        """Every read answers before the first write."""
        assert store.head() == store.revision_at(10**15) == 0
        assert (store.counts(), store.metadata(LORA), list(store.events()), store.verify()) == ({}, None, [], [])
        assert store.snapshot(LORA).body == b"{}"
        assert store.snapshot(LORA, at=0).revision == 0

    def test_revisions_have_no_gaps_and_are_in_order(self, store: SqlStore) -> None:
        """Units of one change and of several, over categories: 1, 2, 3, ..."""
        put(store, "a")
        with store.begin(actor="alice") as unit:
            made = [unit.put(category, f"m{i}", "1") for i in range(3) for category in (LORA, CLIP)]
        put(store, "b")
        assert [event.revision for event in made if event] == [2, 3, 4, 5, 6, 7]
        assert [event.revision for event in store.events()] == list(range(1, 9))
        assert store.head() == 8

    def test_a_unit_that_raises_leaves_nothing_behind(self, store: SqlStore) -> None:
        """Neither records nor events, and the next revision follows on the last."""
        put(store, "a")
        with pytest.raises(KeyError), store.begin(actor="alice") as unit:  # noqa: PT012
            unit.put(LORA, "b", "2")
            unit.delete(LORA, "a")
            raise KeyError
        assert content(store.snapshot(LORA)) == {"a": 1}
        assert put(store, "c") == 2
        assert store.verify() == []

    def test_nobody_sees_half_of_a_unit(self, store: SqlStore) -> None:
        """Before the commit the others see nothing of it, and the unit sees itself."""
        put(store, "a")
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "b", "2")
            unit.delete(LORA, "a")
            assert list(unit.entries(LORA)) == ["b"]
            assert unit.entry(LORA, "a") is None
            assert content(store.snapshot(LORA)) == {"a": 1}
            assert store.head() == 1
        assert content(store.snapshot(LORA)) == {"b": 2}

    def test_an_event_tells_what_happened_to_a_record(self, store: SqlStore) -> None:
        """Create, update, delete, create: with who, when, why, and the event before."""
        put(store, "a", 1, note="first", at_ms=5)
        put(store, "a", 2)
        delete(store, "a")
        put(store, "a", 3)
        events = list(store.events())
        assert [e.operation for e in events] == [*Operation, Operation.CREATE]
        assert [e.previous for e in events] == [None, 1, 2, None]
        assert [e.position for e in events] == [1, 1, 1, 4]
        assert [e.document for e in events] == ["1", "2", None, "3"]
        assert (events[0].note, events[0].actor, events[0].at, events[2].actor) == ("first", "alice", 5, "bob")
        assert isinstance(events[0].operation, Operation)
        assert isinstance(events[0].kind, Kind)

    def test_a_put_that_changes_nothing_makes_no_event(self, store: SqlStore) -> None:
        """Also within one unit, and for a record that is put back as it was."""
        put(store, "a", 1)
        with store.begin(actor="alice") as unit:
            assert unit.put(LORA, "a", "1") is None
            assert unit.delete(LORA, "not there") is None
            assert unit.put(LORA, "b", "1") is not None
            assert unit.put(LORA, "b", "1") is None
        assert store.head() == 2

    def test_several_changes_of_one_record_in_one_unit_are_all_told(self, store: SqlStore) -> None:
        """The rows hold the last of them; a record made and deleted in the unit leaves events only."""
        put(store, "old")
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "brief", "1")
            unit.delete(LORA, "brief")
            unit.put(LORA, "a", "1")
            unit.put(LORA, "a", "2")
            unit.delete(LORA, "old")
            unit.put(LORA, "old", "again")
            unit.put(LORA, "old", '"and again"')
        assert content(store.snapshot(LORA)) == {"a": 2, "old": "and again"}
        assert store.head() == 8
        assert store.verify() == []

    @pytest.mark.parametrize("existing", [False, True])
    def test_a_write_against_another_revision_is_refused(self, store: SqlStore, existing: bool) -> None:
        """`expected` is the revision that was read, 0 for none; the error tells both, and nothing changes."""
        actual = put(store, "a") if existing else 0
        for change in ("put", "delete"):
            with pytest.raises(WriteConflict) as caught, store.begin(actor="alice") as unit:  # noqa: PT012
                unit.put(LORA, "beside", "1")
                if change == "put":
                    unit.put(LORA, "a", "2", expected=7)
                else:
                    unit.delete(LORA, "a", expected=7)
            facts = (caught.value.category, caught.value.name, caught.value.expected, caught.value.actual)
            assert facts == (LORA, "a", 7, actual)
        assert store.head() == actual
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "a", "3", expected=actual)
        assert content(store.snapshot(LORA)) == {"a": 3}

    def test_a_record_keeps_its_origin_until_it_is_deleted(self, store: SqlStore) -> None:
        """An update without an origin keeps it, one with another replaces it, a record made anew has none."""
        for document, origin in (("1", "first"), ("2", None), ("3", "first"), ("3", "second"), ("4", None)):
            with store.begin(actor="alice") as unit:
                assert unit.put(LORA, "a", document, origin=origin) is not None
        assert [event.origin for event in store.events()] == ["first", None, None, "second", None]
        entry = store.entries(LORA)["a"]
        assert (entry.origin, entry.document, entry.position, entry.revision) == ("second", "4", 1, 5)
        assert store.entry(LORA, "a") == entry
        delete(store, "a")
        assert store.entry(LORA, "a") is None
        put(store, "a", 5)
        assert store.entries(LORA)["a"].origin is None
        assert store.verify() == []

    def test_every_past_revision_tells_the_origins_that_records_had_then(self, store: SqlStore) -> None:
        """Also of a record that was deleted and made anew, and of side documents; the future is refused."""
        changes = (("1", "first"), ("2", None), ("2", "second"), (None, None), ("3", None), ("4", "third"))
        for kind in Kind:
            for document, origin in changes:
                with store.begin(actor="alice") as unit:
                    before = unit.revision
                    if document is None:
                        unit.delete(LORA, "a", kind=kind)
                    else:
                        unit.put(LORA, "a", document, origin=origin, kind=kind)
                    assert unit.revision == before + 1 == store.head() + 1
        replay = Replay()
        for event in store.events():
            replay.apply(event)
            for kind in Kind:
                told = {name: entry for (of, _, name), entry in replay.entries.items() if of is kind}
                assert store.entries(LORA, kind=kind, at=event.revision) == told
        with pytest.raises(RevisionUnknown):
            store.entries(LORA, at=store.head() + 1)

    def test_every_past_revision_and_time_can_be_read(self, store: SqlStore) -> None:
        """Each snapshot equals what the events up to it lead to, in order."""
        for i, (name, value) in enumerate([("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 3)]):
            put(store, name, value, at_ms=1_000 * (i + 1))
        delete(store, "a")
        put(store, "a", 9, at_ms=9_000)
        events = list(store.events())
        for revision in range(store.head() + 1):
            snapshot = store.snapshot(LORA, at=revision)
            assert list(content(snapshot).items()) == list(replayed(events[:revision]).items())
            assert snapshot.revision == revision
        assert store.snapshot(LORA).body == store.snapshot(LORA, at=store.head()).body
        assert [store.revision_at(time) for time in (999, 1_000, 3_500, 10**12)] == [0, 1, 3, 7]
        for wrong in (-1, store.head() + 1):
            with pytest.raises(RevisionUnknown):
                store.snapshot(LORA, at=wrong)

    def test_records_keep_their_order_over_updates(self, store: SqlStore) -> None:
        """The order they were created in; a record that is made anew comes last."""
        for name in "zebra":
            if name not in store.entries(LORA):
                put(store, name)
        put(store, "z", 2)
        assert list(content(store.snapshot(LORA))) == list("zebra")
        delete(store, "e")
        put(store, "e", 2)
        assert list(content(store.snapshot(LORA))) == list(store.entries(LORA)) == list("zbrae")

    def test_a_known_snapshot_is_given_back_where_nothing_changed(self, store: SqlStore) -> None:
        """The very same body, relabelled, when other categories moved on; a new one when this one did."""
        put(store, "a")
        first = store.snapshot(LORA)
        assert store.snapshot(LORA, known=first).body is first.body
        put(store, "a", category=CLIP)
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "aliases", "{}", kind=Kind.DOCUMENT)
        later = store.snapshot(LORA, known=first)
        assert later.body is first.body
        assert later.revision == 3
        put(store, "a", 2)
        assert content(store.snapshot(LORA, known=later)) == {"a": 2}

    def test_a_known_snapshot_of_a_larger_store_is_not_trusted(self, store: SqlStore) -> None:
        """The database was replaced by an older one: what is known is from a future that never happened."""
        put(store, "a")
        assert content(store.snapshot(LORA, known=Snapshot(LORA, b"{}", revision=99))) == {"a": 1}
        assert content(store.snapshot(LORA, known=Snapshot(LORA, b"{}"))) == {"a": 1}

    def test_counts_and_metadata_tell_of_each_category(self, store: SqlStore) -> None:
        """Categories without records are left out of the counts; the metadata remembers them."""
        for i, name in enumerate(["a", "b", "a"]):
            put(store, name, i, at_ms=1_000 * (i + 1))
        put(store, "c", category=CLIP)
        with store.begin(actor="alice") as unit:
            unit.delete(CLIP, "c")
        assert store.counts() == {LORA: 2}
        metadata = store.metadata(LORA)
        assert metadata is not None
        assert (metadata.total_creates, metadata.total_updates, metadata.total_deletes) == (2, 1, 0)
        assert (metadata.initialization_time, metadata.last_updated, metadata.total_models) == (1, 3, 2)
        assert (metadata.last_operation_model, metadata.last_operation_type) == ("a", "update")
        gone = store.metadata(CLIP)
        assert gone is not None
        assert (gone.total_models, gone.total_deletes, gone.last_operation_type) == (0, 1, "delete")

    def test_events_are_read_in_portions_filtered_and_limited(self, store: SqlStore) -> None:
        """More than one portion of 1,000; `since` and `limit` count, and a category has its own."""
        with store.begin(actor="alice") as unit:
            for i in range(2_100):
                unit.put(CLIP if i % 3 == 0 else LORA, f"m{i}", str(i))
        assert [e.revision for e in store.events()] == list(range(1, 2_101))
        assert [e.revision for e in store.events(since=2_098)] == [2_099, 2_100]
        assert [e.revision for e in store.events(since=50, limit=1_500)] == list(range(51, 1_551))
        assert [e.revision for e in store.events(limit=0)] == []
        assert [e.revision for e in store.events(category=CLIP, limit=3)] == [1, 4, 7]
        assert len(list(store.events(category=LORA))) == 1_400
        assert store.verify() == []

    def test_side_documents_are_no_records(self, store: SqlStore) -> None:
        """The same category and name in both kinds are two things; only events and their own reads tell of them."""
        put(store, "a", "record")
        with store.begin(actor="alice") as unit:
            assert unit.entry(LORA, "a", kind=Kind.DOCUMENT) is None
            unit.put(LORA, "a", '"document"', kind=Kind.DOCUMENT)
            unit.put(LORA, "b", '"document"', kind=Kind.DOCUMENT)
        assert content(store.snapshot(LORA)) == content(store.snapshot(LORA, at=3)) == {"a": "record"}
        assert list(store.entries(LORA, kind=Kind.DOCUMENT)) == ["a", "b"]
        assert store.counts() == {LORA: 1}
        assert [e.kind for e in store.events()] == [Kind.RECORD, Kind.DOCUMENT, Kind.DOCUMENT]
        assert len(list(store.events(category=LORA))) == 1
        assert store.verify() == []

    def test_entries_read_at_once_equal_those_read_one_by_one(self, store: SqlStore) -> None:
        """A unit that read a category whole still sees its own changes before and after."""
        for name in "abc":
            put(store, name)
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "b", "2")
            unit.delete(LORA, "a")
            whole = unit.entries(LORA)
            assert whole == {name: unit.entry(LORA, name) for name in "bc"}
            assert unit.entry(LORA, "a") is None
            unit.put(LORA, "d", "4", expected=0)
            unit.delete(LORA, "c")
            assert list(unit.entries(LORA)) == ["b", "d"]
        assert content(store.snapshot(LORA)) == {"b": 2, "d": 4}

    def test_any_name_and_text_comes_back_as_it_was(self, store: SqlStore) -> None:
        """Slashes, quotes, emoji, 512 characters, a document of a megabyte; alike names stay apart."""
        documents = {name: {"name": name} for name in STRANGE_NAMES} | {"large": {"name": "é" * 500_000}}
        for name, document in documents.items():
            put(store, name, document, note=name[:20])
        assert content(store.snapshot(LORA)) == documents
        assert list(content(store.snapshot(LORA))) == list(documents)
        with store.begin(actor="alice") as unit:
            assert all(unit.delete(LORA, name) for name in STRANGE_NAMES)
        assert list(store.entries(LORA)) == ["large"]
        assert store.verify() == []

    @pytest.mark.parametrize("name", ["nul\0", "half \ud83d"])
    def test_text_that_no_database_can_hold_is_refused(self, store: SqlStore, name: str) -> None:
        """With the category and record it was about, in every database alike."""
        with pytest.raises(MalformedInput) as caught, store.begin(actor="alice") as unit:
            unit.put(LORA, name, "1")
        assert (caught.value.where, caught.value.record) == (LORA, name)
        with pytest.raises(MalformedInput), store.begin(actor="alice") as unit:
            unit.put(LORA, "a", "1", note=name)
        with pytest.raises(MalformedInput), store.begin(actor=name) as unit:
            unit.put(LORA, "a", "1")
        assert store.head() == 0
        assert list(store.events(since=10**20)) == []  # no database has such an integer

    @pytest.mark.parametrize(
        ("statements", "revision"),
        [
            (["UPDATE events SET document = '9' WHERE revision = 2"], 2),
            (["UPDATE events SET kind = 'nonsense' WHERE revision = 2"], 2),
            (["DELETE FROM events WHERE revision = 2"], 3),
            (["DELETE FROM events WHERE revision = 4"], 4),
            ([f"UPDATE events SET revision = {a} WHERE revision = {b}" for a, b in ((9, 2), (2, 3), (3, 9))], 2),
            (["UPDATE records SET document = '9' WHERE name = 'b'"], 2),
            (["UPDATE records SET name = 'z' WHERE name = 'b'"], 2),
            (["DELETE FROM records WHERE name = 'b'"], 2),
            ([_FOREIGN], 99),
        ],
        ids=[
            "edited",
            "unreadable",
            "lost",
            "last lost",
            "swapped",
            "row edited",
            "renamed",
            "row lost",
            "foreign row",
        ],
    )
    def test_verify_finds_what_was_done_behind_its_back(
        self, store: SqlStore, statements: list[str], revision: int
    ) -> None:
        """An event edited, deleted or swapped; a row edited, deleted or added: each is told by its revision."""
        for name in "abcd":
            put(store, name)
        assert store.verify() == []
        run_sql(store, *statements)
        faults = store.verify()
        assert revision in [fault for fault, _ in faults]
        assert all(reason for _, reason in faults)

    def test_an_event_that_cannot_be_read_is_an_error_of_the_store(self, store: SqlStore) -> None:
        """It names the revision."""
        put(store, "a")
        run_sql(store, "UPDATE events SET operation = 'nonsense'")
        with pytest.raises(StoreCorrupt, match="event 1 "):
            list(store.events())

    def test_a_clock_set_back_keeps_events_in_order_of_time(self, store: SqlStore) -> None:
        """Reading at a time needs times that never fall."""
        put(store, "a", at_ms=5_000)
        put(store, "b", at_ms=1_000)
        put(store, "c", at_ms=7_000)
        assert [e.at for e in store.events()] == [5_000, 5_000, 7_000]
        assert [store.revision_at(time) for time in (4_999, 5_000, 6_999, 7_000)] == [0, 2, 2, 3]

    def test_the_time_of_an_event_is_now_unless_given(self, store: SqlStore) -> None:
        """In milliseconds, and later than the year 2020."""
        with store.begin(actor="alice") as unit:
            unit.put(LORA, "a", "1")
        assert 1_577_836_800_000 < next(store.events()).at < 10_000_000_000_000

    def test_many_threads_lose_no_update_and_leave_no_gap(self, store: SqlStore) -> None:
        """Eight writers of 25 increments each, all of one record."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: increment(store, 25), range(8)))
        assert content(store.snapshot(COUNTER)) == {"count": 200}
        assert [e.revision for e in store.events()] == list(range(1, 201))
        assert store.verify() == []

    def test_two_processes_lose_no_update_and_leave_no_gap(self, store: SqlStore, address: str) -> None:
        """Both create the database at once and then write one record 40 times each, while this one reads."""
        writers = [start("increment", address, "40") for _ in range(2)]
        assert [first_line_of(writer) for writer in writers] == ["ready", "ready"]
        for writer in writers:
            let_go(writer)
        heads = []
        while any(writer.poll() is None for writer in writers):
            heads.append(store.head())
            time.sleep(0.005)
        assert [lines_of(writer) for writer in writers] == [["done"], ["done"]]
        assert content(store.snapshot(COUNTER)) == {"count": 80}
        assert [e.revision for e in store.events()] == list(range(1, 81))
        assert all(before <= after for before, after in pairwise(heads))
        assert store.verify() == []

    def test_readers_beside_writers_see_true_labels_and_no_step_back(self, store: SqlStore) -> None:
        """A snapshot labelled N is what the events up to N lead to; revisions never fall; verify stays silent."""
        seen: list[Snapshot] = []
        faults: list[tuple[int, str]] = []
        end = threading.Event()

        def read(what: Literal["snapshot", "verify"]) -> None:
            while not end.is_set():
                if what == "snapshot":
                    seen.append(store.snapshot(LORA))
                else:
                    faults.extend(store.verify())

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read, "snapshot"), pool.submit(read, "verify")]
            self._write_busily(store, 60)
            end.set()
            for reader in readers:
                reader.result()
        assert faults == []
        assert all((before.revision or 0) <= (after.revision or 0) for before, after in pairwise(seen))
        events = list(store.events())
        by_revision = {snapshot.revision: snapshot for snapshot in seen}
        for revision, snapshot in by_revision.items():
            assert list(content(snapshot).items()) == list(replayed(events[:revision]).items())
            assert store.snapshot(LORA, at=revision).body == snapshot.body

    @staticmethod
    def _write_busily(store: SqlStore, rounds: int) -> None:
        for i in range(rounds):
            with store.begin(actor="alice") as unit:
                unit.put(LORA, f"m{i % 7}", str(i))
                unit.put(LORA, f"n{i % 5}", str(i))
                unit.delete(LORA, f"m{(i + 3) % 7}")

    def test_a_closed_store_opens_again_by_itself(self, store: SqlStore, address: str) -> None:
        """`close` gives back connections and nothing else; another store on the same address sees the same."""
        put(store, "a")
        store.close()
        store.close()
        assert content(store.snapshot(LORA)) == {"a": 1}
        other = SqlStore(address)
        assert other.head() == 1
        other.close()

    def test_whoever_subscribes_is_called_after_the_commit_the_last_one_first(self, store: SqlStore) -> None:
        """Readers take note before the mirror writes files, and each finds the change when it looks."""
        heard: list[tuple[str, int]] = []
        store.subscribe(lambda: heard.append(("mirror", store.head())))
        store.subscribe(lambda: heard.append(("reader", store.head())))
        put(store, "a")
        assert heard == [("reader", 1), ("mirror", 1)]
