"""Policies of reading: who is asked, what is believed, and whom to leave alone for a while."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.sources.base import Ask, Found, Source
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.layered import Breaker, Checked, Else, FirstThatAnswers, instead_of
from horde_model_reference.sources.local import StarterSource
from tests.reading.contract import SourceContract
from tests.reading.samples import ESRGAN, IMAGES, Told, answered, ask_for, found, snapshot, text


class _OverFolder(SourceContract):
    """A policy over a folder keeps the contract that the folder keeps."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        self.root = tmp_path
        self.change(self, self.documents)  # type: ignore[arg-type]
        return self.policy(FolderSource(tmp_path))

    def policy(self, folder: FolderSource) -> Source:
        raise NotImplementedError

    def change(self, source: Source, documents: dict[str, object]) -> None:
        (self.root / "esrgan.json").write_text(text(documents), "utf-8")


class TestFirst(_OverFolder):
    """The first that answers, where the first has nothing and the third is never needed."""

    def policy(self, folder: FolderSource) -> Source:
        return FirstThatAnswers((Told(name="nobody"), folder, Told(name="needless")))


class TestElse(_OverFolder):
    """What something else stands ready for."""

    def policy(self, folder: FolderSource) -> Source:
        return Else(folder, Told(name="nobody"))


class TestChecked(_OverFolder):
    """What is believed."""

    def policy(self, folder: FolderSource) -> Source:
        return Checked(folder)


class TestBreaker(_OverFolder):
    """What is not left alone."""

    def policy(self, folder: FolderSource) -> Source:
        return Breaker(folder)


def _refusal(answer: Snapshot | SourceUnavailable) -> SourceUnavailable:
    assert isinstance(answer, SourceUnavailable), answer
    return answer


def _given(answer: Snapshot | SourceUnavailable) -> Snapshot:
    assert isinstance(answer, Snapshot), answer
    return answer


# -- FirstThatAnswers --


def test_each_category_is_answered_by_the_first_that_has_it() -> None:
    """One question: the second source is asked for what the first did not give, the third for nothing."""
    first = Told(name="first").gives(snapshot(ESRGAN, source="first"))
    second = Told(name="second").gives(snapshot(IMAGES, "image_generation", source="second"))
    third = Told(name="third")
    answers = found(FirstThatAnswers((first, second, third)), Ask({"esrgan": None, "image_generation": None}))
    assert {category: _given(answer).source for category, answer in answers.items()} == {
        "esrgan": "first",
        "image_generation": "second",
    }
    assert (second.asked_for(), third.asked_for()) == ([["image_generation"]], [])


def test_a_substitute_says_whom_it_stands_in_for_and_when_to_ask_them_again() -> None:
    """Who only has none of it is no fault and is not told of."""
    first = Told(name="first").refuses("esrgan", retry_after=7.0)
    second = Told(name="second").gives(snapshot(ESRGAN), snapshot({}, "clip", revision=1))
    answers = found(FirstThatAnswers((first, second)), Ask({"esrgan": None, "clip": None}))
    assert (_given(answers["esrgan"]).instead, _given(answers["esrgan"]).retry_after) == ("first: is broken", 7.0)
    assert (_given(answers["clip"]).instead, _given(answers["clip"]).retry_after) == ("", None)


def test_where_all_refuse_the_faults_are_told_and_absence_only_where_it_is_all_there_is() -> None:
    """One error names them all; it is absence where nobody is broken."""
    first, second = Told(name="first").refuses("esrgan"), Told(name="second").refuses("esrgan", retry_after=3.0)
    answers = found(FirstThatAnswers((first, Told(name="third"), second)), Ask({"esrgan": None, "clip": None}))
    fault, absence = _refusal(answers["esrgan"]), _refusal(answers["clip"])
    assert str(fault) == "first: is broken; second: is broken"
    assert (fault.absent, fault.retry_after, fault.source) == (False, 3.0, "first, second")
    assert absence.absent


@pytest.mark.parametrize("absent", [False, True], ids=["broken", "has none"])
def test_what_a_better_source_gave_is_never_given_up_for_a_lesser_one(absent: bool) -> None:
    """The lesser one is not even asked."""
    first, second = Told(name="first").refuses("esrgan", absent=absent), Told(name="second")
    known = snapshot(ESRGAN, source="first", revision=4)
    answers = found(FirstThatAnswers((first, second)), ask_for("esrgan", known))
    assert _refusal(answers["esrgan"]).source == "first"
    assert second.questions == []


