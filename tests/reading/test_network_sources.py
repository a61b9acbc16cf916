"""PRIMARY over HTTP: asked for what changed, by whoever holds the question, or for each category on a condition."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Request, Response, run
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.sources.base import Ask, Found
from horde_model_reference.sources.http import PrimarySource
from horde_model_reference.transport import HttpNetwork
from tests.reading.contract import SourceContract
from tests.reading.samples import ESRGAN, IMAGES, answered, ask_for, found, snapshot
from tests.reading.simulators import Asked, FeedingPrimary, Loopback, Primary, http

OURS = [name for name, descriptor in get_all_registered_categories().items() if not descriptor.managed_elsewhere]


@pytest.fixture(scope="module")
def network() -> Iterator[HttpNetwork]:
    """One for all tests of this module."""
    network = HttpNetwork()
    yield network
    network.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Loopback]:
    """A server for many examples: one for each would be slow."""
    with Loopback(Primary()) as server:
        yield server


class _Replica:
    """A PRIMARY on loopback, and what a reader of it has."""

    def __init__(self, server: Loopback, primary: FeedingPrimary, network: HttpNetwork) -> None:
        self.server, self.primary, self.network = server, primary, network
        self.source = PrimarySource(f"{server.url}/api", 5.0, 1_000_000)
        self.have: dict[str, Snapshot | None] = dict.fromkeys(("esrgan", "image_generation"))

    def read(self, wait: float = 0.0) -> Found:
        """Ask for everything once more."""
        answers = found(self.source, Ask({**self.have}, time.time(), wait), self.network)
        self.have |= {str(name): answer for name, answer in answers.items() if isinstance(answer, Snapshot)}
        return answers

    def asked(self) -> list[str]:
        """The last part of each address that was asked for since the last time."""
        paths = [request.path.rpartition("/")[2] for request in self.server.requests]
        self.server.requests.clear()
        return paths

    def is_right(self) -> bool:
        """Whether it has, byte for byte, what a reader has that fetches whole now."""
        return {name: have and have.body for name, have in self.have.items()} == {
            name: encode(self.primary.records[name]) for name in self.have
        }


@pytest.fixture
def replica(network: HttpNetwork) -> Iterator[_Replica]:
    """It has read both categories."""
    primary = FeedingPrimary({"esrgan": dict(ESRGAN), "image_generation": dict(IMAGES)})
    with Loopback(primary) as server:
        replica = _Replica(server, primary, network)
        replica.read()
        replica.asked()
        yield replica


# -- the feed of changes --


class TestFeed(SourceContract):
    """A PRIMARY with a feed."""

    @pytest.fixture
    def source(self, network: HttpNetwork) -> Iterator[PrimarySource]:
        self.network = network
        self.primary = FeedingPrimary({"esrgan": dict(self.documents)})
        with Loopback(self.primary) as server:
            yield PrimarySource(f"{server.url}/api/", 5.0, 1_000_000)

    def change(self, source: object, documents: dict[str, object]) -> None:
        for name in documents.keys() - self.documents.keys():
            self.primary.put("esrgan", name, documents[name])


def test_one_request_for_all_categories_where_nothing_changed(replica: _Replica) -> None:
    """204, and every snapshot is known to be current at the revision that it says."""
    before = {name: have.body for name, have in replica.have.items() if have}
    replica.primary.revision = 9
    replica.primary.feed = http(204, x_reference_revision="9")
    answers = replica.read()
    assert replica.asked() == ["changes?since=7"]
    for name, answer in answers.items():
        assert isinstance(answer, Snapshot)
        assert answer.body is before[name]
        assert (answer.revision, answer.checked) == (9, 0.0)


def test_changes_are_applied_with_one_request(replica: _Replica) -> None:
    """The new come last, an update keeps its place, what was deleted and created again comes last too."""
    replica.primary.put("esrgan", "C", {"name": "C"})
    replica.primary.put("esrgan", "A", {"name": "A", "description": "first"})
    replica.read()
    assert replica.asked() == ["changes?since=7"]
    assert json.loads(_body(replica, "esrgan")) == replica.primary.records["esrgan"]
    assert list(json.loads(_body(replica, "esrgan"))) == ["A", "B", "C"]
    replica.primary.delete("esrgan", "A")
    replica.primary.put("esrgan", "A", {"name": "A"})
    replica.read()
    assert list(json.loads(_body(replica, "esrgan"))) == ["B", "C", "A"]
    replica.primary.delete("esrgan", "B")
    replica.read()
    assert list(json.loads(_body(replica, "esrgan"))) == ["C", "A"]
    assert replica.is_right()
    assert replica.asked() == ["changes?since=9", "changes?since=11"]


def _body(replica: _Replica, category: str) -> bytes:
    have = replica.have[category]
    assert have is not None
    return have.body


def test_a_change_of_one_category_leaves_the_bodies_of_the_others(replica: _Replica) -> None:
    """They are not validated again, and count as current at the new revision."""
    before = _body(replica, "image_generation")
    replica.primary.put("esrgan", "C", {"name": "C"})
    replica.primary.put("clip", "x", {"name": "x"})
    replica.read()
    assert _body(replica, "image_generation") is before
    assert {have.revision for have in replica.have.values() if have} == {9}
    assert replica.is_right()


def test_the_change_of_a_category_that_nobody_has_yet_is_not_lost(replica: _Replica) -> None:
    """It is fetched whole, the others by the feed."""
    replica.have["clip"] = None
    replica.primary.put("clip", "x", {"name": "x"})
    replica.read()
    assert replica.asked() == ["changes?since=7", "clip"]
    assert replica.is_right()


def test_snapshots_of_different_revisions_each_get_what_they_lack(replica: _Replica) -> None:
    """One is ahead: a change that it has already is not applied to it again."""
    replica.primary.put("esrgan", "C", {"name": "C"})
    replica.have["esrgan"] = answered(replica.source, ask_for("esrgan"), replica.network)
    replica.primary.put("esrgan", "A", {"name": "A", "description": "first"})
    replica.primary.delete("image_generation", "one")
    replica.asked()
    replica.read()
    assert replica.asked() == ["changes?since=7"]
    assert replica.is_right()


def test_a_snapshot_that_is_ahead_is_not_taken_back_by_an_answer_without_a_revision(replica: _Replica) -> None:
    """204 says that nothing changed, not that the revision is an earlier one."""
    replica.have["esrgan"] = snapshot(ESRGAN, source=replica.source.name, revision=9)
    replica.primary.feed = http(204)
    replica.read()
    assert {name: have.revision for name, have in replica.have.items() if have} == {"esrgan": 9, "image_generation": 7}


_NAMES = st.sampled_from(["A", "B", "C", "ü/ß", ""])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_RECORDS = st.dictionaries(st.sampled_from(["name", "description", "x"]), _VALUES, max_size=3)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["esrgan", "image_generation", "clip"]), _NAMES, st.none() | _RECORDS), max_size=12
)


@settings(max_examples=60)
@given(before=_STEPS, after=st.lists(_STEPS, max_size=3))
def test_who_applied_the_feed_has_the_very_bytes_of_who_fetched_whole(
    before: list[tuple[str, str, dict[str, object] | None]],
    after: list[list[tuple[str, str, dict[str, object] | None]]],
    shared: Loopback,
    network: HttpNetwork,
) -> None:
    """Whatever happened, and in however many questions it was heard of."""
    shared.answer = primary = FeedingPrimary({"esrgan": {}, "image_generation": {}})
    replica = _Replica(shared, primary, network)
    _happen(replica.primary, before)
    replica.read()
    for steps in after:
        _happen(replica.primary, steps)
        replica.asked()
        replica.read()
        assert len(replica.asked()) == 1
        assert replica.is_right()
        fresh = _Replica(replica.server, replica.primary, replica.network)
        fresh.read()
        assert {n: (h.body, h.revision) for n, h in fresh.have.items() if h} == {
            n: (h.body, h.revision) for n, h in replica.have.items() if h
        }


def _happen(primary: FeedingPrimary, steps: list[tuple[str, str, dict[str, object] | None]]) -> None:
    for category, name, record in steps:
        if record is not None:
            primary.put(category, name, record)
        elif name in primary.records.get(category, {}):  # type: ignore[operator]
            primary.delete(category, name)


def _fed(**answer: object) -> bytes:
    return http(200, json.dumps({"revision": 8, "changes": [], "more": False, **answer}).encode())


def _change(**facts: object) -> dict[str, object]:
    base: dict[str, object] = {"revision": 8, "at": 1, "category": "esrgan", "name": "C", "operation": "create"}
    return {key: value for key, value in {**base, "record": {"name": "C"}, **facts}.items() if value is not ...}


NO_FEED = {
    "410": http(410, b'{"detail": "too old"}'),
    "404": http(404),
    "422": http(422),
    "html": http(200, b"<html>"),
    "empty": http(200, b""),
    "a list": http(200, b"[]"),
    "nothing in it": http(200, b"{}"),
    "more": _fed(changes=[_change()], more=True),
    "below since": _fed(revision=6),
    "revision as text": _fed(revision="8"),
    "revision true": _fed(revision=True),
    "no revision": http(200, b'{"changes": []}'),
    "changes null": _fed(changes=None),
    "changes an object": _fed(changes={}),
    "a change null": _fed(changes=[None]),
    "a change without a name": _fed(changes=[_change(name=...)]),
    "a change with a number for a name": _fed(changes=[_change(name=5)]),
    "a change without a revision": _fed(changes=[_change(revision=...)]),
    "a change with a list for a record": _fed(changes=[_change(record=[])]),
    "an update without a record": _fed(changes=[_change(operation="update", name="A", record=...)]),
    "an update to nothing": _fed(changes=[_change(operation="update", name="A", record=None)]),
    "an operation that nobody knows": _fed(changes=[_change(operation="archive", name="A", record=None)]),
    "no operation": _fed(changes=[_change(operation=..., name="A", record=None)]),
}


@pytest.mark.parametrize("feed", NO_FEED.values(), ids=NO_FEED)
def test_where_the_feed_cannot_tell_each_category_is_asked_for_on_a_condition(replica: _Replica, feed: bytes) -> None:
    """What did not change costs no body; what did is right; nothing half-understood is applied."""
    replica.primary.feed = feed
    bodies = dict(replica.have)
    replica.read()
    assert replica.is_right()
    assert replica.asked() == ["changes?since=7", "esrgan", "image_generation"]
    assert all(
        have and before and have.body is before.body
        for have, before in zip(replica.have.values(), bodies.values(), strict=True)
    )
    replica.primary.put("esrgan", "C", {"name": "C"})
    replica.read()
    assert replica.is_right()


@pytest.mark.parametrize(("status", "again"), [(404, False), (422, False), (410, True)])
def test_a_primary_without_a_feed_is_not_asked_for_it_every_time(replica: _Replica, status: int, again: bool) -> None:
    """One whose feed does not reach back that far has one."""
    replica.primary.feed = http(status)
    replica.read()
    replica.asked()
    replica.read()
    assert ("changes?since=7" in replica.asked()) is again
    assert replica.is_right()


def test_a_feed_that_fails_refuses_all_and_asks_for_nothing_more(replica: _Replica) -> None:
    """PRIMARY is ill: thirteen questions more would not help it."""
    replica.primary.feed = http(503, retry_after="12")
    answers = replica.read()
    assert replica.asked() == ["changes?since=7"]
    refusals = [answer for answer in answers.values() if isinstance(answer, SourceUnavailable)]
    assert [(refusal.retry_after, refusal.absent) for refusal in refusals] == [(12.0, False)] * 2


# -- held questions --


def test_a_held_question_says_for_how_long_and_asks_for_nothing_else(replica: _Replica) -> None:
    """Also what it cannot tell of is not fetched meanwhile: that is for the next poll."""
    replica.have["clip"] = None
    answers = replica.read(wait=2.5)
    assert replica.asked() == ["changes?since=7&wait=2.5"]
    assert isinstance(answers["esrgan"], Snapshot)
    refusal = answers["clip"]
    assert isinstance(refusal, SourceUnavailable)
    assert (refusal.absent, refusal.retry_after) == (True, None)


def test_a_held_question_may_last_as_long_as_it_says(replica: _Replica) -> None:
    """On top of what any answer may take."""
    replica.source.deadline = 0.5
    inner = replica.primary

    def held(asked: Asked) -> Iterator[bytes]:
        time.sleep(0.8)
        yield from inner(asked)

    replica.server.answer = held
    assert isinstance(replica.read(wait=5.0)["esrgan"], Snapshot)


@pytest.mark.parametrize("polls", [False, True], ids=["one after the other", "with polls between them"])
def test_a_primary_that_cannot_hold_a_question_is_not_made_to(replica: _Replica, polls: bool) -> None:
    """Some proxy cuts each off; a reader polls after each that was lost, and the polls are answered."""
    for _ in range(3):
        replica.primary.feed = http(504)
        answer = replica.read(wait=1.0)["esrgan"]
        assert isinstance(answer, SourceUnavailable)
        assert not answer.absent
        replica.primary.feed = None
        if polls:
            assert isinstance(replica.read()["esrgan"], Snapshot)
    replica.asked()
    answer = replica.read(wait=1.0)["esrgan"]
    assert isinstance(answer, SourceUnavailable)
    assert (replica.asked(), answer.absent) == ([], True)
    replica.read()
    assert replica.asked() == ["changes?since=7"]


def test_a_held_question_that_is_answered_makes_up_for_those_that_were_lost(replica: _Replica) -> None:
    """A restart of PRIMARY now and then is no reason to stop following it."""
    for _ in range(3):
        for _ in range(2):
            replica.primary.feed = http(504)
            replica.read(wait=1.0)
        replica.primary.feed = None
        assert isinstance(replica.read(wait=1.0)["esrgan"], Snapshot)


# -- one category --


def test_conditions_are_made_of_what_the_server_calls_its_versions(replica: _Replica) -> None:
    """An entity tag where there is one, else the date; neither where the snapshot is from elsewhere."""
    replica.primary.feed = http(404)
    replica.read()
    assert replica.have["esrgan"] is not None
    assert replica.server.requests[-2].headers["if-none-match"] == replica.have["esrgan"].tag
    dated = snapshot(ESRGAN, source=replica.source.name, tag="Mon, 23 Nov 2026 10:00:00 GMT")
    answered(replica.source, ask_for("esrgan", dated), replica.network)
    assert replica.server.requests[-1].headers["if-modified-since"] == dated.tag
    foreign = snapshot(ESRGAN, source="elsewhere", tag='"x"', revision=7)
    answered(replica.source, ask_for("esrgan", foreign), replica.network)
    assert not {"if-none-match", "if-modified-since"} & replica.server.requests[-1].headers.keys()


RETRY_AFTER = {
    "30": (30, 30),
    "0": (0, 0),
    formatdate(time.time() + 10_000, usegmt=True): (5_000, 10_000),
    formatdate(0, usegmt=True): (0, 0),
    "soon": None,
    "": None,
    "-5": None,
    "1.5": None,
    "9" * 30: None,
    "Fri, 31 Dec 9999 23:59:59 -0000": ...,
    "Mon, 01 Jan 0001 00:00:00 -0000": ...,
    "Mon, 99 Xyz 2026 99:99:99 GMT": None,
}


@pytest.mark.parametrize(("header", "expected"), RETRY_AFTER.items(), ids=range(len(RETRY_AFTER)))
def test_retry_after_is_understood_as_seconds_and_as_a_date(
    replica: _Replica, header: str, expected: tuple[float, float] | None
) -> None:
    """What is neither says nothing, and is never a crash."""
    replica.primary.broken = http(429, retry_after=header)
    answer = replica.read()["esrgan"]
    assert isinstance(answer, SourceUnavailable)
    if expected is None:
        assert answer.retry_after is None
    elif isinstance(expected, tuple):
        assert answer.retry_after is not None
        assert expected[0] <= answer.retry_after <= expected[1]


def _cold(server: Loopback) -> PrimarySource:
    return PrimarySource(f"{server.url}/api", 5.0, 1_000_000)


@pytest.mark.parametrize("heard", ["a category", "a condition", "a feed"])
def test_not_found_as_the_first_answer_is_a_fault_and_after_any_other_it_is_absence(
    replica: _Replica, heard: str
) -> None:
    """At first the address may be wrong; a server that knows our categories only has none of this one."""
    source = _cold(replica.server)
    replica.primary.broken = http(404, b'{"detail": "Not Found"}')
    first = found(source, ask_for("video_generation"), replica.network)["video_generation"]
    assert isinstance(first, SourceUnavailable)
    assert not first.absent
    replica.primary.broken = None
    if heard != "a feed":
        replica.primary.feed = http(404)
    known = None if heard == "a category" else replica.have["esrgan"]
    answered(source, ask_for("esrgan", known), replica.network)
    later = found(source, ask_for("video_generation"), replica.network)["video_generation"]
    assert isinstance(later, SourceUnavailable)
    assert later.absent


class _Counting:
    """A network that counts."""

    def __init__(self, network: HttpNetwork) -> None:
        self._network = network
        self.urls: list[str] = []

    def begin(self, request: Request) -> Future[Response]:
        self.urls.append(request.url)
        return self._network.begin(request)

    def close(self) -> None:
        """It is not ours."""


def test_where_nobody_is_there_the_other_twelve_are_not_asked_for(network: HttpNetwork) -> None:
    """The connection is refused once; all thirteen say so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source, counting = (
            PrimarySource(f"http://127.0.0.1:{taken.getsockname()[1]}/api", 5.0, 1000),
            _Counting(network),
        )
        answers = run(source.read(Ask(dict.fromkeys(OURS))), counting)
    assert len(counting.urls) == 1
    assert set(answers) == set(OURS)
    assert all(isinstance(answer, SourceUnavailable) and not answer.absent for answer in answers.values())


