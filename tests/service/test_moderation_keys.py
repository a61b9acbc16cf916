"""Who may ask what: keys that are missing, wrong, nobody's or without a role, an AI Horde that is not well, and that
no key is ever told."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from horde_model_reference.horde.users import ATTEMPTS
from horde_model_reference.settings import CanonicalFormat
from tests.horde.simulator import AiHorde
from tests.service.moderated import PEOPLE, Moderated, blip, moderated
from tests.service.servers import within_deadline

_NAMES = {"{change_id}": "1", "{batch_id}": "1", "{model_category_name}": "blip", "{model_name}": "a"}
_APPROVERS = ("/purge", "post /batches", "/apply", "/revert", "/metadata")
_REQUESTORS = ("/my_changes", "/withdraw", "/rebase", "/review", "/comments", "put /changes")
_KEY = "key-of-somebody-0123456789"


def routes(served: Moderated) -> Iterator[tuple[str, str, str]]:
    """(method, path, the list one must be on) of every route that needs a key."""
    for path, operations in served.app.openapi()["paths"].items():
        for method in operations:
            known = f"{method} {path.partition('/pending_queue')[2]}" if "pending_queue" in path else f"{method} {path}"
            if method == "get" and not any(word in path for word in ("pending", "/me/")):
                continue
            role = "requestor" if method != "get" and "pending_queue" not in path else ""
            role = "requestor" if any(word in known for word in _REQUESTORS) else role
            is_decided = method != "get" and any(word in known for word in _APPROVERS)
            yield method.upper(), _filled(path), "approver" if is_decided else role


def _filled(path: str) -> str:
    return "/api" + re.sub(r"\{\w+\}", lambda found: _NAMES[found[0]], path)


@pytest.fixture(scope="module", params=list(CanonicalFormat), ids=str)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moderated]:
    """An empty PRIMARY."""
    with moderated(tmp_path_factory.mktemp("keys"), canonical=request.param) as served:
        yield served


def _detail(answer: httpx.Response) -> object:
    return answer.json()["detail"]


def test_every_route_says_who_may_ask_in_the_recorded_order(service: Moderated, subtests: pytest.Subtests) -> None:
    """No key, a wrong one, one of a user without a number; then a role that is missing; only then the body counts."""
    asked = list(routes(service))
    assert len(asked) == {CanonicalFormat.v2: 77, CanonicalFormat.legacy: 99}[service.settings.canonical_format]
    for method, path, role in asked:
        with subtests.test(method, path=path):
            service.forget_attempts()
            before = len(service.horde.requests)
            missing = service.ask(method, path, content=b"{not json")
            assert (missing.status_code, _detail(missing)) == (401, "Not authenticated")
            assert len(service.horde.requests) == before
            for key in ("nobody's", "key-without-number", "not a key", "x" * 300):
                wrong = service.ask(method, path, key, content=b"{not json")
                assert (wrong.status_code, _detail(wrong)) == (401, "Invalid API key")
            plain = service.ask(method, path, "key-plain", content=b"{not json")
            if (
                service.settings.canonical_format is CanonicalFormat.legacy
                and "v2" in path
                and method != "GET"
                and "queue" not in path
            ):
                assert plain.status_code == 503  # this service accepts v1, whoever asks
            elif role:
                assert (plain.status_code, _detail(plain)) == (403, f"You are not on the pending queue {role} list.")
            else:
                assert plain.status_code in (200, 404, 422)
            if role == "approver":
                assert service.ask(method, path, "key-requestor", content=b"{not json").status_code == 403


def test_an_empty_list_means_nobody(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """It fails closed, as recorded: 401; what needs no role still answers."""
    with moderated(tmp_path, queue={"requestor_ids": [], "approver_ids": []}) as served:
        for method, path, role in routes(served):
            with subtests.test(method, path=path):
                answer = served.ask(method, path, "key-approver", content=b"{not json")
                assert (answer.status_code == 401) == bool(role)
                assert served.ask(method, path).status_code == 401


def test_approvers_may_propose_and_requestors_are_not_enough_without_approvers(tmp_path: Path) -> None:
    """An approver is a requestor; where nobody is an approver, nobody approves."""
    with moderated(tmp_path, queue={"approver_ids": []}) as served:
        assert served.ask("POST", "v2/blip", "key-requestor", json=blip("a")).status_code == 202
        assert served.ask("POST", "v2/pending_queue/batches", "key-requestor", json={}).status_code == 401
    with moderated(tmp_path, queue={"requestor_ids": []}) as served:
        assert served.ask("POST", "v2/blip", "key-approver", json=blip("b")).status_code == 202
        assert served.ask("POST", "v2/blip", "key-requestor", json=blip("c")).status_code == 403


_AILING = [("500", 5), ("dead", 5), ("page", 5), ("429 120", 120), ("slow", 5)]


@pytest.mark.parametrize(("mood", "seconds"), _AILING)
def test_a_fault_of_the_horde_is_never_a_wrong_key(service: Moderated, mood: str, seconds: int) -> None:
    """503 and when to come back; what is remembered still works, and it is well again when the AI Horde is."""
    service.forget_attempts()
    service.told("GET", "v2/me/roles", "key-plain")
    service.horde.mood = None if mood == "slow" else mood
    service.horde.gate.clear() if mood == "slow" else None
    try:
        answer = service.ask("GET", "v2/me/roles", "key-approver")
        assert service.ask("GET", "v2/me/roles", "key-plain").status_code == 200
    finally:
        service.horde.mood = None
        service.horde.gate.set()
    told = "Auth service timed out" if mood == "slow" else "Auth service unavailable"
    assert (answer.status_code, told in str(_detail(answer))) == (503, True)
    assert int(answer.headers["retry-after"]) == seconds
    assert service.ask("GET", "v2/me/roles", "key-approver").status_code == 200


def test_guessing_is_stopped(service: Moderated) -> None:
    """429 and when to come back; reading goes on, and so does who is known."""
    service.forget_attempts()
    service.told("GET", "v2/me/roles", "key-plain")
    statuses = [service.ask("GET", "v2/me/roles", f"guess-{n}").status_code for n in range(ATTEMPTS + 5)]
    assert statuses.count(401) == ATTEMPTS - 1
    assert set(statuses[ATTEMPTS:]) == {429}
    answer = service.ask("POST", "v2/pending_queue/purge", "one more", json={"purge_all": True})
    assert (answer.status_code, 0 < int(answer.headers["retry-after"]) <= 60) == (429, True)
    assert service.ask("GET", "v2/me/roles", "key-plain").status_code == 200
    assert service.ask("GET", "v2/blip").status_code == 200
    service.forget_attempts()


def test_a_key_is_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in a log at any level, on the terminal, in an answer, a metric, the database or any other file."""
    caplog.set_level(logging.DEBUG, logger="")
    with moderated(tmp_path, service={"access_log": True}) as served:
        served.horde.users |= {_KEY: "Key#202", f"{_KEY}-approver": "Key#101"}
        change = served.proposed(blip("a"), key=_KEY)
        answers = [
            served.ask(
                "POST",
                "v2/pending_queue/batches",
                f"{_KEY}-approver",
                json={"batch_title": "t", "approved_ids": [change]},
            ),
            served.ask("POST", f"v2/pending_queue/changes/{change}/apply", f"{_KEY}-approver", json={}),
            served.ask("POST", f"v2/pending_queue/changes/{change}/apply", _KEY, json={}),
            served.ask("POST", "v2/blip", _KEY, content=b"\xff"),
            served.ask("POST", "v2/blip", f"{_KEY}-wrong", json=blip("b")),
            served.ask("POST", "v2/blip", f"{_KEY} wrong", json=blip("b")),
            served.ask("GET", "/metrics"),
        ]
        served.horde.mood = "dead"
        answers.append(served.ask("POST", "v2/blip", f"{_KEY}-unasked", json=blip("c")))
        told = [answer.text + repr(answer.headers.raw) for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 422, 401, 401, 200, 503]
    assert _KEY in served.horde.keys
    told += [caplog.text, repr([vars(each) for each in caplog.records]), *capfd.readouterr()]
    told = [each.replace(repr(answers), "") for each in told]
    assert not [each for each in told if _KEY in each]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if _KEY.encode() in file.read_bytes()]