def test_what_a_lesser_source_gave_is_asked_of_the_better_one_first() -> None:
    """And kept as long as that one is broken, with the reason."""
    first, second = Told(name="first").refuses("esrgan"), Told(name="second").gives(snapshot(ESRGAN, source="second"))
    known = snapshot(ESRGAN, source="second")
    policy = FirstThatAnswers((first, second))
    assert answered(policy, ask_for("esrgan", known)).instead == "first: is broken"
    first.gives(snapshot(IMAGES, source="first"))
    assert answered(policy, ask_for("esrgan", known)).source == "first"


def test_an_empty_category_without_a_revision_is_believed_only_where_nobody_has_more() -> None:
    """A file server gives `{}` for what was lost; one that counts revisions knows what it says."""
    empty, full = Told(name="empty").gives(snapshot({}, source="empty")), Told(name="full")
    policy = FirstThatAnswers((empty, full))
    assert answered(policy, ask_for("esrgan")).source == "empty"
    full.gives(snapshot(ESRGAN, source="full"))
    assert answered(policy, ask_for("esrgan")).source == "full"
    full.refuses("esrgan")
    assert answered(policy, ask_for("esrgan")).source == "empty"
    empty.gives(snapshot({}, source="empty", revision=3))
    full.gives(snapshot(ESRGAN, source="full"))
    assert answered(policy, ask_for("esrgan")).source == "empty"


def test_a_question_goes_on_to_all_with_its_age_and_its_patience() -> None:
    """A policy changes who is asked, not what."""
    first, second = Told(name="first"), Told(name="second")
    found(FirstThatAnswers((first, second)), ask_for("esrgan", since=5.0, wait=2.0))
    assert [(ask.since, ask.wait) for told in (first, second) for ask in told.questions] == [(5.0, 2.0)] * 2


# -- Else --


def test_what_stands_in_is_for_readers_that_have_nothing_better() -> None:
    """A reader with PRIMARY's records gets the refusal and keeps them; one with the substitute's may have it anew."""
    other = Told(name="other").gives(snapshot(ESRGAN, source="other"))
    policy = Else(Told(name="source").refuses("esrgan", retry_after=2.0), other)
    assert _refusal(found(policy, ask_for("esrgan", snapshot(IMAGES, source="source")))["esrgan"]).reason == "is broken"
    assert other.questions == []
    for known in (None, snapshot(ESRGAN, source="other")):
        answer = answered(policy, ask_for("esrgan", known))
        assert (answer.source, answer.instead, answer.retry_after) == ("other", "source: is broken", 2.0)


def test_what_the_source_gives_is_not_asked_of_the_other() -> None:
    """And where neither has it both are heard."""
    source = Told(name="source").gives(snapshot(ESRGAN, source="source")).refuses("clip")
    other = Told(name="other").refuses("clip")
    answers = found(Else(source, other), Ask({"esrgan": None, "clip": None}))
    assert _given(answers["esrgan"]).source == "source"
    assert str(_refusal(answers["clip"])) == "source: is broken; other: is broken"
    assert other.asked_for() == [["clip"]]


def test_absence_is_no_fault_of_what_stands_in() -> None:
    """The starter catalogue has a category that the network never had: all is well with it."""
    refusal = SourceUnavailable("source", "never heard of it", absent=True)
    assert instead_of(snapshot(ESRGAN), [refusal]) == snapshot(ESRGAN)
    assert _given(instead_of(snapshot(ESRGAN), [refusal])).instead == ""


# -- Checked --


def _checked(
    documents: object, known: Snapshot | None, *, most_lost: float = 0.5, revision: int | None = None
) -> Found:
    told = Told(name="source").gives(snapshot(documents, source="source", revision=revision))
    return found(Checked(told, most_lost), ask_for("esrgan", known))


def _many(count: int) -> dict[str, object]:
    return {f"model {number}": {"name": f"model {number}"} for number in range(count)}


@pytest.mark.parametrize("documents", [{"detail": "maintenance"}, {"A": []}, {"A": {"name": 5}}, {"A": None}], ids=str)
def test_a_category_of_which_no_record_can_be_read_is_not_believed(documents: object) -> None:
    """Also where the reader has nothing: something else may."""
    for known in (None, snapshot(ESRGAN, source="source")):
        refusal = _refusal(_checked(documents, known, revision=9)["esrgan"])
        assert (refusal.source, refusal.absent) == ("source", False)
        assert "no record of esrgan that can be read" in refusal.reason


