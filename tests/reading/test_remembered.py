"""What a host remembers: copies on the disk with notes about them, and when they save asking."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.sources.base import Ask
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.layered import FirstThatAnswers
from horde_model_reference.sources.remembered import Remembered
from tests.reading.samples import ESRGAN, IMAGES, Told, answered, ask_for, found, snapshot, text

NEWER = {**ESRGAN, "C": {"name": "C"}}


def _facts(snapshot: Snapshot | SourceUnavailable) -> tuple[object, ...]:
    """Also what does not count when two snapshots are compared."""
    assert isinstance(snapshot, Snapshot), snapshot
    facts = (snapshot.category, snapshot.body, snapshot.revision, snapshot.source)
    return (*facts, snapshot.tag, snapshot.checked, snapshot.instead)


def _kept(root: Path, *snapshots: Snapshot) -> FolderSource:
    folder = FolderSource(root)
    folder.keep({snapshot.category: snapshot for snapshot in snapshots})
    return folder


def _files(root: Path) -> dict[str, tuple[int, int]]:
    """What was written when, by name; a file that was replaced is another one."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.glob("*.json")}


def _notes(root: Path) -> Path:
    (path,) = root.glob(".*.json")
    return path


# -- copies with notes --


def test_a_copy_survives_a_restart_as_it_was(tmp_path: Path) -> None:
    """Another process knows of it what this one knew: source, revision, tag, and when it was last current."""
    one = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=1_700_000_000.5)
    other = snapshot(IMAGES, "image_generation", source="GitHub", tag="Tue, 14 Nov 2023", checked=1_700_000_100.0)
    _kept(tmp_path, one, other)
    answers = found(FolderSource(tmp_path), Ask({"esrgan": None, "image_generation": None}))
    assert _facts(answers["esrgan"]) == _facts(one)
    assert _facts(answers["image_generation"]) == _facts(other)


def test_what_was_just_read_is_noted_with_the_time(tmp_path: Path) -> None:
    """`checked` 0 means now."""
    before = time.time()
    copy = answered(_kept(tmp_path, snapshot(ESRGAN, source="primary")), ask_for("esrgan"))
    assert before <= copy.checked <= time.time()


def test_a_reader_that_has_the_copy_gets_its_own_body_with_what_is_known_now(tmp_path: Path) -> None:
    """Another process heard that it is still current at a later revision: nothing is validated again."""
    known = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0)
    folder = _kept(tmp_path, known)
    _kept(tmp_path, snapshot(ESRGAN, source="primary", revision=9, tag='"x"', checked=200.0))
    copy = answered(folder, ask_for("esrgan", known))
    assert copy.body is known.body
    assert (copy.revision, copy.checked) == (9, 200.0)


def test_what_was_wrong_at_the_last_question_is_not_wrong_with_a_later_copy(tmp_path: Path) -> None:
    """The reader began while PRIMARY was down; meanwhile another process has reached it."""
    known = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0, instead="primary: refused")
    folder = _kept(tmp_path, snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=200.0))
    assert answered(folder, ask_for("esrgan", known)).instead == ""


def test_a_note_that_does_not_fit_its_file_is_ignored(tmp_path: Path) -> None:
    """Another program wrote the file: it is read, as one that nobody knows more about."""
    folder = _kept(tmp_path, snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0))
    (tmp_path / "esrgan.json").write_text(text(NEWER))
    copy = answered(folder, ask_for("esrgan"))
    assert json.loads(copy.body) == NEWER
    assert (copy.source, copy.revision) == (folder.name, None)
    assert copy.checked == pytest.approx((tmp_path / "esrgan.json").stat().st_mtime)


NOTES = {
    "empty": b"",
    "torn": b'{"esrgan": {"source": "primary", "rev',
    "a list": b"[]",
    "null": b"null",
    "other fields": b'{"esrgan": {"mood": 5}}',
    "another shape": b'{"esrgan": []}',
    "text for a number": b'{"esrgan": {"source": 5, "revision": "x", "tag": 3, "checked": null, "sha256": 1}}',
    "not UTF-8": b'{"esrgan\xff": {}}',
    "very deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", NOTES.values(), ids=NOTES)
def test_damaged_notes_cost_only_what_they_said(tmp_path: Path, content: bytes) -> None:
    """The files are read all the same, and the next answer mends the notes."""
    known = snapshot(ESRGAN, source="primary", revision=7, checked=100.0)
    folder = _kept(tmp_path, known)
    _notes(tmp_path).write_bytes(content)
    copy = answered(folder, ask_for("esrgan"))
    assert (copy.body, copy.source, copy.revision) == (known.body, folder.name, None)
    folder.keep({"esrgan": known})
    assert _facts(answered(folder, ask_for("esrgan"))) == _facts(known)


