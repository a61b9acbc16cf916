"""Ages along a chain of relays: who is far from a PRIMARY that is gone hears the sum, and who never heard of it hears
no records at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.flow import NoNetwork
from horde_model_reference.reference import Reference
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.wiring import Mode, Parts, ReferenceBackend, assemble
from tests.reading.samples import Told, snapshot
from tests.reading.simulators import Asked, FeedingPrimary, Loopback, http
from tests.service.servers import ScriptedStore, parts_over, running, within_deadline

V2 = "/api/model_references/v2"
CHANGES = f"{V2}/changes"
AGE = 5_000
A: JsonObject = {"name": "a"}
_SLACK = 120
"""Seconds that a test may take without an age being wrong; far from any of those that are told."""


@dataclass
class Elderly(FeedingPrimary):
    """A relay whose PRIMARY is gone: every answer comes with its age."""

    age: str = str(AGE)

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        for piece in super().__call__(asked):
            yield piece.replace(b"\r\n", f"\r\nage: {self.age}\r\n".encode(), 1)


@contextmanager
def _relaying(url: str, root: Path, **chosen: object) -> Iterator[tuple[str, Parts]]:
    """The address and the parts of a relay that reads there."""
    facts = {"enable_github_fallback": False, "follow_changes": False, "cache_ttl_seconds": 3_600} | chosen
    settings = make_settings(primary_api_url=f"{url}/api", **facts)
    root.mkdir(exist_ok=True)
    parts = assemble(Mode(ReplicateMode.REPLICA, False, root), settings)
    with ExitStack() as ends:
        ends.callback(parts.close)
        yield ends.enter_context(running(create_app(parts, settings))), parts


def _age(answer: httpx.Response) -> int:
    return int(answer.headers["age"])


def _is_near(age: float, expected: float) -> bool:
    return expected <= age < expected + _SLACK


def _ages(url: str) -> list[int]:
    """Every age that a relay tells: of a category, of nothing new as both questions ask, of the heartbeat."""
    whole = httpx.get(f"{url}{V2}/esrgan")
    since = whole.headers["x-reference-revision"]
    polls = [httpx.get(f"{url}{CHANGES}?since={since}{more}") for more in ("", "&wait=0.01", "&limit=5")]
    assert [whole.status_code, *(poll.status_code for poll in polls)] == [200, 204, 204, 204]
    return [*map(_age, (whole, *polls)), httpx.get(f"{url}/heartbeat").json()["reference"]["age"]]


def test_a_relay_behind_a_relay_tells_the_sum_of_ages(tmp_path: Path) -> None:
    """Wherever it tells an age: that it read a minute ago what was an hour old is no news of a minute."""
    with Loopback(Elderly({"esrgan": {"a": A}})) as far, _relaying(far.url, tmp_path / "relay") as (url, parts):
        assert all(_is_near(age, AGE) for age in _ages(url))
        (status,) = [each for each in parts.reference.status() if each.category == "esrgan"]
        assert _is_near(status.age, AGE)


def test_the_ages_of_a_chain_add_up(tmp_path: Path) -> None:
    """The first relay heard 1,000 seconds ago of what was 5,000 seconds old; the last one says both together."""
    source = Told().gives(snapshot({"a": A}, revision=3, checked=time.time() - 1_000, older=float(AGE)))
    first = Reference(source, NoNetwork(), max_age=3_600)
    app = create_app(Parts(first, ReferenceBackend(first), tmp_path))
    with running(app) as url:
        assert all(_is_near(age, AGE + 1_000) for age in _ages(url))
        with (
            _relaying(url, tmp_path / "second") as (second, _),
            _relaying(second, tmp_path / "third") as (third, parts),
        ):
            assert all(_is_near(age, AGE + 1_000) for age in [*_ages(second), *_ages(third)])
            (status,) = [each for each in parts.reference.status() if each.category == "esrgan"]
            assert _is_near(status.age, AGE + 1_000)


def test_the_changes_that_a_relay_tells_have_its_age(tmp_path: Path) -> None:
    """An answer of the feed with something in it, too; also where it read that from the feed of another."""
    far = Elderly({"esrgan": {"a": A}})
    with Loopback(far) as there, _relaying(there.url, tmp_path / "relay") as (url, parts):
        since = httpx.get(f"{url}{V2}/esrgan").headers["x-reference-revision"]
        far.put("esrgan", "b", {"name": "b"})
        parts.reference.snapshot("esrgan", fresh=True)
        told = httpx.get(f"{url}{CHANGES}?since={since}")
        if told.status_code == 204:  # not all categories were that far
            parts.reference.warm(fresh=True)
            told = httpx.get(f"{url}{CHANGES}?since={since}")
        assert [change["name"] for change in told.json()["changes"]] == ["b"]
        assert _is_near(_age(told), AGE)
        assert any("changes?since=" in asked.path for asked in there.requests)


def test_an_age_ends_with_what_is_heard_from_primary_itself(tmp_path: Path) -> None:
    """The answer that nothing changed is news as well; a 304 and a 204 that come without an age put it back to none."""
    far = Elderly({"esrgan": {"a": A}})
    with Loopback(far) as there, _relaying(there.url, tmp_path / "relay") as (url, parts):
        assert _is_near(_age(httpx.get(f"{url}{V2}/esrgan")), AGE)
        far.age = "0"
        parts.reference.snapshot("esrgan", fresh=True)
        within_deadline(lambda: _is_near(_age(httpx.get(f"{url}{V2}/esrgan")), 0))
        far.age, far.feed = "70", http(404, b'{"detail": "Not Found"}')  # no feed: asked on a condition
        parts.reference.snapshot("esrgan", fresh=True)
        assert 70 <= _age(httpx.get(f"{url}{V2}/esrgan")) < AGE


def test_an_age_outlives_a_restart(tmp_path: Path) -> None:
    """What is on the disk is as old as it was, plus the time since; a second worker there says so, too."""
    with Loopback(Elderly({"esrgan": {"a": A}})) as far:
        with _relaying(far.url, tmp_path / "relay") as (url, _):
            assert _is_near(_age(httpx.get(f"{url}{V2}/esrgan")), AGE)
            with _relaying(far.url, tmp_path / "relay") as (other, _):
                assert _is_near(_age(httpx.get(f"{other}{V2}/esrgan")), AGE)
        address = far.url
    with _relaying(address, tmp_path / "relay") as (url, _):
        assert _is_near(_age(httpx.get(f"{url}{V2}/esrgan")), AGE)


@pytest.mark.parametrize("said", ["", "soon", "-5", "1.5", "٣", "9" * 40, "1e9"])
def test_an_age_that_is_none_is_as_if_nothing_had_been_said(tmp_path: Path, said: str) -> None:
    """No proxy can make a relay fail with it."""
    far = Elderly({"esrgan": {"a": A}}, age=said.encode().decode("latin-1"))
    with Loopback(far) as there, _relaying(there.url, tmp_path / "relay") as (url, _):
        assert all(_is_near(age, 0) for age in _ages(url))


def test_the_old_interface_of_a_relay_makes_nothing_up(scripted: ScriptedStore, tmp_path: Path) -> None:
    """What v2 adds for its readers is no part of a record; PRIMARY's own v1 does not have it."""
    with scripted.begin(actor="tests") as unit:
        unit.put("clip", "a", '{"name":"a"}')
    app = create_app(parts_over(scripted, tmp_path))
    with running(app) as url, _relaying(url, tmp_path / "relay") as (relay, _):
        there, here = (httpx.get(f"{each}/api/model_references/v1/clip").json()["a"] for each in (url, relay))
        assert there.keys() == here.keys()


