"""HTTP as its documents have it: methods, conditions, dates, past revisions, problems, and other origins; each also the
second time, when what was prepared for the first answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.service.answers import CODINGS
from horde_model_reference.service.application import Service, create_app
from horde_model_reference.settings import make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Parts
from tests.service.servers import ScriptedStore, parts_over, running

V2 = "/api/model_references/v2"
V1 = "/api/model_references/v1"
IMAGES = f"{V2}/image_generation"
READ = (
    "/",
    "/heartbeat",
    "/replicate_mode",
    "/metrics",
    "/api/docs",
    "/api/openapi.json",
    f"{V2}/info",
    f"{V2}/model_categories",
    f"{V2}/manifest",
    IMAGES,
    f"{V2}/esrgan/search",
    f"{V2}/search?limit=3",
    f"{V2}/changes?since=0",
    f"{V2}/metadata/last_updated",
    f"{V2}/metadata/esrgan",
    f"{V1}/image_generation",
    f"{V1}/db.json",
    f"{V1}/stable_diffusion.json",
)
ABSENT = (
    (404, f"{V2}/blip/model/nobody"),
    (404, "/api/nowhere"),
    (404, f"{V1}/video_generation"),
    (410, f"{IMAGES}?at=999999"),
    (422, f"{V2}/nope"),
    (422, f"{V1}/nope"),
    (422, f"{V2}/search?limit=0"),
    (400, f"{V2}/esrgan/search?sort_by=nothing"),
)


@pytest.fixture(scope="module")
def app(parts: Parts) -> Service:
    """The service over the invented reference."""
    return create_app(parts)


@pytest.fixture(scope="module")
def url(app: Service) -> Iterator[str]:
    """Where it runs."""
    with running(app) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    """Its client."""
    with httpx.Client(base_url=url) as client:
        yield client


# -- methods --


@pytest.mark.parametrize("path", [*READ, *(path for _, path in ABSENT)])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    """Same status and headers, wherever the answer comes from; before and after somebody asked with GET."""
    for _ in range(2):
        first, whole, again = client.head(path), client.get(path), client.head(path)
        for head in (first, again):
            assert (head.status_code, head.content) == (whole.status_code, b"")
            changing = {"date"} | ({"content-length"} if path == "/metrics" else set())
            assert {k: v for k, v in head.headers.items() if k not in changing} == {
                k: v for k, v in whole.headers.items() if k not in changing
            }


def test_a_head_with_a_condition_is_answered_as_a_get_would_be(client: httpx.Client) -> None:
    """304, from the framework and from the table."""
    tag = client.get(IMAGES).headers["etag"]
    for _ in range(2):
        assert client.head(IMAGES, headers={"if-none-match": tag}).status_code == 304


def test_head_of_a_stream_ends(url: str) -> None:
    """There is nothing to send, so the connection is free for the next question."""
    with httpx.Client(base_url=url, timeout=5) as client:
        answer = client.head(f"{V2}/changes/stream")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        assert client.get("/heartbeat").status_code == 200


def _allowed(path: str) -> str:
    """The methods of a path that is read: a category takes new records as well."""
    return "GET, HEAD, OPTIONS, POST" if path == IMAGES else "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", READ)
def test_options_tells_the_methods(client: httpx.Client, path: str) -> None:
    """Without a body, with what every answer has."""
    answer = client.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, _allowed(path), b"")
    assert "x-reference-revision" in answer.headers


def test_options_of_what_is_not_there_is_a_problem(client: httpx.Client) -> None:
    """Like every other failure, and it allows nothing."""
    answer = client.options("/api/nowhere")
    assert (answer.status_code, answer.headers.get("allow")) == (404, None)
    assert answer.json()["status"] == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", READ)
def test_another_method_is_refused_with_those_that_are_not(client: httpx.Client, path: str, method: str) -> None:
    """405 with `Allow`, as a problem; also on a path whose answer is prepared."""
    client.get(path)
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, _allowed(path))
    assert (answer.json()["status"], answer.json()["title"]) == (405, "Method Not Allowed")
    assert answer.headers["content-type"] == "application/problem+json"


# -- conditions --


@pytest.mark.parametrize(
    "known", ["{}", "W/{}", '"other", {}', '{} , "other"', 'W/"other",W/{}', "*", '"a","b",{},"c"', ",{},"]
)
@pytest.mark.parametrize("coding", [*CODINGS, "identity"])
def test_who_has_it_is_told_so_however_it_is_spelt(client: httpx.Client, known: str, coding: str) -> None:
    """Lists, weak tags, stars, odd spaces; the second time from the table. Nothing of the body is described."""
    path, headers = IMAGES, {"accept-encoding": coding}
    tag = client.get(path, headers=headers).headers["etag"]
    for _ in range(2):
        answer = client.get(path, headers=headers | {"if-none-match": known.format(tag)})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert "content-encoding" not in answer.headers
        assert {"cache-control", "vary", "last-modified", "x-reference-revision"} <= answer.headers.keys()


def test_tags_in_several_lines_count_together(url: str) -> None:
    """RFC 9110, 5.3: a list may be cut into lines."""
    path = IMAGES
    tag = httpx.get(url + path, headers={"accept-encoding": "identity"}).headers["etag"]
    for _ in range(2):
        answer = httpx.get(
            url + path, headers=[("if-none-match", '"other"'), ("if-none-match", tag), ("accept-encoding", "identity")]
        )
        assert answer.status_code == 304


@pytest.mark.parametrize("known", ['"other"', "", '""', "W/", "null"])
def test_who_has_something_else_gets_it(client: httpx.Client, known: str) -> None:
    """Whatever it is."""
    for _ in range(2):
        assert client.get(IMAGES, headers={"if-none-match": known}).status_code == 200


def test_part_of_a_tag_is_another_tag(client: httpx.Client) -> None:
    """Without its quotes, cut, or with something added."""
    tag = client.get(IMAGES).headers["etag"]
    for known in (tag.strip('"'), tag[:-2] + '"', f'{tag[:-1]}-gzip"', tag.upper() if tag.upper() != tag else '"A"'):
        assert client.get(IMAGES, headers={"if-none-match": known}).status_code == 200


def test_two_processes_give_one_tag(parts: Parts, client: httpx.Client) -> None:
    """In every coding, for every kind of body: caches behind a load balancer rely on it. It is the bytes' own hash."""
    assert isinstance(parts.store, SqlStore)
    other = SqlStore(f"sqlite:///{parts.root / 'reference.sqlite3'}")
    name = next(iter(client.get(IMAGES).json()))
    paths = (IMAGES, f"{IMAGES}/model/{name}", f"{V1}/db.json", f"{V2}/search", f"{V2}/manifest", f"{IMAGES}?at=1")
    with running(create_app(parts_over(other, parts.root))) as url, httpx.Client(base_url=url) as second:
        for coding in ("identity", *CODINGS):
            for path in paths:
                told = []
                for asked in (client, second):
                    with asked.stream("GET", path, headers={"accept-encoding": coding}) as answer:
                        told.append((b"".join(answer.iter_raw()), dict(answer.headers)))
                (body, headers), (_, others) = told
                assert headers["etag"] == content_etag(body)
                assert {**headers, "date": ""} == {**others, "date": ""}
    other.close()


