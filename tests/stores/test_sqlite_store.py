"""The store over SQLite: the contract, and what happens to files."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from horde_model_reference.errors import StoreCorrupt, StoreTooNew, StoreUnavailable
from horde_model_reference.stores.sql import SqlStore
from tests.stores.contract import StoreContract, put, run_sql
from tests.stores.processes import first_line_of, lines_of, start


class TestSqliteStore(StoreContract):
    """The contract over SQLite."""

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        """A file that is not there yet, in a folder that is not there yet."""
        return f"sqlite:///{tmp_path / 'new folder' / 'reference.sqlite3'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database file is."""
    return tmp_path / "reference.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    """A store over it, with one record; it waits for a lock no longer than a fifth of a second."""
    store = SqlStore(f"sqlite:///{path}", timeout=0.2)
    put(store, "a")
    yield store
    store.close()


def test_a_commit_is_on_the_disk_before_it_returns(store: SqlStore) -> None:
    """Every connection writes ahead and waits for the disk."""
    with store._transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_write_waits_for_another_process_only_so_long(store: SqlStore, path: Path) -> None:
    """Then it says why; reads go on meanwhile, and the write succeeds when the other has ended."""
    with start("hold", f"sqlite:///{path}") as holder:
        assert first_line_of(holder) == "held"
        with pytest.raises(StoreUnavailable, match="write lock"):
            put(store, "b")
        assert store.head() == 1
        lines_of(holder)
    assert put(store, "b") == 2


def test_a_write_waits_for_another_thread_only_so_long(store: SqlStore) -> None:
    """Also for itself: a unit of work inside another one can never begin."""
    with store.begin(actor="alice") as unit:
        unit.put("lora", "b", "1")
        with pytest.raises(StoreUnavailable, match="another write of this process"):
            put(store, "c")
    assert put(store, "c") == 3


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever its name may say" * 99, b"PK\x03\x04" + bytes(9999)]
)
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    """The error says what it is and what to do."""
    path.write_bytes(content)
    store = SqlStore(f"sqlite:///{path}")
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="is no SQLite database; restore"):
            store.head()
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_no_store(path: Path) -> None:
    """It has tables of our names, but not ours: nothing is changed."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE meta (a, b)")
    other.close()
    with pytest.raises(StoreCorrupt, match="no database of this package"):
        SqlStore(f"sqlite:///{path}").head()


@pytest.mark.parametrize("damage", ["overwritten", "truncated"])
def test_a_damaged_file_is_told(store: SqlStore, path: Path, damage: str) -> None:
    """Pages overwritten, or missing at the end: an error of ours, no wrong answer."""
    with store.begin(actor="alice") as unit:
        for i in range(500):
            unit.put("lora", f"m{i}", json.dumps("x" * 500))
    store.close()
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192) if damage == "overwritten" else data[:half])
    with pytest.raises(StoreCorrupt, match="is damaged; restore"):
        store.verify()


def test_a_full_disk_changes_nothing(store: SqlStore) -> None:
    """The write is refused, what was there is served, and with room again writing goes on."""
    with store._transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable, match="disk is full"):
        put(store, "large", "x" * 100_000)
    assert store.head() == 1
    assert store.verify() == []
    with store._transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert put(store, "large", "x" * 100_000) == 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter: pytest's own is private."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def test_a_file_of_another_user_is_told(open_folder: Path) -> None:
    """Neither a database that may not be written, nor a folder where none may be made, ends in a traceback."""
    address = f"sqlite:///{open_folder / 'reference.sqlite3'}"
    store = SqlStore(address)
    put(store, "a")
    store.close()
    for path in open_folder.iterdir():
        path.chmod(0o444)
    open_folder.chmod(0o555)
    (refused,) = lines_of(start("unprivileged", address, "write"))
    assert refused.startswith(f"StoreUnavailable {store.url}: ")
    assert "check" in refused
    elsewhere = f"sqlite:///{open_folder / 'new' / 'reference.sqlite3'}"
    (refused,) = lines_of(start("unprivileged", elsewhere, "write"))
    assert refused.startswith("StoreUnavailable")
    assert "folder" in refused
    assert store.head() == 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file is where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="folder cannot be made"):
        SqlStore(f"sqlite:///{tmp_path / 'file' / 'sub' / 'reference.sqlite3'}").head()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SqlStore(f"sqlite:///{tmp_path / 'folder'}").head()


def test_a_database_of_a_later_version_is_not_touched(store: SqlStore, path: Path) -> None:
    """The error says which version it has and which is known here."""
    run_sql(store, "UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    store.close()
    before = path.read_bytes()
    later = SqlStore(f"sqlite:///{path}")
    for action in (later.head, later.verify, lambda: put(later, "b")):
        with pytest.raises(StoreTooNew, match="has schema version 99, this package knows 2; install a newer one"):
            action()
    later.close()
    assert path.read_bytes() == before


def test_a_schema_version_that_is_no_number_is_told(store: SqlStore, path: Path) -> None:
    """Someone edited it: the store does not guess."""
    run_sql(store, "UPDATE meta SET value = 'soon' WHERE key = 'schema_version'")
    store.close()
    with pytest.raises(StoreCorrupt):
        store.head()


def test_an_unknown_statement_is_an_error_of_the_store(store: SqlStore) -> None:
    """Whatever the driver raises, the caller sees a StoreError."""
    with pytest.raises(StoreCorrupt), store._transaction() as connection:
        connection.exec_driver_sql("SELECT nonsense")


def test_opening_waits_for_another_process_that_creates_the_database(path: Path) -> None:
    """SQLite itself does not wait where a new file is switched to WAL mode while another process writes its first."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in ("CREATE TABLE beside (a)", "BEGIN IMMEDIATE", "INSERT INTO beside VALUES (1)"):
        other.execute(statement)
    with pytest.raises(StoreUnavailable, match="write lock"):
        SqlStore(f"sqlite:///{path}", timeout=0.1).head()
    end = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    end.start()
    assert SqlStore(f"sqlite:///{path}").head() == 0
    end.join()
    other.close()


def test_a_forked_child_and_its_parent_write_side_by_side(path: Path) -> None:
    """The child leaves the parent's connections alone and opens its own."""
    (answer,) = lines_of(start("fork", f"sqlite:///{path}"))
    assert json.loads(answer) == [0, 50, []]


def test_a_fork_in_the_middle_of_a_unit_of_work_is_told(path: Path) -> None:
    """SQLite cannot be made safe in that child, so it is refused with the reason; the parent's unit commits."""
    (answer,) = lines_of(start("fork in the middle", f"sqlite:///{path}"))
    assert json.loads(answer) == [1, 1, []]


def test_a_child_loses_no_write_when_its_parent_closes(path: Path) -> None:
    """The parent took itself for the last one and deleted the log that the child was writing to."""
    (answer,) = lines_of(start("fork and close", f"sqlite:///{path}"))
    assert json.loads(answer) == ["4", []]


def test_a_killed_writer_loses_nothing_that_it_reported(path: Path) -> None:
    """Twenty times SIGKILL at a random moment: units are whole, acknowledged ones are there, verify is silent."""
    (answer,) = lines_of(start("kill", f"sqlite:///{path}", "20"))
    lost, written = json.loads(answer)
    assert lost == []
    assert written >= 10