def test_one_readable_record_is_enough_and_an_empty_category_may_be_empty() -> None:
    """One bad record is one bad record."""
    assert isinstance(_checked({"bad": [], "A": {"name": "A"}}, None)["esrgan"], Snapshot)
    assert isinstance(_checked({}, None)["esrgan"], Snapshot)


def test_a_revision_never_goes_back() -> None:
    """A server that was restored from yesterday must not take today from its readers; another server may count anew."""
    known = snapshot(ESRGAN, source="source", revision=7)
    assert "revision 6, behind 7" in _refusal(_checked({**ESRGAN, "C": {}}, known, revision=6)["esrgan"]).reason
    assert isinstance(_checked({**ESRGAN, "C": {}}, known, revision=7)["esrgan"], Snapshot)
    elsewhere = snapshot(ESRGAN, source="elsewhere", revision=7)
    assert isinstance(_checked({**ESRGAN, "C": {}}, elsewhere, revision=6)["esrgan"], Snapshot)


@pytest.mark.parametrize("revision", [None, 7])
def test_a_gutted_answer_is_not_believed_without_a_newer_revision(revision: int | None) -> None:
    """Half may go at once by default, not more."""
    known = snapshot(_many(10), source="source", revision=revision)
    assert isinstance(_checked(_many(5), known, revision=revision)["esrgan"], Snapshot)
    refusal = _refusal(_checked(_many(4), known, revision=revision)["esrgan"])
    assert "lost 6 of the 10 records of esrgan" in refusal.reason
    assert "lost 10 of the 10" in _refusal(_checked({}, known, revision=revision)["esrgan"]).reason


def test_a_gutted_answer_with_a_newer_revision_is_what_was_decided() -> None:
    """The server says so itself."""
    known = snapshot(_many(10), source="source", revision=7)
    assert isinstance(_checked({}, known, revision=8)["esrgan"], Snapshot)


def test_records_that_were_renamed_away_count_as_lost() -> None:
    """As many new ones do not make up for them: the records that programs ask for by name are gone."""
    known = snapshot(_many(4), source="source")
    others = {f"other {number}": {"name": f"other {number}"} for number in range(4)}
    assert "lost 4 of the 4" in _refusal(_checked(others, known)["esrgan"]).reason


@pytest.mark.parametrize(("most_lost", "left", "believed"), [(0, 9, False), (0, 10, True), (1, 0, True)])
def test_the_share_may_be_nothing_or_all(most_lost: float, left: int, believed: bool) -> None:
    """0: no record may go without a revision; 1: whatever it says is believed."""
    known = snapshot(_many(10), source="source")
    answer = _checked(_many(left), known, most_lost=most_lost)["esrgan"]
    assert isinstance(answer, Snapshot) is believed


def test_the_starter_catalogue_is_no_measure() -> None:
    """A PRIMARY with three records of its own may follow the hundreds of the catalogue."""
    known = snapshot(_many(100), source=StarterSource.name)
    assert isinstance(_checked(_many(3), known)["esrgan"], Snapshot)


def test_what_did_not_change_is_not_looked_at() -> None:
    """The very body that is known passes, whatever is in it."""
    known = snapshot({"detail": "?"}, source="source")
    answers = found(Checked(Told().gives(known)), ask_for("esrgan", known))
    assert answers["esrgan"] is known


def test_what_is_wrong_with_one_category_costs_the_others_nothing() -> None:
    """Each is judged for itself, and a refusal passes as it is."""
    told = Told().gives(snapshot(ESRGAN), snapshot({"detail": "x"}, "clip")).refuses("gfpgan", retry_after=4.0)
    answers = found(Checked(told), Ask({"esrgan": None, "clip": None, "gfpgan": None}))
    assert isinstance(answers["esrgan"], Snapshot)
    assert isinstance(answers["clip"], SourceUnavailable)
    assert _refusal(answers["gfpgan"]).retry_after == 4.0


# -- Breaker --


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _breaker(**answers: Snapshot | SourceUnavailable) -> tuple[Breaker, Told, _Clock]:
    told, clock = Told({**answers}), _Clock()
    return Breaker(told, clock), told, clock


