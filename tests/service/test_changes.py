"""The feed of changes: what it lists, that applying it gives the same bytes as reading whole, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES
from horde_model_reference.domain.events import Kind
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, assemble
from tests.service.servers import ScriptedStore, followed, parts_over, running, within_deadline

V2 = "/api/model_references/v2"
CHANGES = f"{V2}/changes"

_CATEGORIES = ("blip", "text_generation", "esrgan")
_NAMES = ("a", "ViT-L/14", "猫 é\U0001f600", 'quo"te%2F', "")
_CHANGE = st.tuples(
    st.sampled_from(_CATEGORIES), st.sampled_from(_NAMES), st.none() | st.floats(0, 1e30) | st.text("é1")
)
_COMMITS = st.lists(st.lists(_CHANGE, max_size=5), max_size=6)
_BAD = {"since": "-1 x 1.5", "limit": "0 1001 x", "wait": "-1 56 nan inf x", "category": "nope"}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, SqlStore]]:
    """A PRIMARY whose history all examples go on with: each begins with what the ones before left."""
    root = tmp_path_factory.mktemp("replayed")
    store = ScriptedStore(root)
    yield create_app(parts_over(store, root)), store
    store.close()


@pytest.fixture
def client(scripted: ScriptedStore, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a service over a store with a little history."""
    with scripted.begin(actor="tests") as unit:
        for category in ("clip", "esrgan", "gfpgan"):
            unit.put(category, "old", '{"name":"old"}')
    with running(create_app(parts_over(scripted, tmp_path))) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def store(scripted: ScriptedStore) -> SqlStore:
    """The store under that service."""
    return scripted


@settings(max_examples=20)
@given(commits=_COMMITS, limit=st.sampled_from([1, 2, 1000]), category=st.none() | st.sampled_from(_CATEGORIES))
def test_whoever_applies_the_feed_holds_the_bytes_of_whoever_reads_whole(
    replayed: tuple[FastAPI, SqlStore], commits: list[list[tuple[str, str, object]]], limit: int, category: str | None
) -> None:
    """Any history, with records deleted and made anew, in pages of any size, of one category or of all."""
    app, store = replayed
    wanted = _CATEGORIES if category is None else (category,)

    async def follow() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            whole = {each: await client.get(f"{V2}/{each}") for each in wanted}
            held = {each: decode_object(answer.content) for each, answer in whole.items()}
            since = int(whole[wanted[0]].headers["x-reference-revision"])
            _commit(store, commits)
            asked: dict[str, str | int] = {"limit": limit} | ({} if category is None else {"category": category})
            while (answer := await client.get(CHANGES, params=asked | {"since": since})).status_code == 200:
                since = answer.json()["revision"]
                for change in answer.json()["changes"]:
                    followed(change, held[change["category"]])
            assert (answer.status_code, since) == (204, store.head())
            for each in wanted:
                assert encode(held[each]) == (await client.get(f"{V2}/{each}")).content

    asyncio.run(follow())


def _commit(store: SqlStore, commits: list[list[tuple[str, str, object]]]) -> None:
    for commit in commits:
        with store.begin(actor="tests") as unit:
            for category, name, value in commit:
                if value is None:
                    unit.delete(category, name)
                else:
                    unit.put(
                        category, name, json.dumps({"name": name, "parameters": 1, "value": value}, ensure_ascii=False)
                    )
            unit.put("blip", "beside", json.dumps(store.head()), kind=Kind.DOCUMENT)


def test_a_change_tells_what_when_and_where(client: httpx.Client, store: SqlStore) -> None:
    """The record is what a read of the category shows; side documents count as revisions and are not listed."""
    since = store.head()
    with store.begin(actor="tests", at_ms=4_000_000_000_000) as unit:
        unit.put("clip", "new/one", '{"name":"new/one"}')
        unit.put("clip", "aliases", "{}", kind=Kind.DOCUMENT)
    shown = client.get(f"{V2}/clip").json()["new/one"]
    answer = client.get(CHANGES, params={"since": since})
    facts = {"at": 4_000_000_000_000, "category": "clip", "name": "new/one", "operation": "create", "record": shown}
    assert answer.json() == {"revision": since + 2, "changes": [{"revision": since + 1} | facts], "more": False}
    assert answer.headers["x-reference-revision"] == str(since + 2)
    assert client.get(CHANGES, params={"since": since + 1}).json()["changes"] == []
    assert client.get(f"/model_references/v2/changes?since={since}").content == answer.content


def test_a_short_limit_leaves_more_and_a_category_leaves_others_out(client: httpx.Client, store: SqlStore) -> None:
    """`revision` is where to go on: the last one listed where there is more, else the newest."""
    since = store.head()
    with store.begin(actor="tests") as unit:
        for category, name in (("esrgan", "1"), ("gfpgan", "2"), ("esrgan", "3")):
            unit.put(category, name, json.dumps({"name": name}))
    first = client.get(CHANGES, params={"since": since, "limit": 2}).json()
    assert ([c["name"] for c in first["changes"]], first["more"], first["revision"]) == (["1", "2"], True, since + 2)
    rest = client.get(CHANGES, params={"since": first["revision"], "limit": 1}).json()
    assert ([c["name"] for c in rest["changes"]], rest["more"], rest["revision"]) == (["3"], False, since + 3)
    one = client.get(CHANGES, params={"since": since, "category": "gfpgan"}).json()
    assert ([c["name"] for c in one["changes"]], one["more"], one["revision"]) == (["2"], False, since + 3)