@pytest.mark.parametrize("answer", [http(500), http(200, b"<html>"), http(404)], ids=["500", "html", "404"])
def test_one_category_that_primary_cannot_give_costs_the_others_nothing(replica: _Replica, answer: bytes) -> None:
    """Its record of it may be damaged: somebody else may have it, and PRIMARY goes on giving the rest."""
    replica.primary.whole["esrgan"] = answer
    answers = found(_cold(replica.server), Ask({"esrgan": None, "image_generation": None}), replica.network)
    assert isinstance(answers["esrgan"], SourceUnavailable)
    assert isinstance(answers["image_generation"], Snapshot)


def test_a_request_that_the_http_library_chokes_on_is_refused_and_not_waited_for_for_ever(
    network: HttpNetwork, replica: _Replica
) -> None:
    """Whatever it raises: who waits for an answer has only the deadline to rely on."""
    odd = network.begin(Request(replica.server.url, {"x-odd": 5}, deadline=1.0))  # type: ignore[dict-item]
    with pytest.raises(SourceUnavailable):
        odd.result(3)


def test_a_category_that_is_missing_at_first_does_not_shut_out_the_others(replica: _Replica) -> None:
    """PRIMARY says that it has none of it, in words of its own; the address is right."""
    answer = found(_cold(replica.server), ask_for("video_generation"), replica.network)["video_generation"]
    assert isinstance(answer, SourceUnavailable)
    assert answer.absent


def test_more_values_than_a_reference_has_are_not_even_decoded(replica: _Replica) -> None:
    """A small answer of nothing but brackets cost gigabytes and a minute."""
    replica.primary.broken = http(200, b'{"m":[' + b"[]," * 200_000 + b"1]}")
    with pytest.raises(SourceUnavailable, match="more values"):
        answered(_cold(replica.server), ask_for("esrgan"), replica.network)


def test_a_tag_or_a_date_without_end_is_no_use(replica: _Replica) -> None:
    """Sent back, the tag would be refused for ever; the year is beyond what clocks count."""
    replica.primary.broken = http(200, b'{"A": {"name": "A"}}', etag=f'"{"x" * 5000}"')
    assert answered(_cold(replica.server), ask_for("esrgan"), replica.network).tag is None
    replica.primary.broken = http(503, retry_after="Mon, 23 Nov 99999999999 10:00:00 GMT")
    with pytest.raises(SourceUnavailable) as caught:
        answered(_cold(replica.server), ask_for("esrgan"), replica.network)
    assert caught.value.retry_after is None
