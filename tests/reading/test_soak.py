"""A soak: half an hour of virtual time, ten thousand changes, and faults that come and go; no clock but the test's."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Request, Response
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.reference import Reference
from horde_model_reference.sources.folder import FolderSource
from horde_model_reference.sources.http import PrimarySource
from horde_model_reference.sources.layered import Breaker, Checked, Else, FirstThatAnswers
from horde_model_reference.sources.local import StarterSource
from horde_model_reference.sources.remembered import Remembered

SECONDS, CHANGES, MODELS = 1800, 10_000, 40
URL = "http://primary/api"


@dataclass
class Clock:
    """The one clock of the test, in seconds."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def history(count: int) -> Iterator[dict[str, object]]:
    """Changes one after the other: mostly updates, now and then a model that goes, and comes again."""
    there: set[str] = set()
    for number in range(count):
        name = f"model {number % MODELS}"
        gone = name in there and number % 97 == 0
        operation = "delete" if gone else "update" if name in there else "create"
        there.symmetric_difference_update({name} if operation != "update" else ())
        # The texts recur: JSON parsers keep short strings for later, thousands of them.
        record = None if gone else {"name": name, "description": f"as of {number % 61}"}
        yield {"revision": number + 1, "category": "esrgan", "name": name, "operation": operation, "record": record}


@dataclass
class Primary:
    """A PRIMARY with a feed as a network: what it answers follows from its history and the fault of the moment."""

    faults: ClassVar[tuple[str, ...]] = ("refused", "500", "429", "html", "cut", "gutted", "behind", "no feed")
    log: list[dict[str, object]]
    head: int = 0
    documents: dict[str, object] = field(default_factory=dict)
    fault: str = ""
    asked: int = 0

    def apply(self, head: int) -> None:
        """Let happen what happened up to that revision."""
        for change in self.log[self.head : head]:
            self.documents[str(change["name"])] = change["record"]
            if change["record"] is None:
                del self.documents[str(change["name"])]
        self.head = head

    def begin(self, request: Request) -> Future[Response]:
        self.asked += 1
        answer: Future[Response] = Future()
        try:
            answer.set_result(self._answer(request))
        except SourceUnavailable as refusal:
            answer.set_exception(refusal)
        return answer

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, request: Request) -> Response:
        url = urlsplit(request.url)
        if self.fault == "refused":
            raise SourceUnavailable(request.url, "Connection refused")
        if self.fault in ("500", "429"):
            return Response(int(self.fault), {"retry-after": "7"} if self.fault == "429" else {}, b"")
        if self.fault == "html":
            return Response(200, {}, b"<html>maintenance</html>")
        if url.path.endswith("/changes"):
            return self._feed(int(parse_qs(url.query)["since"][0]))
        body, revision = encode(self.documents), self.head
        if self.fault == "cut":
            body = body[: len(body) // 2]
        if self.fault == "gutted":
            return Response(200, {}, encode(dict(list(self.documents.items())[:3])))
        if self.fault == "behind":
            revision = max(0, revision - 500)
        headers = {"x-reference-revision": str(revision), "etag": content_etag(body)}
        same = request.headers.get("if-none-match") == headers["etag"]
        return Response(304 if same else 200, headers, b"" if same else body)

    def _feed(self, since: int) -> Response:
        head = self.head
        if self.fault in ("no feed", "gutted", "behind", "cut"):
            return Response(410, {}, b"")
        if since == head:
            return Response(204, {"x-reference-revision": str(head)}, b"")
        changes = self.log[since:head]
        return Response(200, {}, encode({"revision": head, "changes": changes, "more": len(changes) > 1000}))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still but for the test."""
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_half_an_hour_of_changes_and_faults(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No reader sees an older revision after a newer one, or fewer records than there are; the log is quiet, memory is
    flat, and in the end the replica holds byte for byte what PRIMARY has."""
    dice, primary = random.Random(7), Primary(list(history(CHANGES)))
    primary.apply(MODELS)
    source = Breaker(Checked(PrimarySource(URL, 10, 1 << 20)), clock)
    chain = Else(Remembered(FirstThatAnswers((source,)), FolderSource(tmp_path)), StarterSource())
    reference = Reference(chain, primary, max_age=5.0, behind=True)
    reference.close()  # no thread: the test calls `renew` when its clock says so
    assert len(reference.read("esrgan")) == MODELS

    seen, due, faulty, sizes = 0, clock.now, 0, []
    for second in range(SECONDS):
        clock.now += 1.0
        if second % 20 == 0:
            primary.fault = dice.choice(("", "", *Primary.faults))
        primary.apply(max(MODELS, CHANGES * (second + 1) // SECONDS))
        if clock.now >= due:
            due = clock.now + reference.renew()
        (status,) = reference.status()
        assert status.revision is not None
        assert status.revision >= seen, f"{status.revision} after {seen}, {primary.fault}"
        assert len(reference.read("esrgan")) >= MODELS - 20
        seen, faulty = status.revision, faulty + bool(status.fault)
        if second % 600 == 599:
            gc.collect()
            sizes.append(sys.getallocatedblocks())

    primary.fault = ""
    clock.now += 300
    reference.renew()
    assert reference.snapshot("esrgan").body == encode(primary.documents)
    assert reference.snapshot("esrgan").revision == CHANGES
    assert 0 < faulty < SECONDS
    assert 0 < len(caplog.records) <= SECONDS / 60  # what comes and goes is said once a minute
    assert primary.asked < SECONDS
    assert sizes[-1] < sizes[0] + 500, sizes