def test_a_damaged_file_is_mended_by_the_next_answer(tmp_path: Path) -> None:
    """The notes beside it are sound and say that it is what PRIMARY gives, which it is not any more."""
    known = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0)
    folder = _kept(tmp_path, known)
    for damage in (b'{"A": {"na', b"", text({"A": {"name": "A"}}).encode()):
        (tmp_path / "esrgan.json").write_bytes(damage)
        answered(Remembered(Told().gives(known), folder), ask_for("esrgan", since=time.time()))
        assert _facts(answered(FolderSource(tmp_path), ask_for("esrgan"))) == _facts(known)


def test_a_category_is_written_only_where_its_records_changed(tmp_path: Path) -> None:
    """Many processes look at these files, and other programs watch them."""
    one = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0)
    other = snapshot(IMAGES, "image_generation", source="primary", revision=7, tag='"y"', checked=100.0)
    folder = _kept(tmp_path, one, other)
    before = _files(tmp_path)
    folder.keep({"esrgan": one, "image_generation": other})
    assert _files(tmp_path) == before
    folder.keep({"esrgan": one.still_current(8), "image_generation": SourceUnavailable("primary", "down")})
    untagged = snapshot(ESRGAN, source="primary", revision=9, checked=100.0)
    folder.keep({"esrgan": untagged})
    assert {name: facts for name, facts in _files(tmp_path).items() if name[0] != "."} == {
        name: facts for name, facts in before.items() if name[0] != "."
    }
    assert answered(folder, ask_for("esrgan")).revision == 9
    folder.keep({"esrgan": snapshot(NEWER, source="primary", revision=10)})
    after = _files(tmp_path)
    assert after["esrgan.json"] != before["esrgan.json"]
    assert after["stable_diffusion.json"] == before["stable_diffusion.json"]


def test_nothing_goes_back_to_an_earlier_revision(tmp_path: Path) -> None:
    """The slower of two processes brings what the other has overtaken."""
    newer = snapshot(NEWER, source="primary", revision=8, checked=100.0)
    folder = _kept(tmp_path, newer)
    folder.keep({"esrgan": snapshot(ESRGAN, source="primary", revision=7, checked=200.0)})
    assert _facts(answered(folder, ask_for("esrgan"))) == _facts(newer)
    folder.keep({"esrgan": snapshot(ESRGAN, source="another primary", revision=1, checked=200.0)})
    assert answered(folder, ask_for("esrgan")).source == "another primary"


def test_a_substitute_does_not_replace_the_copy_of_what_it_stands_in_for(tmp_path: Path) -> None:
    """A process that began while PRIMARY was down reads GitHub; since then another has brought PRIMARY's records."""
    primary, github = Told(name="primary").refuses("esrgan"), Told(name="github")
    old = snapshot(ESRGAN, source="github", tag='"g"')
    github.gives(old)
    source = Remembered(FirstThatAnswers((primary, github)), FolderSource(tmp_path))
    known = answered(source, ask_for("esrgan"))
    assert known.source == "github"
    newer = snapshot(NEWER, source="primary", revision=8, checked=time.time() - 100)
    source.folder.keep({"esrgan": newer})
    answered(source, ask_for("esrgan", known, since=time.time()))
    assert _facts(answered(source.folder, ask_for("esrgan"))) == _facts(newer)


@pytest.mark.parametrize("lost", ["notes", "file"])
def test_a_crash_between_the_file_and_its_note_costs_no_data(tmp_path: Path, lost: str) -> None:
    """Whichever of the two is the old one, what is read is one of the two, and the next answer sets it right."""
    old = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0)
    new = snapshot(NEWER, source="primary", revision=8, tag='"y"', checked=200.0)
    folder = _kept(tmp_path, old)
    path = _notes(tmp_path) if lost == "notes" else tmp_path / "esrgan.json"
    before = path.read_bytes()
    folder.keep({"esrgan": new})
    path.write_bytes(before)
    copy = answered(FolderSource(tmp_path), ask_for("esrgan"))
    assert json.loads(copy.body) in (ESRGAN, NEWER)
    assert (copy.source, copy.revision) == (folder.name, None)
    assert answered(Remembered(Told().gives(new), folder), ask_for("esrgan", copy, since=time.time())).body == new.body
    assert _facts(answered(FolderSource(tmp_path), ask_for("esrgan"))) == _facts(new)


YEAR = 365 * 86400.0


def test_a_copy_from_a_clock_that_was_a_year_ahead_is_read_at_once_and_not_believed_for_a_year(tmp_path: Path) -> None:
    """It tells of a clock, not of the data."""
    told = Told(name="primary").gives(snapshot(NEWER, source="primary", revision=8))
    ahead = snapshot(ESRGAN, source="primary", revision=7, checked=time.time() + YEAR)
    source = Remembered(told, _kept(tmp_path, ahead))
    assert json.loads(answered(source, ask_for("esrgan")).body) == ESRGAN
    assert told.questions == []
    assert json.loads(answered(source, ask_for("esrgan", since=time.time() - 30)).body) == NEWER
    told.questions.clear()
    assert json.loads(answered(source, ask_for("esrgan", since=time.time() - 30)).body) == NEWER
    assert told.questions == []


