"""Records that are proposed and not published: read with a key, never raising, left out where they are wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import horde_model_reference as hmr
from horde_model_reference import MODEL_REFERENCE_CATEGORY, ModelReferenceManager
from horde_model_reference.domain.records import EsrganModelRecord
from horde_model_reference.providers import PENDING_SOURCE_ID, PendingModelProvider
from tests.reading.simulators import Asked, Loopback, Reset, http

KEY = "beta-kEy-42"
GOOD = {"name": "Beta", "record_type": "esrgan", "description": "new"}


@dataclass
class Queue:
    """The route of a PRIMARY that tells what is proposed. `broken` is answered before; None: a reset."""

    body: bytes = json.dumps({"Beta": GOOD}).encode()
    broken: list[bytes | None] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        broken = self.broken.pop(0) if self.broken else b""
        if broken is None:
            raise Reset
        if broken:
            yield broken
        elif asked.headers.get("apikey") != KEY:
            yield http(401, b'{"detail": "Invalid API key"}')
        else:
            yield http(200, self.body)


@pytest.fixture
def queue() -> Queue:
    """One good record."""
    return Queue()


@pytest.fixture
def primary(queue: Queue) -> Iterator[Loopback]:
    """A PRIMARY with that queue."""
    with Loopback(queue) as server:
        yield server


def provider(primary: Loopback, **more: float | str) -> PendingModelProvider:
    """One as clients make it."""
    given: dict[str, object] = {"apikey": KEY, "retry_backoff_seconds": 0.01, "timeout_seconds": 5, **more}
    categories = {MODEL_REFERENCE_CATEGORY.esrgan, "gfpgan"}
    return PendingModelProvider(primary_api_url=f"{primary.url}/api", categories=categories, **given)  # type: ignore[arg-type]


def test_it_is_the_source_pending_for_the_given_categories(primary: Loopback) -> None:
    """What clients look at before they ask; the documented import paths give one object."""
    beta = provider(primary)
    assert (beta.source_id, beta.provided_categories()) == (PENDING_SOURCE_ID, {"esrgan", "gfpgan"})
    assert (beta.serves_category("esrgan"), beta.serves_category("clip"), beta.supports_writes()) == (
        True,
        False,
        False,
    )
    assert PENDING_SOURCE_ID == hmr.PENDING_SOURCE_ID == "pending"
    assert hmr.PendingModelProvider is PendingModelProvider
    assert primary.requests == []


def test_records_come_from_the_route_of_the_category(primary: Loopback) -> None:
    """With the key in its header; typed, as the reference's are."""
    records = provider(primary).fetch_category(MODEL_REFERENCE_CATEGORY.esrgan)
    assert records is not None
    assert isinstance(records["Beta"], EsrganModelRecord)
    (asked,) = primary.requests
    assert (asked.path, asked.headers["apikey"]) == ("/api/model_references/v2/esrgan/pending", KEY)


def test_what_was_read_is_good_for_a_while(primary: Loopback) -> None:
    """A minute unless told otherwise; `force_refresh` asks again; a caller's changes to the dict are its own."""
    beta = provider(primary)
    first = beta.fetch_category("esrgan")
    assert first is not None
    first.clear()
    assert beta.fetch_category("esrgan")
    assert len(primary.requests) == 1
    assert beta.fetch_category("esrgan", force_refresh=True)
    assert len(primary.requests) == 2
    hasty = provider(primary, cache_ttl_seconds=0)
    assert hasty.fetch_category("esrgan") == hasty.fetch_category("esrgan")
    assert len(primary.requests) == 4