# -- who never heard of it --


def test_a_relay_that_hears_nobody_has_no_records_and_says_so(tmp_path: Path) -> None:
    """Not even those of the package: readers would take them for the reference, and throw away what they have."""
    with _relaying("http://127.0.0.1:9", tmp_path / "relay") as (url, _):
        for path in ("v2/esrgan", "v2/image_generation", "v1/image_generation", "v2/esrgan/model/a"):
            answer = httpx.get(f"{url}/api/model_references/{path}")
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.json()["status"] == 503
            assert "age" not in answer.headers
        beat = httpx.get(f"{url}/heartbeat")
        assert (beat.status_code, beat.json()["status"]) == (200, "degraded")
        assert "image_generation" in beat.json()["reference"]["stale"]
        assert httpx.get(f"{url}{CHANGES}?since=0").status_code in (404, 410, 503)


def test_a_relay_that_heard_nobody_serves_as_soon_as_somebody_answers(tmp_path: Path) -> None:
    """What it said before is not kept."""
    far = Elderly({"esrgan": {"a": A}}, age="", broken=http(503))
    with Loopback(far) as there, _relaying(there.url, tmp_path / "relay") as (url, parts):
        assert httpx.get(f"{url}{V2}/esrgan").status_code == 503
        far.broken = None
        parts.reference.expire()
        within_deadline(lambda: httpx.get(f"{url}{V2}/esrgan").status_code == 200)
        assert list(httpx.get(f"{url}{V2}/esrgan").json()) == ["a"]


def test_a_service_that_is_meant_to_be_offline_serves_the_starter_catalogue(tmp_path: Path) -> None:
    """There is nobody it should have heard."""
    settings = make_settings()
    parts = assemble(Mode(ReplicateMode.REPLICA, True, tmp_path), settings)
    with running(create_app(parts, settings)) as url:
        answer = httpx.get(f"{url}{V2}/image_generation")
        assert answer.status_code == 200
        assert answer.json()
        assert httpx.get(f"{url}/heartbeat").json()["reference"]["revision"] in (None, 0)
    parts.close()
