"""Kept up to date behind its readers: the thread, what it reads again and when, and what a status says meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import ReferenceUnavailable, SourceUnavailable
from horde_model_reference.flow import Call, Flow, NoNetwork
from horde_model_reference.reference import CategoryStatus, Reference
from horde_model_reference.sources.base import Ask, Found, Source
from horde_model_reference.sources.local import BackendSource, ModelReferenceBackend, StarterSource
from horde_model_reference.watching import Keeper
from tests.reading.samples import ESRGAN, IMAGES, LONG_AGO, Told, esrgan_told, kept_reference, snapshot

NEWER = {"B": {"name": "B", "description": "second, changed"}, "C": {"name": "C"}}


def _within(happened: Callable[[], object], seconds: float = 10.0) -> None:
    """Return as soon as it happened; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- the thread --


class _Kept:
    """Something that is kept up to date every hundredth of a second."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.renewals, self.fault = 0, fault
        self.keeper = Keeper(self.renew, (0.0, 0.0))

    def renew(self) -> float:
        self.renewals += 1
        if self.fault is not None:
            raise self.fault
        return 0.01


@contextmanager
def _new_threads() -> Iterator[Callable[[], list[threading.Thread]]]:
    """The threads of keepers that were begun in this block and run."""
    before = set(threading.enumerate())
    yield lambda: [t for t in threading.enumerate() if t not in before and t.name == "horde-keeper"]


def test_it_ends_with_the_object_that_it_keeps() -> None:
    """The thread does not hold the object, and nobody needs to close anything."""
    with _new_threads() as threads:
        kept = _Kept()
        kept.keeper.start()
        _within(partial(lambda each: each().renewals > 2, weakref.ref(kept)))
        assert [thread.daemon for thread in threads()] == [True]
        gone = weakref.ref(kept)
        del kept
        gc.collect()
        _within(lambda: gone() is None)
        _within(lambda: not threads())


def test_it_is_begun_once_however_many_ask() -> None:
    """Every reader asks, at every read."""
    with _new_threads() as threads:
        kept = _Kept()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: kept.keeper.start(), range(200)))
        assert len(threads()) == 1
        kept.keeper.stop()
        _within(lambda: not threads())


def test_it_ends_for_good_where_it_is_stopped() -> None:
    """Also before it has begun."""
    with _new_threads() as threads:
        kept, never = _Kept(), _Kept()
        never.keeper.stop()
        never.keeper.start()
        kept.keeper.start()
        _within(lambda: kept.renewals)
        kept.keeper.stop()
        _within(lambda: not threads())
        kept.keeper.start()
        assert not threads()
        assert never.renewals == 0


def test_it_survives_what_nobody_thought_of_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that died would leave the reader with old data for ever; one that raced would fill the log."""
    with _new_threads() as threads:
        kept = _Kept(ZeroDivisionError("no"))
        kept.keeper.start()
        _within(lambda: caplog.records)
        time.sleep(0.1)
        assert len(threads()) == 1
        assert kept.renewals == 1
        assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
        kept.keeper.stop()
        _within(lambda: not threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_again() -> None:
    """Threads do not survive a fork; a child that was stopped before stays so."""
    kept, stopped = _Kept(), _Kept()
    kept.keeper.start()
    stopped.keeper.stop()
    _within(lambda: kept.renewals)
    child = os.fork()
    if child == 0:
        before = kept.renewals
        for keeper in (kept.keeper, stopped.keeper):
            keeper.start()
        deadline = time.monotonic() + 10
        while kept.renewals == before and time.monotonic() < deadline:
            time.sleep(0.005)
        os._exit(0 if kept.renewals > before and not stopped.renewals else 1)
    assert os.waitpid(child, 0)[1] == 0
    kept.keeper.stop()


# -- what is read behind the readers --


def _when_due(reference: Reference, category: str = "esrgan") -> None:
    """Return when it is to be read again: at once, or as soon as anything is ever read again."""
    _within(lambda: all(s.next_attempt == 0 for s in reference.status() if s.category == category))


def _status(reference: Reference) -> CategoryStatus:
    (status,) = reference.status()
    return status


def test_the_first_read_loads_and_no_later_one_ever_waits() -> None:
    """Not even where the source blocks for ever, and what is held is long due."""
    blocked, release = threading.Event(), threading.Event()

    class Blocking(Told):
        def read(self, ask: Ask) -> Flow[Found]:
            if self.questions:
                yield Call(blocked.set)
                yield Call(partial(release.wait, 30))
            return (yield from super().read(ask))

    source = Blocking(name="source").gives(snapshot(ESRGAN, source="source", checked=LONG_AGO))
    reference = Reference(source, NoNetwork(), behind=True)
    try:
        assert list(reference.read("esrgan")) == list(ESRGAN)
        assert blocked.wait(10)
        began = time.monotonic()
        for _ in range(100):
            assert list(reference.read("esrgan")) == list(ESRGAN)
            assert reference.model("esrgan", "A").name == "A"
            assert asyncio.run(_read(reference)) == list(ESRGAN)
        assert time.monotonic() - began < 10
        assert reference.held()["esrgan"]
        assert len(source.questions) == 1
    finally:
        release.set()
        reference.close()


async def _read(reference: Reference) -> list[str]:
    return list(await reference.read_async("esrgan"))


def test_the_thread_brings_what_is_new() -> None:
    """Nobody reads anew, and yet it is there."""
    source = esrgan_told(checked=LONG_AGO)
    reference = kept_reference(source, thread=True)
    source.gives(snapshot(NEWER, source="source", revision=8))
    _within(lambda: list(reference.read("esrgan")) == list(NEWER))
    reference.close()


def test_what_is_due_is_asked_for_in_one_question_and_the_rest_is_left_alone() -> None:
    """The next pause ends when the next is due, a little before the whole age so that readers are never in step."""
    source = esrgan_told().gives(
        snapshot(ESRGAN, source="source", checked=LONG_AGO),
        snapshot(IMAGES, "image_generation", source="source", checked=LONG_AGO),
        snapshot({"c": {"name": "c"}}, "clip", source="source"),
    )
    reference = kept_reference(source)
    source.gives(snapshot(ESRGAN, source="source"), snapshot(IMAGES, "image_generation", source="source"))
    _when_due(reference)
    _when_due(reference, "image_generation")
    pause = reference.renew()
    assert source.asked_for() == [["esrgan", "image_generation"]]
    assert 52 <= pause <= 60
    (ask,) = source.questions
    assert ask.since == pytest.approx(time.time() - 30, abs=5)
    assert reference.renew() == pytest.approx(pause, abs=5)
    assert len(source.questions) == 1


def test_a_failure_keeps_the_data_and_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line where it becomes worse, one where it is well again, none for each attempt."""
    caplog.set_level(logging.INFO, "horde_model_reference")
    source = esrgan_told(checked=LONG_AGO)
    reference = kept_reference(source)
    source.refuses("esrgan", retry_after=1.0)
    _when_due(reference)
    assert 0 < reference.renew() <= 1
    status = _status(reference)
    assert (status.fault, status.stale, status.records) == ("source: is broken", True, 2)
    assert 0 < status.next_attempt <= 1
    assert status.age > 1_000_000
    assert list(reference.read("esrgan")) == list(ESRGAN)
    assert list(reference.read("esrgan", fresh=True)) == list(ESRGAN)
    _when_due(reference)
    reference.renew()
    assert len(source.questions) == 3
    _when_due(reference)
    source.gives(snapshot(NEWER, source="source", revision=8))
    reference.renew()
    reference.renew()
    status = _status(reference)
    assert list(reference.read("esrgan")) == list(NEWER)
    assert (status.fault, status.stale, status.revision) == ("", False, 8)
    assert status.age < 10
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(("retry_after", "least", "most"), [(7.0, 6, 7), (None, 50, 60), (3600.0, 3590, 3600)])
def test_after_a_failure_the_pause_is_what_was_asked_for(retry_after: float | None, least: int, most: int) -> None:
    """Else the age."""
    source = esrgan_told(checked=LONG_AGO)
    reference = kept_reference(source, follow=25.0)
    source.answers["esrgan"] = SourceUnavailable("source", "is broken", retry_after=retry_after)
    _when_due(reference)
    assert least <= reference.renew() <= most


def test_a_category_that_nobody_has_is_no_fault_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody publishes video models: a start where all is well says nothing, and no recovery follows it."""
    caplog.set_level(logging.INFO, "horde_model_reference")
    source = esrgan_told()
    reference = Reference(source, NoNetwork(), behind=True)
    reference.close()
    reference.warm()
    assert reference.is_warm("esrgan")
    reference.read("esrgan", fresh=True)
    assert caplog.messages == []


def test_what_was_refused_is_not_asked_for_again_by_every_reader() -> None:
    """Each of them would wait; they are told what was said, and `fresh` asks all the same."""
    source = esrgan_told().refuses("clip", retry_after=30.0)
    reference = Reference(source, NoNetwork(), behind=True)
    reference.close()
    for _ in range(3):
        with pytest.raises(ReferenceUnavailable) as caught:
            reference.read("clip")
        assert "is broken" in caught.value.reason
    assert len(source.questions) == 1
    source.gives(snapshot({"c": {"name": "c"}}, "clip"))
    assert list(reference.read("clip", fresh=True)) == ["c"]
    assert list(reference.read("clip")) == ["c"]


# -- held questions --


def test_what_is_counted_is_followed_and_news_are_followed_by_the_next_question_at_once() -> None:
    """0 seconds; what counts no revisions cannot be followed."""
    source = esrgan_told().gives(
        snapshot(ESRGAN, source="source", revision=7), snapshot(IMAGES, "image_generation", source="github")
    )
    reference = kept_reference(source, follow=25.0)
    source.gives(snapshot(NEWER, source="source", revision=8))
    assert reference.renew() == 0.0
    assert source.asked_for() == [["esrgan"]]
    assert source.questions[0].wait == 25.0
    assert list(reference.read("esrgan")) == list(NEWER)


def test_news_of_what_this_reader_has_not_read_are_followed_by_the_next_question_too() -> None:
    """A reader of one category is woken by changes of another; it must not stop following for a minute then."""
    source = esrgan_told()
    reference = kept_reference(source, follow=25.0)
    known = source.answers["esrgan"]
    assert isinstance(known, Snapshot)
    source.gives(known.still_current(8))
    assert reference.renew() == 0.0
    assert _status(reference).revision == 8


AT_ONCE: dict[str, Snapshot | SourceUnavailable] = {
    "nothing new": snapshot(ESRGAN, revision=7, source="source"),
    "no feed": SourceUnavailable("source", "has no feed", absent=True),
    "broken": SourceUnavailable("source", "is broken"),
    "broken for a while": SourceUnavailable("source", "is broken", retry_after=2.0),
}


@pytest.mark.parametrize("answer", AT_ONCE.values(), ids=AT_ONCE)
def test_a_source_that_answers_a_held_question_at_once_is_not_asked_in_a_hot_loop(
    answer: Snapshot | SourceUnavailable,
) -> None:
    """Twenty times in a row: never another question at once."""
    reference = kept_reference(source := esrgan_told(), follow=25.0)
    if isinstance(answer, Snapshot):
        held = reference.snapshot("esrgan")
        source.gives(held.still_current(7))
    else:
        source.answers["esrgan"] = answer
    pauses = [reference.renew() for _ in range(20)]
    assert min(pauses) > 1.5
    assert len(source.questions) == 20
    assert not _status(reference).fault


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_broken_source_is_not_asked_in_a_hot_loop_where_nothing_is_ever_young(retry_after: float | None) -> None:
    """`cache_ttl_seconds` 0 means as soon as can be, which is once a second."""
    source = esrgan_told(checked=LONG_AGO)
    reference = kept_reference(source, max_age=0)
    source.answers["esrgan"] = SourceUnavailable("source", "is broken", retry_after=retry_after)
    _when_due(reference)
    assert reference.renew() > 0.5


def test_a_substitute_is_not_renewed_in_a_hot_loop_where_nothing_is_ever_young() -> None:
    """The starter catalogue stands in for a PRIMARY that is down."""
    broken = SourceUnavailable("primary", "is broken")
    substitute = Snapshot("esrgan", snapshot(ESRGAN).body, source="starter", instead=str(broken))
    reference = kept_reference(Told(name="source").gives(substitute), max_age=0)
    _when_due(reference)
    assert reference.renew() > 0.5


def test_a_held_question_that_was_refused_says_nothing_about_the_data() -> None:
    """It is as good as before; a poll comes as soon as it may help."""
    source = esrgan_told()
    reference = kept_reference(source, follow=25.0)
    source.refuses("esrgan", retry_after=2.0)
    assert 1 < reference.renew() <= 2
    assert (_status(reference).fault, _status(reference).stale) == ("", False)


# -- while it loads --


def test_what_is_held_and_its_status_can_be_seen_while_it_loads() -> None:
    """They ask nobody and wait for nobody, before the first load too."""
    begun, release = threading.Event(), threading.Event()

    class Slow(Told):
        def read(self, ask: Ask) -> Flow[Found]:
            yield Call(begun.set)
            yield Call(partial(release.wait, 10))
            return (yield from super().read(ask))

    reference = Reference(Slow().gives(snapshot(ESRGAN)), NoNetwork(), behind=True)
    with ThreadPoolExecutor(1) as pool:
        loads = pool.submit(reference.read, "esrgan")
        assert begun.wait(10)
        assert reference.status() == []
        assert not reference.is_warm()
        assert set(reference.held().values()) == {None}
        assert reference.renew() > 1
        release.set()
        loads.result(10)
    assert _status(reference).records == 2
    reference.close()


def test_a_category_that_is_loaded_meanwhile_does_not_disturb_a_refresh() -> None:
    """The dictionary of what is held once changed its size under the one that looked through it."""
    record = {"name": "A", "baseline": "flux_1", "nsfw": False, "parameters": 5, "controlnet_style": "control_canny"}
    names = [name for name, each in get_all_registered_categories().items() if not each.managed_elsewhere]
    source = Told().gives(*(snapshot({"A": record}, name) for name in names))
    interval, references = sys.getswitchinterval(), [Reference(source, NoNetwork(), behind=True) for _ in range(20)]
    current, ended = references[0], threading.Event()

    def refresh() -> None:
        while not ended.is_set():
            current.renew()
            current.status()
            current.held()

    sys.setswitchinterval(1e-6)  # so that threads meet where they seldom do
    try:
        with ThreadPoolExecutor(1) as pool:
            refreshing = pool.submit(refresh)
            try:
                for current in references:
                    current.close()
                    for name in names:
                        current.read(name)
            finally:
                ended.set()
            refreshing.result(10)
    finally:
        sys.setswitchinterval(interval)


class _Same(ModelReferenceBackend):
    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        return {"A": {"name": "A"}}


@pytest.mark.parametrize("source", [StarterSource(), BackendSource(_Same())], ids=["starter", "backend"])
def test_what_never_changes_is_not_asked_for_again_and_again(source: Source) -> None:
    """A backend that gave the same once was asked as often as the thread could, because its answer seemed old."""
    reference = Reference(source, NoNetwork(), max_age=1.0, behind=True, follow=25.0)
    reference.close()
    reference.read("esrgan")
    _when_due(reference)
    assert reference.renew() >= 0.9
    assert reference.status()[0].next_attempt > 0.5


class _Stopped(Told):
    """Where `stops` is set, answers the next question only when it is let go, with what it had when that was asked."""

    def __init__(self) -> None:
        super().__init__(name="source")
        self.begun, self.go, self.stops = threading.Event(), threading.Event(), False

    def read(self, ask: Ask) -> Flow[Found]:
        if not self.stops:
            return (yield from super().read(ask))
        self.stops, answers = False, self.answers
        self.begun.set()
        yield Call(partial(self.go.wait, 10))
        return {category: answers[category] for category in ask.wanted}


@pytest.mark.parametrize(
    ("follow", "revision"), [(0.0, 7), (0.0, None), (25.0, 7)], ids=["a poll", "one of no revision", "a held question"]
)
def test_a_refresh_that_fails_late_does_not_put_back_what_another_read_has_replaced(
    follow: float, revision: int | None
) -> None:
    """It began before, and ended after somebody asked and was given what is new; without a word the old came back."""
    source = _Stopped()
    source.gives(snapshot(ESRGAN, revision=revision, source="source"))
    reference = kept_reference(source, follow=follow, max_age=60.0)
    if not follow:
        source.gives(snapshot(ESRGAN, revision=revision, source="source", checked=LONG_AGO))
        reference.read("esrgan", fresh=True)
    source.refuses("esrgan", retry_after=0.5)
    source.stops = True
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(reference.renew)
        assert source.begun.wait(10)
        newer = None if revision is None else 8
        source.gives(snapshot({"C": {"name": "C"}}, revision=newer, source="source"))
        assert list(reference.read("esrgan", fresh=True)) == ["C"]
        source.go.set()
        late.result(10)
    assert list(reference.read("esrgan")) == ["C"]
    assert _status(reference).revision == newer
    assert not _status(reference).fault


def test_an_outage_that_follows_a_short_one_is_told_when_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes and goes is said once a minute; the long one after it once passed without any line."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    source = esrgan_told()
    reference, well = kept_reference(source), dict(source.answers)
    for seconds, is_well in ((0, False), (5, True), (5, False), (20, False), (60, False), (60, False)):
        now[0] += seconds
        source.answers = dict(well)
        if not is_well:
            source.refuses("esrgan")
        reference.read("esrgan", fresh=True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
