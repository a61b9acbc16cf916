"""Every source keeps the contract; bad files are refused by name; policies decide who answers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from horde_model_reference.backends import ModelReferenceBackend
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import ReferenceUnavailable, SourceUnavailable
from horde_model_reference.flow import NoNetwork
from horde_model_reference.reference import Reference
from horde_model_reference.sources.base import Source
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.http import PrimarySource
from horde_model_reference.sources.layered import Checked, FirstThatAnswers
from horde_model_reference.sources.local import BackendSource, StarterSource, StoreSource
from horde_model_reference.sources.remembered import Remembered
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.transport import HttpNetwork
from tests.reading.contract import SourceContract
from tests.reading.samples import ESRGAN, Scripted, answered, ask_for, text
from tests.reading.simulators import Loopback, Primary, http

NO_NETWORK = NoNetwork()


def _write(folder: Path, documents: dict[str, object]) -> None:
    (folder / "esrgan.json").write_text(text(documents), "utf-8")


class TestFolder(SourceContract):
    """A folder of v2 files."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> FolderSource:
        _write(tmp_path, self.documents)
        return FolderSource(tmp_path)

    def change(self, source: Source, documents: dict[str, object]) -> None:
        assert isinstance(source, FolderSource)
        _write(source.root, documents)


class TestStarter(SourceContract):
    """The catalogue in the package."""

    documents = json.loads(StarterSource.body("esrgan") or b"")
    can_change = False

    @pytest.fixture
    def source(self) -> StarterSource:
        return StarterSource()


class TestStore(SourceContract):
    """The store of a PRIMARY, where a category without records is an empty one."""

    absent = None

    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[StoreSource]:
        store = SqlStore(f"sqlite:///{tmp_path / 'reference.sqlite3'}")
        source = StoreSource(store)
        self.change(source, self.documents)
        yield source
        store.close()

    def change(self, source: Source, documents: dict[str, object]) -> None:
        assert isinstance(source, StoreSource)
        with source.store.begin(actor="test") as unit:
            for name, document in documents.items():
                unit.put("esrgan", name, json.dumps(document, separators=(",", ":")))


class Backend(ModelReferenceBackend):
    """An application's own; raises what a test puts into `fault`."""

    def __init__(self, documents: JsonObject) -> None:
        self.documents = documents
        self.fault: Exception | None = None

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        if self.fault is not None:
            raise self.fault
        return self.documents if category == "esrgan" else None


class TestBackend(SourceContract):
    """A backend as a source."""

    @pytest.fixture
    def source(self) -> BackendSource:
        return BackendSource(Backend(dict(self.documents)))  # type: ignore[arg-type]

    def change(self, source: Source, documents: dict[str, object]) -> None:
        assert isinstance(source, BackendSource)
        assert isinstance(source.backend, Backend)
        source.backend.documents = dict(documents)  # type: ignore[arg-type]