def _broken(retry_after: float | None = None) -> SourceUnavailable:
    return SourceUnavailable("told", "is broken", retry_after=retry_after)


def _pause(breaker: Breaker) -> float:
    """For how long it says to leave the source alone."""
    pause = _refusal(found(breaker, ask_for("esrgan"))["esrgan"]).retry_after
    assert pause is not None
    return pause


def test_a_source_that_failed_is_left_alone_and_the_reason_is_told_meanwhile() -> None:
    """Nobody waits for a dead server twice; afterwards it is asked again."""
    breaker, told, clock = _breaker(esrgan=_broken())
    pause = _pause(breaker)
    clock.now += pause / 2
    meanwhile = _refusal(found(breaker, ask_for("clip"))["clip"])
    assert (meanwhile.reason, meanwhile.absent) == ("is broken", False)
    assert meanwhile.retry_after == pytest.approx(pause / 2)
    assert len(told.questions) == 1
    clock.now += pause
    found(breaker, ask_for("esrgan"))
    assert len(told.questions) == 2


def test_the_pause_doubles_with_jitter_up_to_a_limit() -> None:
    """1, 2, 4 ... seconds, each within a fifth, never in step with others, and two minutes at most."""
    pauses = []
    breaker, _, clock = _breaker(esrgan=_broken())
    for expected in (1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120, 120):
        pause = _pause(breaker)
        assert expected * 0.8 <= pause <= expected * 1.2
        pauses.append(pause / expected)
        clock.now += pause
        breaker.source.answers["esrgan"] = _broken()  # type: ignore[attr-defined]
    assert len(set(pauses)) > 1


def test_no_pause_is_too_long_after_any_number_of_failures() -> None:
    """A power of two once overflowed."""
    breaker, told, clock = _breaker()
    for _ in range(3000):
        told.answers["esrgan"] = _broken()
        clock.now += _pause(breaker)
    assert _pause(breaker) <= 144


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(30.0, 30, 30), (0.0, 0.8, 1.2), (1e9, 3600, 3600), (math.inf, 3600, 3600)]
)
def test_a_pause_that_the_source_asked_for_is_obeyed_within_reason(asked: float, least: float, most: float) -> None:
    """`Retry-After: 1000000000` is somebody's mistake; 0 does not mean a thousand times a second."""
    breaker, _, _ = _breaker(esrgan=_broken(asked))
    assert least <= _pause(breaker) <= most


def test_a_success_resets_it() -> None:
    """The next failure is the first again."""
    breaker, told, clock = _breaker()
    for _ in range(5):
        told.answers["esrgan"] = _broken()
        clock.now += _pause(breaker)
    told.gives(snapshot(ESRGAN))
    found(breaker, ask_for("esrgan"))
    told.answers["esrgan"] = _broken()
    assert _pause(breaker) <= 1.2


def test_who_gives_some_categories_is_not_broken() -> None:
    """One of two could be had: the next question is asked."""
    breaker, told, _ = _breaker(esrgan=snapshot(ESRGAN), clip=_broken())
    for _ in range(2):
        answers = found(breaker, Ask({"esrgan": None, "clip": None}))
        assert isinstance(answers["esrgan"], Snapshot)
    assert len(told.questions) == 2


def test_absence_is_no_failure() -> None:
    """A source that only has none of it may be asked again at once, and is not thereby well again."""
    breaker, told, clock = _breaker()
    for _ in range(3):
        assert _refusal(found(breaker, ask_for("clip"))["clip"]).retry_after is None
    assert len(told.questions) == 3
    told.answers["esrgan"] = _broken()
    clock.now += _pause(breaker)
    found(breaker, ask_for("clip"))
    told.answers["esrgan"] = _broken()
    assert _pause(breaker) > 1.2


def test_it_counts_the_snapshots_that_were_given() -> None:
    """`github_fallbacks` of the backend's statistics."""
    breaker, told, _ = _breaker(esrgan=snapshot(ESRGAN), image_generation=snapshot(IMAGES, "image_generation"))
    found(breaker, Ask({"esrgan": None, "image_generation": None, "clip": None}))
    found(breaker, ask_for("esrgan"))
    assert breaker.answers == 3
    told.answers = {"esrgan": _broken()}
    _pause(breaker)
    found(breaker, ask_for("esrgan"))
    assert breaker.answers == 3