def test_a_wrong_record_is_left_out_and_logged(
    primary: Loopback, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """The good ones are there; whoever proposed the other reads why in the log, once."""
    queue.body = json.dumps({"Beta": GOOD, "Bad": {"name": "Bad", "config": 3}, "Worse": 7}).encode()
    beta = provider(primary)
    assert list(beta.fetch_category("esrgan") or ()) == ["Beta"]
    beta.fetch_category("esrgan", force_refresh=True)
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "Bad: config" in line
    assert "Worse" in line


UNWELL = [
    http(401, b'{"detail": "Invalid API key"}'),
    http(404, b'{"detail": "Not Found"}'),
    http(422),
    http(200, b"<html>sign in</html>"),
    http(200, b"[]"),
    http(200, b"{"),
    http(200),
    http(302, location="http://127.0.0.1:1/"),
]


@pytest.mark.parametrize("answer", UNWELL)
def test_an_answer_without_records_is_none(primary: Loopback, queue: Queue, answer: bytes) -> None:
    """Never an exception, and nothing is asked again before its time."""
    queue.broken = [answer]
    beta = provider(primary)
    assert beta.fetch_category("esrgan") is None
    assert beta.fetch_category("esrgan") is None
    assert len(primary.requests) == 1
    assert beta.fetch_category("esrgan", force_refresh=True)


def test_what_may_pass_is_tried_three_times(primary: Loopback, queue: Queue) -> None:
    """Connection lost, then a fault of the server, then the records."""
    queue.broken = [None, http(503)]
    assert provider(primary).fetch_category("esrgan")
    queue.broken = [http(500), http(500), http(500)]
    assert provider(primary, retry_max_attempts=2).fetch_category("esrgan") is None
    assert len(primary.requests) == 5


def test_a_primary_that_fails_later_takes_no_records_away(primary: Loopback, queue: Queue) -> None:
    """What it told last is served, but not to who asks for what it tells now."""
    beta = provider(primary, cache_ttl_seconds=0)
    assert beta.fetch_category("esrgan")
    queue.broken = [http(404), http(404)]
    assert beta.fetch_category("esrgan")
    assert beta.fetch_category("esrgan", force_refresh=True) is None


def test_a_category_it_was_not_given_is_none_and_not_asked_for(primary: Loopback) -> None:
    """Nor is a name that would be another route."""
    assert provider(primary).fetch_category("../admin") is None
    assert primary.requests == []


@pytest.mark.parametrize("apikey", [KEY + "\n", "\t" + KEY, KEY + "\r\nx-other: 1", "schlüssel-" + KEY])
def test_a_key_that_no_header_can_hold_is_not_told(
    primary: Loopback, apikey: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A newline at its end is common, and a library that refuses to send a header quotes it in its error."""
    caplog.set_level(logging.DEBUG, logger="")
    beta = provider(primary, apikey=apikey)
    assert (beta.fetch_category("esrgan") is not None) is (apikey.strip() == KEY)
    assert KEY not in caplog.text + repr(beta)
    assert all("x-other" not in asked.headers for asked in primary.requests)


def test_a_key_is_not_sent_to_where_primary_points(primary: Loopback, queue: Queue) -> None:
    """Whoever can redirect would collect keys."""
    with Loopback(lambda asked: iter([http(200, b"{}")])) as thief:
        queue.broken = [http(302, location=thief.url)]
        assert provider(primary).fetch_category("esrgan") is None
        assert thief.requests == []


def test_the_manager_reads_it_beside_the_reference(primary: Loopback, tmp_path: Path) -> None:
    """As workers do: registered, replaced, read by source; the first source that is listed wins a name."""
    (tmp_path / "esrgan.json").write_text(json.dumps({"Beta": {**GOOD, "description": "old"}, "Old": {"name": "Old"}}))
    manager = ModelReferenceManager(base_path=tmp_path, offline=True)
    try:
        manager.register_provider(provider(primary))
        manager.register_provider(provider(primary), replace=True)
        found = manager.query("esrgan", source=["pending", "horde"]).to_list_with_source()
        told = {record.name: (record.description, source) for record, source in found}
        assert told == {"Beta": ("new", "pending"), "Old": (None, "horde")}
        beta = manager.get_provider("pending")
        assert beta is not None
        assert list(beta.fetch_category("esrgan", force_refresh=True) or ()) == ["Beta"]
    finally:
        ModelReferenceManager.reset()
