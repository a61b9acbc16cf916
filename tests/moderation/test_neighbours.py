"""The index of names and files: it finds what is near, follows every change, and costs the same whatever its size."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from horde_model_reference.domain.events import Kind
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.moderation.neighbours import NeighbourIndex
from horde_model_reference.moderation.prereview import Neighbours
from horde_model_reference.stores.sql import SqlStore

HASH = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """An empty store."""
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    yield store
    store.close()


def record(name: str, *hashes: str) -> JsonObject:
    """A record with files of these hashes."""
    files: list[JsonObject] = [
        {"file_name": f"{n}", "file_url": "", "sha256sum": each} for n, each in enumerate(hashes)
    ]
    return {"name": name, "config": {"download": [*files]}}


def put(store: SqlStore, category: str, *records: JsonObject) -> None:
    """Store them all at once."""
    with store.begin(actor="test") as unit:
        for each in records:
            unit.put(category, str(each["name"]), encode(each).decode())


def test_names_that_read_the_same_are_near_in_their_own_category(store: SqlStore) -> None:
    """Letter case and separators do not tell names apart; the category does, and a record is not near itself."""
    put(store, "blip", record("My Model v1.5"), record("my-model_V1.5"), record("My Model v15"))
    put(store, "clip", record("My Model v1.5"))
    index = NeighbourIndex(store)
    assert index.near("blip", "My Model v1.5", record("x")) == Neighbours(("my-model_V1.5",))
    assert index.near("blip", "MY_MODEL_v1.5", record("x")).names == ("My Model v1.5", "my-model_V1.5")


def test_the_same_file_is_found_in_every_category(store: SqlStore) -> None:
    """Hashes are compared in small letters; unknown ones are nobody's."""
    put(store, "blip", record("a", HASH.upper()), record("b", "FIXME"))
    put(store, "clip", record("c", HASH, HASH))
    near = NeighbourIndex(store).near("blip", "b", record("b", HASH, "FIXME", ""))
    assert near.holders == {HASH: (("blip", "a"), ("clip", "c"))}


def test_what_changes_later_is_known_to_the_next_question(store: SqlStore) -> None:
    """Created, changed, renamed and deleted records, and side documents in between that are no records."""
    put(store, "blip", record("a", HASH))
    index = NeighbourIndex(store)
    assert index.near("blip", "z", record("z", HASH)).holders[HASH] == (("blip", "a"),)
    put(store, "blip", record("A", HASH), record("a"))
    assert index.near("blip", "z", record("z", HASH)).holders[HASH] == (("blip", "A"),)
    assert index.near("blip", "a", record("a")).names == ("A",)
    with store.begin(actor="test") as unit:
        unit.delete("blip", "A")
    assert index.near("blip", "a", record("a", HASH)) == Neighbours((), {HASH: ()})
    assert set(index._found) == {("blip", "a")}, "nothing is kept of what is gone"


def test_documents_beside_the_records_are_no_neighbours(store: SqlStore) -> None:
    """Aliases and the like share the log of events."""
    index = NeighbourIndex(store)
    for name in ("a", "b"):
        assert index.near("blip", "A", record("A", HASH)) == Neighbours((), {HASH: ()})
        with store.begin(actor="test") as unit:
            unit.put("blip", name, encode(record(name, HASH)).decode(), kind=Kind.DOCUMENT)


def test_an_index_that_grew_with_the_store_equals_one_that_is_built_from_it(store: SqlStore) -> None:
    """However the changes are cut into questions."""
    grown = NeighbourIndex(store)
    for number in range(20):
        put(store, "blip", record(f"m {number % 7}", f"{number:064x}"), record("same", HASH))
        grown.near("blip", "same", record("same"))
    built = NeighbourIndex(store)
    built.near("blip", "same", record("same"))
    assert (grown._found, grown._keys) == (built._found, built._keys)


def test_a_question_reads_only_what_happened_since_the_last_one(store: SqlStore) -> None:
    """The records are read once: afterwards what is in them no longer matters."""
    put(store, "blip", *(record(f"m{number}", f"{number:064x}") for number in range(500)))
    asked: list[int] = []

    class Counting(SqlStore):
        def entries(self, *args: object, **options: object) -> dict[str, object]:  # type: ignore[override]
            asked.append(-1)
            return super().entries(*args, **options)  # type: ignore[arg-type,return-value]

        def events(self, **options: int) -> Iterator[object]:  # type: ignore[override]
            for event in super().events(**options):  # type: ignore[arg-type]
                asked.append(event.revision)
                yield event

    index = NeighbourIndex(Counting(store.url))
    index.near("blip", "m1", record("m1"))
    put(store, "blip", record("new"))
    index.near("blip", "m1", record("m1"))
    index.near("blip", "m1", record("m1"))
    assert asked == [-1, 501]


def test_many_threads_may_ask_while_records_change(store: SqlStore) -> None:
    """Each answer holds all that was stored before the question."""
    index = NeighbourIndex(store)

    def work(number: int) -> bool:
        mine = f"{number:064x}"
        put(store, "blip", record(f"m{number}", mine))
        return index.near("clip", "me", record("me", mine)).holders[mine] == (("blip", f"m{number}"),)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))