class TestPrimary(SourceContract):
    """PRIMARY over HTTP."""

    @pytest.fixture
    def source(self) -> Iterator[PrimarySource]:
        self.primary = Primary({"esrgan": self.documents})
        network = HttpNetwork()
        self.network = network
        with Loopback(self.primary) as self.server:
            yield PrimarySource(f"{self.server.url}/api", 5.0, 1_000_000)
        network.close()

    def change(self, source: Source, documents: dict[str, object]) -> None:
        self.primary.records["esrgan"] = documents

    def test_it_asks_with_the_tag_and_takes_over_the_revision(self, source: Source) -> None:
        """304 costs no body, and the snapshot is relabelled with the revision at which it is still current."""
        first = self.read(source, "esrgan")
        self.primary.revision = 9
        second = self.read(source, "esrgan", first)
        assert (first.revision, second.revision, second.body is first.body) == (7, 9, True)
        assert self.server.requests[-1].headers["if-none-match"] == first.tag
        assert self.server.requests[0].path == "/api/model_references/v2/esrgan"

    @pytest.mark.parametrize(
        "answer",
        [
            http(500, b"Internal Server Error"),
            http(200, b"<html>captive portal</html>"),
            http(200, b'{"A": {"name"'),
            http(200, b"[]"),
            http(200, b""),
            http(204),
            http(304),
            http(200, b'{"A": NaN}'),
        ],
        ids=["500", "html", "truncated", "list", "empty", "204", "304 unasked", "NaN"],
    )
    def test_an_answer_that_is_no_category_is_refused(self, source: Source, answer: bytes) -> None:
        """It never becomes a snapshot."""
        self.primary.broken = answer
        with pytest.raises(SourceUnavailable):
            self.read(source, "esrgan")

    def test_a_tag_that_cannot_be_sent_back_is_forgotten(self, source: Source) -> None:
        """A header that is no ASCII once made every later read fail with `UnicodeEncodeError`."""
        self.primary.broken = http(200, b'{"A": {"name": "A"}}', etag='"\xe9"')
        first = self.read(source, "esrgan")
        assert first.tag is None
        assert self.read(source, "esrgan", first).body == first.body

    def test_a_strange_revision_is_none(self, source: Source) -> None:
        """The header is somebody else's text."""
        for strange in ("\xb2", "9" * 5_000):  # an integer of so many digits once raised a `ValueError`
            self.primary.broken = http(200, b"{}", x_reference_revision=strange)
            assert self.read(source, "esrgan").revision is None