def test_below_a_kilobyte_nothing_is_compressed(parts: Parts, tmp_path: Path) -> None:
    """1023 bytes travel as they are, 1024 compressed."""
    store = ScriptedStore(tmp_path)
    with store.begin(actor="tests") as unit:
        unit.put("clip", "a", '""')
    with running(create_app(parts_over(store, tmp_path))) as url, httpx.Client(base_url=url) as client:
        bare = len(client.get(f"{V2}/clip").content)
        for size, coding in ((1023, None), (1024, "zstd")):
            with store.begin(actor="tests") as unit:
                unit.put("clip", "a", json.dumps("x" * (size - bare)))
            with client.stream("GET", f"{V2}/clip", headers={"accept-encoding": "zstd, br"}) as answer:
                assert answer.headers.get("content-encoding") == coding
                assert ("content-length" in answer.headers, "vary" in answer.headers) == (True, True)
                answer.read()
    store.close()


# -- what every answer says --


@pytest.mark.parametrize("path", [*READ, *(path for _, path in ABSENT)])
def test_every_answer_has_the_revision_and_is_safe_in_a_browser(
    client: httpx.Client, store: SqlStore, path: str
) -> None:
    """Errors, too, and what comes from the table."""
    for _ in range(2):
        answer = client.get(path)
        assert answer.headers["x-reference-revision"] == str(store.head())
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert ("content-security-policy" in answer.headers) == (path != "/api/docs")
        assert not {"access-control-allow-origin", "server"} & answer.headers.keys()