def test_a_copy_from_a_clock_that_was_a_year_behind_is_read_at_once_and_renewed(tmp_path: Path) -> None:
    """It is merely old."""
    told = Told(name="primary").gives(snapshot(NEWER, source="primary", revision=8))
    source = Remembered(
        told, _kept(tmp_path, snapshot(ESRGAN, source="primary", revision=7, checked=time.time() - YEAR))
    )
    assert json.loads(answered(source, ask_for("esrgan")).body) == ESRGAN
    assert json.loads(answered(source, ask_for("esrgan", since=time.time() - 30)).body) == NEWER


# -- what is asked, and when --


def test_a_copy_that_is_new_enough_saves_asking_and_a_fresh_read_asks_even_then(tmp_path: Path) -> None:
    """`fresh` means now, not a second ago."""
    told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
    source = Remembered(told, FolderSource(tmp_path))
    first = answered(source, ask_for("esrgan"))
    for ask in (ask_for("esrgan"), ask_for("esrgan", since=time.time() - 5), ask_for("esrgan", first)):
        assert answered(source, ask).body == first.body
    assert len(told.questions) == 1
    answered(source, ask_for("esrgan", first, since=time.time()))
    assert len(told.questions) == 2


def test_only_what_is_not_there_is_asked_for_and_the_copies_are_what_it_is_asked_with(tmp_path: Path) -> None:
    """So an unchanged category costs no body, and one that is there costs nothing."""
    copy = snapshot(ESRGAN, source="primary", revision=7, tag='"x"', checked=100.0)
    fresh = snapshot(IMAGES, "image_generation", source="primary", revision=7, checked=time.time())
    told = Told(name="primary").gives(copy)
    found(
        Remembered(told, _kept(tmp_path, copy, fresh)), Ask({"esrgan": None, "image_generation": None}, time.time() - 9)
    )
    (ask,) = told.questions
    assert list(ask.wanted) == ["esrgan"]
    assert _facts(ask.wanted["esrgan"] or SourceUnavailable("", "")) == _facts(copy)


def test_a_copy_stands_in_with_the_reason_where_nobody_answers(tmp_path: Path) -> None:
    """A reader that has it already gets the refusal, and keeps what it has."""
    copy = snapshot(ESRGAN, source="primary", revision=7, checked=100.0)
    source = Remembered(Told(name="primary").refuses("esrgan", retry_after=4.0), _kept(tmp_path, copy))
    answer = answered(source, ask_for("esrgan", since=time.time()))
    assert (answer.body, answer.instead, answer.retry_after) == (copy.body, "primary: is broken", 4.0)
    with pytest.raises(SourceUnavailable, match="is broken"):
        answered(source, ask_for("esrgan", answer, since=time.time()))


def test_what_cannot_be_had_is_refused_with_both_reasons(tmp_path: Path) -> None:
    """No copy, no answer; a folder that does not exist yet is only empty."""
    source = Remembered(Told(name="primary").refuses("esrgan"), FolderSource(tmp_path / "new"))
    with pytest.raises(SourceUnavailable, match="primary: is broken"):
        answered(source, ask_for("esrgan"))


def test_a_folder_that_does_not_exist_yet_is_made(tmp_path: Path) -> None:
    """Deep down, if need be."""
    root = tmp_path / "a" / "b"
    told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
    answered(Remembered(told, FolderSource(root)), ask_for("esrgan"))
    assert answered(FolderSource(root), ask_for("esrgan")).revision == 7


@contextmanager
def _as_nobody() -> Iterator[None]:
    """The superuser may write anywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
@pytest.mark.parametrize("locks", ["nobody was here before", "the owner left locks"])
def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(
    locks: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Copies are read, answers are given, each reader asks for itself; one line says what will be missing."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _kept(root, snapshot(IMAGES, "image_generation", source="primary", revision=7, checked=100.0))
        told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
        source = Remembered(told, FolderSource(root))
        if locks == "the owner left locks":
            found(source, ask_for("clip"))
        for path in root.iterdir():
            path.chmod(0o644)
        root.chmod(0o555)
        try:
            with _as_nobody():
                for _ in range(3):
                    answers = found(source, Ask({"esrgan": None, "image_generation": None}))
                    assert all(isinstance(answer, Snapshot) for answer in answers.values())
        finally:
            root.chmod(0o755)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be written" in caplog.text


def test_a_folder_in_a_place_where_none_can_be_costs_nothing(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "file").write_text("")
    told = Told(name="primary").gives(snapshot(ESRGAN, source="primary", revision=7))
    source = Remembered(told, FolderSource(tmp_path / "file" / "below"), patience=60.0)
    began = time.monotonic()
    assert answered(source, ask_for("esrgan")).revision == 7
    assert time.monotonic() - began < 10
    assert "file" in source.fault