class TestLayered(TestFolder):
    """The first that answers keeps the contract of a source too."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> FolderSource:
        _write(tmp_path, self.documents)
        absent = Scripted({}, refuses=True)
        return _WithRoot((absent, FolderSource(tmp_path)), tmp_path)  # type: ignore[return-value]

    def change(self, source: Source, documents: dict[str, object]) -> None:
        _write(source.root, documents)  # type: ignore[attr-defined]


class _WithRoot(FirstThatAnswers):
    def __init__(self, sources: tuple[Source, ...], root: Path) -> None:
        super().__init__(sources)
        object.__setattr__(self, "root", root)


class TestRemembered(SourceContract):
    """What is remembered is what the inner source gives."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Remembered:
        return Remembered(Scripted({"esrgan": self.documents}), FolderSource(tmp_path))

    def change(self, source: Source, documents: dict[str, object]) -> None:
        assert isinstance(source, Remembered)
        assert isinstance(source.source, Scripted)
        source.source.documents["esrgan"] = documents

    def test_the_files_are_what_an_offline_reader_reads(self, source: Source, tmp_path: Path) -> None:
        """Written whole, indented, and not again where nothing changed."""
        first = self.read(source, "esrgan")
        path = tmp_path / "esrgan.json"
        assert json.loads(path.read_bytes()) == self.documents
        assert self.read(FolderSource(tmp_path), "esrgan").body == first.body
        before = path.stat().st_ino
        self.read(source, "esrgan", first)
        assert path.stat().st_ino == before

    def test_a_disk_that_refuses_costs_nothing_but_a_warning(
        self, source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A folder stands where the file should go."""
        (tmp_path / "esrgan.json" / "x").mkdir(parents=True)
        with caplog.at_level(logging.WARNING, "horde_model_reference"):
            assert json.loads(self.read(source, "esrgan").body) == self.documents
        assert "cannot be written" in caplog.text
        assert "esrgan.json" in caplog.text


# -- bad files --

GOOD = text(ESRGAN).encode()
BAD = {
    "empty": b"",
    "truncated": GOOD[:-10],
    "not UTF-8": b'{"A": {"name": "\xff"}}',
    "NaN": b'{"A": {"name": "A", "x": NaN}}',
    "a list": b"[1, 2]",
    "null": b"null",
    "100,000 levels": b'{"A":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lone surrogate": b'{"A": {"name": "\\ud800"}}',
    "text": b"not JSON at all",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_name_and_the_other_categories_are_served(tmp_path: Path, content: bytes) -> None:
    """One broken file is one broken file."""
    (tmp_path / "esrgan.json").write_bytes(content)
    (tmp_path / "gfpgan.json").write_text('{"G": {"name": "G"}}')
    source = FolderSource(tmp_path)
    with pytest.raises(SourceUnavailable, match=r"esrgan\.json") as caught:
        answered(source, ask_for("esrgan"))
    assert caught.value.source == str(tmp_path)
    reference = Reference(source, NO_NETWORK)
    assert list(reference.read("gfpgan")) == ["G"]
    with pytest.raises(ReferenceUnavailable):
        reference.read("esrgan")


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_turns_bad_costs_nothing_that_was_good(tmp_path: Path, content: bytes) -> None:
    """The reader keeps what it read before and says why."""
    path = tmp_path / "esrgan.json"
    path.write_bytes(GOOD)
    reference = Reference(FolderSource(tmp_path), NO_NETWORK)
    reference.read("esrgan")
    path.write_bytes(content)
    assert list(reference.read("esrgan", fresh=True)) == list(ESRGAN)
    assert "esrgan.json" in reference.status()[0].fault


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n")], ids=["BOM", "CRLF"])
def test_files_as_windows_writes_them_are_read(tmp_path: Path, content: bytes) -> None:
    """A byte order mark and carriage returns mean nothing."""
    (tmp_path / "esrgan.json").write_bytes(content)
    assert json.loads(answered(FolderSource(tmp_path), ask_for("esrgan")).body) == ESRGAN


def test_an_absent_file_and_an_absent_folder_are_refused_by_name(tmp_path: Path) -> None:
    """The error tells which file was looked for."""
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(SourceUnavailable, match=r"stable_diffusion\.json"):
            answered(FolderSource(folder), ask_for("image_generation"))


def test_a_folder_or_an_unreadable_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    (tmp_path / "esrgan.json").mkdir()
    (tmp_path / "gfpgan.json").write_bytes(b"{}")
    (tmp_path / "gfpgan.json").chmod(0)
    with pytest.raises(SourceUnavailable, match=r"esrgan\.json: .*not a regular file"):
        answered(FolderSource(tmp_path), ask_for("esrgan"))
    if os.getuid() != 0:
        with pytest.raises(SourceUnavailable, match=r"gfpgan\.json: Permission denied"):
            answered(FolderSource(tmp_path), ask_for("gfpgan"))


def test_one_bad_record_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    """A list, a string and a record without its fields; the good ones are read."""
    records = {"good": {"name": "good"}, "list": [], "text": "x", "bad": {"name": 5}}
    (tmp_path / "esrgan.json").write_text(text(records))
    reference = Reference(FolderSource(tmp_path), NO_NETWORK)
    assert list(reference.read("esrgan")) == ["good"]
    findings = reference.status()[0].set_aside
    assert {finding.record for finding in findings} == {"list", "text", "bad"}
    assert [f.field for f in findings if f.record == "bad"] == ["name"]
    assert reference.raw("esrgan") == records


def test_a_category_of_which_no_record_can_be_read_is_refused(tmp_path: Path) -> None:
    """Valid JSON of something else must not pass for an empty category."""
    (tmp_path / "esrgan.json").write_text('{"detail": "not found"}')
    with pytest.raises(ReferenceUnavailable) as caught:
        Reference(FolderSource(tmp_path), NO_NETWORK).read("esrgan")
    assert "not one record of esrgan" in caught.value.reason


# -- policies --


def test_the_first_that_answers_decides() -> None:
    """The next is asked only where one refuses; if all refuse, each reason is told."""
    first, second = Scripted(name="first"), Scripted(name="second")
    both = FirstThatAnswers((first, second))
    assert answered(both, ask_for("esrgan")).source == "first"
    first.refuses = True
    assert answered(both, ask_for("esrgan")).source == "second"
    second.refuses = True
    with pytest.raises(SourceUnavailable) as caught:
        answered(both, ask_for("esrgan"))
    assert "first: has no esrgan" in caught.value.reason
    assert "second: has no esrgan" in caught.value.reason


def test_a_source_of_less_trust_never_replaces_what_a_better_one_gave() -> None:
    """Once a dead PRIMARY made a reader fall back from its good records to the starter catalogue."""
    primary = Scripted(name="primary")
    reference = Reference(FirstThatAnswers((primary, StarterSource())), NO_NETWORK, max_age=0)
    assert list(reference.read("esrgan")) == ["A", "B"]
    primary.refuses = True
    assert list(reference.read("esrgan")) == ["A", "B"]
    assert reference.status()[0].fault
    primary.documents["esrgan"] = {"C": {"name": "C"}}
    primary.refuses = False
    assert list(reference.read("esrgan")) == ["C"]
    assert not reference.status()[0].fault


def test_what_a_lesser_source_gave_gives_way_to_a_better_one() -> None:
    """PRIMARY was down at the start and comes back."""
    primary = Scripted(name="primary", refuses=True)
    reference = Reference(FirstThatAnswers((primary, StarterSource())), NO_NETWORK, max_age=0)
    assert reference.read("esrgan")
    primary.refuses = False
    assert list(reference.read("esrgan")) == ["A", "B"]


@pytest.mark.parametrize(
    "fault", [OSError("disk"), RuntimeError("no"), KeyError("x"), ValueError("y"), StopIteration()], ids=repr
)
def test_a_backend_may_raise_whatever_it_likes(fault: Exception) -> None:
    """It is a plug-in: a reader gets `ReferenceUnavailable`, or keeps what it has."""
    backend = Backend(dict(ESRGAN))  # type: ignore[arg-type]
    reference = Reference(BackendSource(backend), NO_NETWORK)
    backend.fault = fault
    with pytest.raises(ReferenceUnavailable) as caught:
        reference.read("esrgan")
    assert type(fault).__name__ in caught.value.reason
    backend.fault = None
    reference.read("esrgan")
    backend.fault = fault
    assert list(reference.read("esrgan", fresh=True)) == ["A", "B"]


NONSENSE = {"a list": [1], "a text": "text", "no JSON": {"A": object()}, "not a number": {"A": float("nan")}}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_backend_may_answer_nonsense(answer: object) -> None:
    """Something that is no JSON object of records is a refusal, not a crash."""
    reference = Reference(BackendSource(Backend(answer)), NO_NETWORK)  # type: ignore[arg-type]
    with pytest.raises(ReferenceUnavailable):
        reference.read("esrgan")


def test_the_starter_catalogue_has_every_canonical_category_that_has_data() -> None:
    """An air-gapped first run reads something of each."""
    reference = Reference(StarterSource(), NO_NETWORK)
    reference.warm()
    held = {category for category, records in reference.held().items() if records}
    assert {"image_generation", "text_generation", "esrgan", "controlnet", "clip"} <= held
    assert not any(status.set_aside for status in reference.status())
    assert isinstance(answered(StarterSource(), ask_for("clip")), Snapshot)


def test_an_error_page_in_json_is_neither_given_nor_remembered(tmp_path: Path) -> None:
    """Status 200 and `{"detail": ...}` once replaced the good file on the disk, and a restart had nothing to read."""
    primary, folder = Scripted({"esrgan": dict(ESRGAN)}), FolderSource(tmp_path)
    source = Remembered(Checked(primary), folder)
    assert list(Reference(source, NoNetwork()).read("esrgan", fresh=True)) == ["A", "B"]
    primary.documents["esrgan"] = {"detail": "maintenance"}
    assert list(Reference(source, NoNetwork()).read("esrgan", fresh=True)) == ["A", "B"]
    assert list(Reference(folder, NoNetwork()).read("esrgan")) == ["A", "B"]