def test_caches_may_keep_it_and_ask(client: httpx.Client, store: SqlStore) -> None:
    """They ask each time, and give out what they have meanwhile; dates are those of the last change."""
    at = max(event.at for event in store.events(category="image_generation")) // 1000
    name = next(iter(client.get(IMAGES).json()))
    for path in (IMAGES, f"{IMAGES}/model/{name}", f"{V1}/stable_diffusion"):
        for _ in range(2):
            answer = client.get(path)
            assert "stale-while-revalidate=" in answer.headers["cache-control"]
            assert "accept-encoding" in answer.headers["vary"].lower()
            assert parsedate_to_datetime(answer.headers["last-modified"]).timestamp() == at


@pytest.mark.parametrize(("status", "path"), ABSENT)
def test_a_failure_is_a_problem_as_rfc_9457_has_it(client: httpx.Client, status: int, path: str) -> None:
    """Beside the `detail` that clients have always read; nobody keeps it."""
    for _ in range(2):
        answer = client.get(path)
        told = answer.json()
        assert (answer.status_code, told["status"], told["type"]) == (status, status, "about:blank")
        assert told["title"]
        assert told["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"


# -- past revisions --


def test_a_past_revision_is_what_was_served_then(tmp_path: Path) -> None:
    """Category, single model and v1, byte for byte, also of what is deleted now; it may be kept for ever."""
    store = SqlStore(f"sqlite:///{tmp_path / 'reference.sqlite3'}")
    seen: dict[tuple[int, str], httpx.Response] = {}
    paths = (f"{V2}/blip", f"{V2}/blip/model/a", f"{V1}/blip", f"{V2}/clip")
    states = ('{"name":"a"}', '{"name":"a","description":"x"}', None, '{"name":"a","again":1}')
    with running(create_app(parts_over(store, tmp_path))) as url, httpx.Client(base_url=url) as client:
        for turn, state in enumerate(states):
            with store.begin(actor="tests", at_ms=1_000_000_000_000 + 1000 * turn) as unit:
                unit.put("blip", f"beside {turn}", json.dumps({"name": f"beside {turn}"}))
                if state is None:
                    unit.delete("blip", "a")
                else:
                    unit.put("blip", "a", state)
            seen |= {(store.head(), path): client.get(path) for path in paths}
        for (revision, path), then in seen.items():
            for _ in range(2):
                now = client.get(f"{path}?at={revision}")
                assert (path, now.status_code) == (path, then.status_code)
                if then.status_code == 200:
                    assert (now.content, now.headers["etag"]) == (then.content, then.headers["etag"])
                    assert now.headers["x-reference-revision"] == str(revision)
                    assert now.headers["x-reference-mark"] == then.headers["x-reference-mark"]
                    assert "immutable" in now.headers["cache-control"]
        assert client.get(f"{V2}/blip?at=0").json() == {}
        assert client.get(f"{V2}/blip/model/a?at=0").status_code == 404
    store.close()


@pytest.mark.parametrize("at", ["{next}", "999999999999999999999999999999", "9223372036854775808"])
@pytest.mark.parametrize("path", [IMAGES, f"{IMAGES}/model/x", f"{V1}/image_generation", f"{V1}/text_generation"])
def test_a_future_revision_is_gone(client: httpx.Client, store: SqlStore, path: str, at: str) -> None:
    """With the newest one that there is."""
    answer = client.get(f"{path}?at={at.format(next=store.head() + 1)}")
    assert (answer.status_code, answer.headers["x-reference-revision"]) == (410, str(store.head()))


@pytest.mark.parametrize("at", ["-1", "x", "1.5", ""])
def test_what_is_no_revision_is_refused(client: httpx.Client, at: str) -> None:
    """By 422, as everywhere."""
    assert client.get(f"{IMAGES}?at={at}").status_code == 422


# -- other origins --

ORIGIN = "https://ui.example"


def _cors(origins: list[str], parts: Parts) -> Service:
    return create_app(parts, make_settings(cors_allowed_origins=origins))


def test_other_origins_are_let_in_only_where_the_operator_says_so(client: httpx.Client) -> None:
    """Not a word about them otherwise, also to a preflight."""
    asking = {"origin": ORIGIN, "access-control-request-method": "GET"}
    answers = [client.get(IMAGES, headers=asking), client.options(IMAGES, headers=asking)]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("origins", "told"), [([ORIGIN], ORIGIN), (["*"], "*")])