def _peak(process: int) -> float:
    """The most memory that it ever had, in MB."""
    words = Path(f"/proc/{process}/status").read_text().split()
    return int(words[words.index("VmHWM:") + 1]) / 1024


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """(address, number) of a PRIMARY in a process of its own."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("what a process takes is not told here")
    with socket.socket() as free, AiHorde(PEOPLE) as horde:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        run = "from horde_model_reference.cli import run; run()"
        words = [sys.executable, "-c", run, "serve", "--port", str(port)]
        environment = os.environ | {
            "HORDE_URL": horde.url,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AIWORKER_CACHE_HOME": str(tmp_path),
            "HORDE_MODEL_REFERENCE_REPLICATE_MODE": "PRIMARY",
            "HORDE_MODEL_REFERENCE_PENDING_QUEUE__REQUESTOR_IDS": "202",
        }
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
            url = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                with suppress(httpx.HTTPError):
                    return httpx.get(f"{url}/heartbeat").is_success
                return False

            try:
                within_deadline(answers)
                yield url, server.pid
            finally:
                server.terminate()


def _chunks() -> Iterator[bytes]:
    yield from (b"x" * 2**20 for _ in range(200))


def test_a_body_of_200_mb_costs_no_memory(process: tuple[str, int]) -> None:
    """With no key, a wrong or a right one, with a length or without: under 10 MB, and soon
    refused."""
    url, number = process
    path, key = f"{url}/api/model_references/v2/blip", {"apikey": "key-requestor"}
    assert httpx.post(path, headers=key, json=blip("a"), timeout=20).status_code == 202
    before, statuses = _peak(number), []
    for headers in ({}, {"apikey": "wrong"}, key):
        for length in ({}, {"content-length": str(200 * 2**20)}):
            with suppress(httpx.TransportError):  # the server does not wait for the rest
                answer = httpx.post(path, headers=headers | length, content=_chunks(), timeout=30)
                statuses.append(answer.status_code)
    assert _peak(number) - before < 10
    assert not [status for status in statuses if status < 400 or status >= 500]
    big = json.dumps(blip("b") | {"description": "d" * 2**20})
    assert httpx.post(path, headers=key, content=big, timeout=20).status_code in (413, 422)
    assert httpx.post(path, headers=key, json=blip("c"), timeout=20).status_code == 202
