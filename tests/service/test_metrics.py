"""What the service tells Prometheus after requests that the test made, and what it writes of each."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from horde_model_reference.service.application import Service, create_app
from horde_model_reference.settings import make_settings
from tests.service.servers import ScriptedStore, parts_over, running, within_deadline

V2 = "/api/model_references/v2"
_PREFIX = "horde_model_reference_"


@pytest.fixture
def app(scripted: ScriptedStore, tmp_path: Path) -> Service:
    """A service with one record, that logs accesses."""
    with scripted.begin(actor="tests") as unit:
        unit.put("esrgan", "a", '{"name":"a"}')
    return create_app(parts_over(scripted, tmp_path), make_settings(service={"access_log": True}))


@pytest.fixture
def client(app: Service) -> Iterator[httpx.Client]:
    """A client that has asked nothing yet."""
    with running(app) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def _told(client: httpx.Client) -> dict[tuple[str, str], float]:
    """Values by sample and labels, without our prefix."""
    text = client.get("/metrics").text
    return {
        (sample.name.removeprefix(_PREFIX), ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client: httpx.Client) -> None:
    """From the framework and from the table alike, with and without the prefix; 304s have a counter of their own."""
    tag = client.get(f"{V2}/esrgan").headers["etag"]
    for _ in range(4):
        client.get(f"{V2}/esrgan")
    for _ in range(3):
        assert client.get(f"{V2}/esrgan", headers={"if-none-match": tag}).status_code == 304
    for _ in range(2):
        client.get("/model_references/v2/esrgan/model/a")
        client.get(f"{V2}/esrgan/model/nobody")
        client.put(f"{V2}/esrgan")
        client.get("/nowhere")
    told = _told(client)
    assert told["requests_total", "read_v2_esrgan_all,200"] == 5
    assert told["requests_total", "read_v2_esrgan_all,304"] == 3
    assert told["requests_total", "read_v2_esrgan_one,200"] == 2
    assert told["requests_total", "read_v2_esrgan_one,404"] == 2
    assert told["unmodified_total", ""] == 3
    assert sum(value for (name, labels), value in told.items() if name == "requests_total" and "405" in labels) == 2
    assert told["requests_total", "none,404"] == 2
    assert sum(value for (name, _), value in told.items() if name == "requests_total") == 16


def test_latency_is_told_in_buckets_that_add_up(client: httpx.Client) -> None:
    """As many as there were requests; each bucket holds those below."""
    for _ in range(5):
        client.get("/heartbeat")
    told = _told(client)
    route = "heartbeat_heartbeat_get"
    assert told["latency_seconds_count", route] == 5
    assert told["latency_seconds_sum", route] > 0
    buckets = [v for (name, label), v in told.items() if name == "latency_seconds_bucket" and route in label]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 5


def test_gauges_tell_of_the_reference(client: httpx.Client, scripted: ScriptedStore) -> None:
    """The newest revision, how old what is served is, and how many replicas listen: by stream, or waiting."""
    told = _told(client)
    assert (told["revision", ""], told["age_seconds", ""], told["replicas_connected", ""]) == (1, 0, 0)
    with scripted.begin(actor="tests") as unit:
        unit.put("esrgan", "b", '{"name":"b"}')
    assert _told(client)["revision", ""] == 2
    with client.stream("GET", f"{V2}/changes/stream"):
        within_deadline(lambda: _told(client)["replicas_connected", ""] > 0)
        time.sleep(0.1)  # it waits for the next change by now, and counts once all the same
        assert _told(client)["replicas_connected", ""] == 1
    within_deadline(lambda: _told(client)["replicas_connected", ""] == 0)


def test_a_poll_of_the_feed_is_counted_as_one(client: httpx.Client) -> None:
    """It is what replicas ask all day, so it has a name; waiting is not latency."""
    assert client.get(f"{V2}/changes?since=1&wait=0.3").status_code == 204
    assert client.get(f"{V2}/changes?since=0&limit=5").status_code == 200
    told = _told(client)
    assert told["requests_total", "read_v2_changes,204"] == 1
    assert told["requests_total", "read_v2_changes,200"] == 1
    assert ("requests_total", "none,204") not in told


def test_names_from_outside_become_no_labels(client: httpx.Client) -> None:
    """Or anybody could fill the memory of the service, and of Prometheus."""
    for number in range(20):
        client.get(f"/nowhere/{number}")
        client.get(f"{V2}/esrgan/model/{number}")
        client.get(f"{V2}/category{number}")
        client.request(f"METHOD{number}", "/heartbeat")
    assert len({labels for name, labels in _told(client) if name == "requests_total"}) <= 5


def test_an_access_is_one_line_of_json(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Method, path, status and milliseconds; whatever the path holds, it stays one line."""
    caplog.set_level(logging.INFO, "horde_model_reference.access")
    client.get(f"{V2}/esrgan/model/%0Aevil%22?x=%0D")
    client.get(f"{V2}/esrgan")
    client.head(f"{V2}/esrgan")
    name = "horde_model_reference.access"
    within_deadline(lambda: len([record for record in caplog.records if record.name == name]) == 3)
    lines = [record.getMessage() for record in caplog.records if record.name == name]
    facts = [json.loads(line) for line in lines]
    assert all("\n" not in line for line in lines)
    assert [(fact["method"], fact["status"]) for fact in facts] == [("GET", 404), ("GET", 200), ("HEAD", 200)]
    assert all(fact["ms"] >= 0 and re.match(r"127\.", fact["client"]) for fact in facts)


def test_an_app_that_is_started_again_counts_anew(app: Service) -> None:
    """What it told of its first life would be told for ever otherwise."""
    for asked in (3, 2):
        with running(app) as url, httpx.Client(base_url=url) as client:
            for _ in range(asked):
                client.get("/heartbeat")
            assert _told(client)["requests_total", "heartbeat_heartbeat_get,200"] == asked