def test_an_origin_that_is_let_in_is_told_so_by_every_answer(parts: Parts, origins: list[str], told: str) -> None:
    """The first answer, the prepared one, who has it already, and failures; a preflight, too."""
    with running(_cors(origins, parts)) as url, httpx.Client(base_url=url, headers={"origin": ORIGIN}) as client:
        tag = client.get(IMAGES).headers["etag"]
        httpx.get(url + IMAGES)  # somebody without an origin, for whom it is prepared
        answers = [client.get(IMAGES), client.get(IMAGES, headers={"if-none-match": tag}), client.head(IMAGES)]
        answers += [client.get(path) for _, path in ABSENT] + [client.post(IMAGES)]
        assert {answer.headers["access-control-allow-origin"] for answer in answers} == {told}
        preflight = {"access-control-request-method": "GET"}
        allowed = client.options(IMAGES, headers=preflight)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, told)


def test_another_origin_is_not_let_in(parts: Parts) -> None:
    """It gets the answer, and its browser keeps it from the page."""
    with running(_cors([ORIGIN], parts)) as url, httpx.Client(base_url=url) as client:
        for _ in range(2):
            answer = client.get(IMAGES, headers={"origin": "https://other.example"})
            assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)
        preflight = {"origin": "https://other.example", "access-control-request-method": "GET"}
        assert client.options(IMAGES, headers=preflight).status_code == 400


def test_a_cache_in_between_is_told_that_the_origin_matters(parts: Parts) -> None:
    """Or it gives a page of that origin what it kept for somebody without one, and the browser refuses it."""
    with running(_cors([ORIGIN], parts)) as url, httpx.Client(base_url=url) as client:
        for headers in ({"origin": ORIGIN}, {}, {}):
            assert "origin" in client.get(IMAGES, headers=headers).headers["vary"].lower()


def test_a_page_may_send_conditions_and_read_what_answers_say(parts: Parts) -> None:
    """`If-None-Match` and the tag, revision and mark that come back are what a client is to work with."""
    with running(_cors([ORIGIN], parts)) as url, httpx.Client(base_url=url, headers={"origin": ORIGIN}) as client:
        preflight = {"access-control-request-method": "GET", "access-control-request-headers": "if-none-match"}
        assert client.options(IMAGES, headers=preflight).status_code == 200
        exposed = client.get(IMAGES).headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("etag", "x-reference-revision", "x-reference-mark"))


def test_options_of_no_preflight_is_answered_as_without_origins(parts: Parts) -> None:
    """Who names no origin asks nothing about origins."""
    with running(_cors([ORIGIN], parts)) as url:
        answer = httpx.options(url + IMAGES, headers={"access-control-request-method": "GET"})
    assert (answer.status_code, answer.headers["allow"]) == (204, _allowed(IMAGES))