def test_the_whole_history_can_be_read_from_nothing(client: httpx.Client, store: SqlStore) -> None:
    """What is not served as reference data, or not known to this version, is left out."""
    with store.begin(actor="tests") as unit:
        for category in ("lora", "of_the_future"):
            unit.put(category, "x", "{}")
    answer = client.get(CHANGES).json()
    assert answer["revision"] == store.head()
    assert {change["category"] for change in answer["changes"]} <= set(CANONICAL_CATEGORIES)


def test_an_unchanged_reference_costs_less_than_300_bytes_on_the_wire(client: httpx.Client, store: SqlStore) -> None:
    """Request and response together, as they are."""
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address) as connection:
        request = f"GET {CHANGES}?since={store.head()}&wait=0.01 HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n"
        connection.sendall(request.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert f"\r\nx-reference-revision: {store.head()}\r\n".encode() in answer
    assert len(request) + len(answer) < 300


def test_a_revision_that_is_not_known_is_gone(client: httpx.Client, scripted: ScriptedStore) -> None:
    """The database was replaced by an older one, or forgot its beginnings: read whole, and from where to go on."""
    scripted.forgotten = 2
    for since in (0, 1, 4, 10**30):
        answer = client.get(CHANGES, params={"since": since, "wait": 50})
        assert (answer.status_code, answer.headers["x-reference-revision"]) == (410, "3")
        assert "whole" in answer.json()["detail"]
    assert client.get(CHANGES, params={"since": 1, "category": "clip"}).status_code == 410
    assert len(client.get(CHANGES, params={"since": 2}).json()["changes"]) == 1


def test_a_bad_question_is_refused(client: httpx.Client) -> None:
    """By 422, as everywhere."""
    for name, values in _BAD.items():
        for value in values.split():
            answer = client.get(f"{CHANGES}?{name}={value}")
            assert (answer.status_code, "detail" in answer.json()) == (422, True), (name, value)


@pytest.mark.parametrize("question", ["since=0", "since=0&wait=0.1", "since=0&limit=1"])
def test_a_relay_of_what_has_no_revisions_has_no_feed(question: str, tmp_path: Path) -> None:
    """It has nothing to count by; the answer says so, however the question is put."""
    offline = assemble(Mode(ReplicateMode.REPLICA, offline=True, base_path=tmp_path), make_settings())
    with running(create_app(offline)) as url:
        answer = httpx.get(f"{url}{CHANGES}?{question}")
    assert (answer.status_code, "revision" in answer.json()["detail"]) == (404, True)


def test_who_followed_another_history_is_told_to_read_whole(client: httpx.Client, store: SqlStore) -> None:
    """A PRIMARY that was restored from a backup and went on counts the same revisions for other changes."""
    whole = client.get("/api/model_references/v2/esrgan")
    mark, head = whole.headers["x-reference-mark"], store.head()
    for more in ("", "&wait=0.01", "&limit=1"):
        mine = client.get(f"{CHANGES}?since={head}&at={mark}{more}")
        assert (mine.status_code, mine.headers["x-reference-mark"]) == (204, mark)
        other = client.get(f"{CHANGES}?since={head}&at=00c0ffee{more}")
        assert (other.status_code, other.headers["x-reference-revision"]) == (410, str(head))
    before = client.get(f"{CHANGES}?since={head - 1}").headers["x-reference-mark"]
    assert before == mark
    assert client.get(f"{CHANGES}?since={head + 1}&at=00000000").status_code == 410
    _named(store, "later")
    answer = client.get(f"{CHANGES}?since={head + 1}")  # what was asked for too early is not answered wrongly later
    assert answer.headers["x-reference-mark"] == next(iter(store.events(since=head))).hash[:8]


def _named(store: SqlStore, *names: str) -> None:
    for name in names:
        with store.begin(actor="tests") as unit:
            unit.put("esrgan", name, encode({"name": name}).decode())


def test_a_replica_of_a_primary_that_was_restored_ends_with_its_records_alone(tmp_path: Path) -> None:
    """Restored to revision 2 it counted past the 4 that the replica had; what was lost once stayed in the replica, and
    what came instead never reached it. Until it has counted so far the replica keeps what it has, and says why."""
    roots = [tmp_path / name for name in ("lost", "restored", "replica")]
    for root in roots:
        root.mkdir()
    lost, restored = ScriptedStore(roots[0]), ScriptedStore(roots[1])
    _named(lost, "a", "b", "lost 1", "lost 2")
    _named(restored, "a", "b", "new 1")
    with running(create_app(parts_over(lost, roots[0]))) as url:
        port = int(url.rpartition(":")[2])
        chosen = make_settings(primary_api_url=f"{url}/api", enable_github_fallback=False, follow_changes=False)
        replica = assemble(Mode(ReplicateMode.REPLICA, False, roots[2]), chosen)
        assert list(replica.reference.read("esrgan")) == ["a", "b", "lost 1", "lost 2"]
    with running(create_app(parts_over(restored, roots[1])), port):
        assert list(replica.reference.read("esrgan", fresh=True)) == ["a", "b", "lost 1", "lost 2"]
        assert "is at revision 3, behind 4" in replica.reference.status()[0].fault
        _named(restored, "new 2", "new 3")
        within_deadline(
            lambda: list(replica.reference.read("esrgan", fresh=True)) == ["a", "b", "new 1", "new 2", "new 3"]
        )
        assert not replica.reference.status()[0].fault
        replica.close()
