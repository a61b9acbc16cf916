"""Never a stale byte: whoever committed, and whatever was rendered before, the next request is answered as if nothing
had ever been prepared."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from horde_model_reference.domain.events import Kind
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import Service, create_app
from horde_model_reference.stores.sql import SqlStore
from tests.service.servers import ScriptedStore, followed, parts_over, running
from tests.stores.conftest import Server, postgres_address, postgres_server
from tests.stores.processes import COUNTER, first_line_of, increment, let_go, lines_of, start

__all__ = ["Server", "postgres_address", "postgres_server"]  # fixtures

V2 = "/api/model_references/v2"
V1 = "/api/model_references/v1"
_PATHS = (
    f"{V2}/{COUNTER}",
    f"{V2}/{COUNTER}/model/count",
    f"{V2}/manifest",
    "/heartbeat",
    f"{V2}/{COUNTER}/search?name_contains=count",
    f"{V2}/search",
    f"{V2}/changes?since=1",
)


@pytest.fixture(params=["file", "server", "no lookout"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: asked in place, asked over a network, and one that can only be asked on a thread."""
    if request.param == "server":
        return str(request.getfixturevalue("postgres_address"))
    return f"sqlite:///{tmp_path / 'reference.sqlite3'}"


@pytest.fixture
def store(address: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """The store of the app, with one record."""
    is_scripted = "no lookout" in request.node.callspec.id
    store = ScriptedStore(tmp_path) if is_scripted else SqlStore(address)
    increment(store, 1)
    yield store
    store.close()


def _counted(client: httpx.Client, count: int) -> None:
    """Every read tells of that count at revision `count`, as often as it is asked."""
    for path in (*_PATHS, *_PATHS):
        answer = client.get(path)
        if count == 1 and "changes" in path:
            continue
        assert answer.headers["x-reference-revision"] == str(count), path
    assert client.get(f"{V2}/{COUNTER}").json() == {"count": count}
    assert client.get(f"{V2}/{COUNTER}/model/count").content == b"%d" % count
    assert client.get("/heartbeat").json()["reference"]["revision"] == count
    assert client.get(f"{V2}/manifest").json()["revision"] == count
    if count > 1:
        assert client.get(f"{V2}/changes?since=1").json()["changes"][-1]["record"] == count


def test_a_commit_of_another_process_is_seen_by_the_next_request(store: SqlStore, address: str, tmp_path: Path) -> None:
    """By each of several connections, each with all there is prepared from before."""
    writers: list[subprocess.Popen[str]] = []
    with running(create_app(parts_over(store, tmp_path))) as url, ExitStack() as ends:
        clients = [ends.enter_context(httpx.Client(base_url=url)) for _ in range(3)]
        for count in range(2, 5):
            writers.append(start("increment", address, "1"))
            assert first_line_of(writers[-1]) == "ready"
            for client in clients:
                _counted(client, count - 1)
            let_go(writers[-1])
            assert lines_of(writers[-1]) == ["done"]
            for client in clients:
                _counted(client, count)


def test_while_threads_commit_no_reader_is_behind_what_was_acknowledged(
    store: SqlStore, address: str, tmp_path: Path
) -> None:
    """Readers as fast as they can, on the prepared answers; each notes what was committed before it asked."""
    other, committed, ended = SqlStore(address), [1], False
    behind: list[tuple[int, int, int]] = []

    def read(url: str) -> int:
        asked = 0
        with httpx.Client(base_url=url) as client:
            while not ended:
                before = committed[-1]
                answer = client.get(f"{V2}/{COUNTER}")
                revision, count = int(answer.headers["x-reference-revision"]), answer.json()["count"]
                if revision < before or count < before or revision != count:
                    behind.append((before, revision, count))
                asked += 1
        return asked

    with running(create_app(parts_over(store, tmp_path))) as url, ThreadPoolExecutor() as threads:
        readers = [threads.submit(read, url) for _ in range(3)]
        for turn in range(60):
            increment((store, other)[turn % 2], 1)
            committed.append(committed[-1] + 1)
        ended = True
        assert all(reader.result(timeout=30) > 0 for reader in readers)
    other.close()
    assert behind == []


# -- what is made change by change is what is made whole --

_CATEGORIES = ("blip", "text_generation", "esrgan")
_NAMES = ("a", "ViT-L/14", "猫 é\U0001f600", 'quo"te%2F', "")
_METADATA = st.fixed_dictionaries({}, optional={"created_at": st.none() | st.integers(0, 9), "mine": st.just(1)})
_DOCUMENT = st.fixed_dictionaries(
    {"name": st.text("aé", min_size=1, max_size=2), "parameters": st.integers(0, 3)},
    optional={
        "description": st.text("bé", max_size=2),
        "metadata": _METADATA,
        "nsfw": st.sampled_from([True, "neither", 0]),
    },
)
_STATE = st.none() | _DOCUMENT | st.sampled_from([7, "no record", {}])
_COMMIT = st.lists(st.tuples(st.sampled_from(_CATEGORIES), st.sampled_from(_NAMES), _STATE), max_size=4)
_SEARCHES = ("", "?sort_by=name", "?name_contains=a", "?sort_by=description&sort_desc=true", "?nsfw=true")


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqlStore, Path]]:
    """A store whose history all examples go on with."""
    root = tmp_path_factory.mktemp("growing")
    store = SqlStore(f"sqlite:///{root / 'reference.sqlite3'}")
    yield store, root
    store.close()


def _commit(store: SqlStore, commit: list[tuple[str, str, object]], at: int) -> None:
    with store.begin(actor="tests", at_ms=at * 1000) as unit:
        for category, name, document in commit:
            if document is None:
                unit.delete(category, name)
            else:
                unit.put(category, name, encode(document).decode())
        unit.put("blip", "a", encode(at).decode(), kind=Kind.DOCUMENT)


class _App:
    """An app without a server, as long as the block runs."""

    def __init__(self, app: Service) -> None:
        self._app, self._client = app, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")
        self._life = app.router.lifespan_context(app)

    async def __aenter__(self) -> _App:
        await self._life.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._life.__aexit__(None, None, None)

    async def get(self, path: str) -> httpx.Response:
        """The answer."""
        return await self._client.get(path)


@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(commits=st.lists(_COMMIT, min_size=1, max_size=5))
def test_what_was_rendered_change_by_change_is_what_a_new_process_renders_whole(
    growing: tuple[SqlStore, Path], commits: list[list[tuple[str, str, object]]]
) -> None:
    """Bodies, tags, dates, searches; and what a replica holds that applied the feed. Records come, change, go and come
    again, some are none that can be read, and they carry times of their own or are given some."""
    store, root = growing
    searches = [f"{V2}/{category}/search{query}" for category in _CATEGORIES for query in _SEARCHES]
    paths = [*(f"{V2}/{category}" for category in _CATEGORIES), *searches]

    async def compare() -> None:
        async with _App(create_app(parts_over(store, root))) as old:
            held = {category: decode_object((await old.get(f"{V2}/{category}")).content) for category in _CATEGORIES}
            since = store.head()
            for commit in commits:
                for path in searches:
                    await old.get(path)  # so that the records are there, to be kept up to date
                _commit(store, commit, at=10 + store.head())
            async with _App(create_app(parts_over(store, root))) as new:
                for path in paths:
                    one, other = await old.get(path), await new.get(path)
                    assert (path, one.status_code, one.content) == (path, other.status_code, other.content)
                    differing = {name for name, value in one.headers.items() if other.headers.get(name) != value}
                    assert (path, differing) == (path, set())
            for change in (await old.get(f"{V2}/changes?since={since}")).json()["changes"]:
                followed(change, held[change["category"]])
            for category in _CATEGORIES:
                assert encode(held[category]) == (await old.get(f"{V2}/{category}")).content

    asyncio.run(compare())


@pytest.fixture
def client(scripted: ScriptedStore, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a service over that store."""
    with running(create_app(parts_over(scripted, tmp_path))) as url, httpx.Client(base_url=url) as client:
        yield client


def _put(store: SqlStore, name: str, document: object, at: int) -> None:
    with store.begin(actor="tests", at_ms=at * 1000) as unit:
        unit.put("esrgan", name, json.dumps(document))


def test_a_record_that_can_no_longer_be_read_is_no_longer_found(client: httpx.Client, scripted: ScriptedStore) -> None:
    """Searches went on with what it was before, under the bytes that it has now."""
    _put(scripted, "a", {"name": "a", "description": "good"}, 10)
    _put(scripted, "b", {"name": "b"}, 10)
    search = f"{V2}/esrgan/search"
    assert client.get(search).json()["total"] == 2
    _put(scripted, "a", {"description": "has no name"}, 20)
    assert client.get(search).json()["total"] == 1
    _put(scripted, "a", {"name": "a"}, 30)
    assert [record["name"] for record in client.get(search).json()["results"]] == ["a", "b"]


def test_times_are_those_of_creation_and_of_the_last_change(client: httpx.Client, scripted: ScriptedStore) -> None:
    """Made anew is created anew; what a document says of itself stands."""

    def stamps(name: str) -> list[int]:
        metadata = client.get(f"{V2}/esrgan").json()[name]["metadata"]
        return [metadata["created_at"], metadata["updated_at"]]

    _put(scripted, "a", {"name": "a"}, 10)
    _put(scripted, "own", {"name": "own", "metadata": {"created_at": 3, "updated_at": None}}, 11)
    assert (stamps("a"), stamps("own")) == ([10, 10], [3, 11])
    _put(scripted, "a", {"name": "a", "description": "x"}, 20)
    assert stamps("a") == [10, 20]
    with scripted.begin(actor="tests", at_ms=30_000) as unit:
        unit.delete("esrgan", "a")
        unit.put("esrgan", "a", '{"name":"a"}')
    assert stamps("a") == [30, 30]
    assert list(client.get(f"{V2}/esrgan").json()) == ["own", "a"]


def test_the_date_of_a_category_is_that_of_its_last_change_also_where_it_is_a_deletion(
    scripted: ScriptedStore, tmp_path: Path
) -> None:
    """In a process that was there, and in one that was started later: a date never goes back."""
    _put(scripted, "a", {"name": "a"}, 1_000_000_000)
    _put(scripted, "b", {"name": "b"}, 1_100_000_000)
    apps = [create_app(parts_over(scripted, tmp_path)) for _ in range(2)]
    with running(apps[0]) as url:
        assert httpx.get(f"{url}{V2}/esrgan").headers["last-modified"] == "Tue, 09 Nov 2004 11:33:20 GMT"
        with scripted.begin(actor="tests", at_ms=1_200_000_000_000) as unit:
            unit.delete("esrgan", "b")
        assert httpx.get(f"{url}{V2}/esrgan").headers["last-modified"] == "Thu, 10 Jan 2008 21:20:00 GMT"
    with running(apps[1]) as url:
        assert httpx.get(f"{url}{V2}/esrgan").headers["last-modified"] == "Thu, 10 Jan 2008 21:20:00 GMT"


def test_v1_is_made_anew_after_each_change(client: httpx.Client, scripted: ScriptedStore) -> None:
    """Of a v2 change, too, and with the groups of text models."""
    with scripted.begin(actor="tests") as unit:
        unit.put("text_generation", "m", '{"name":"m","parameters":1}')
        unit.put("blip", "b", '{"name":"b"}')
    for description in ("one", "two"):
        with scripted.begin(actor="tests") as unit:
            unit.put("text_generation", "m", json.dumps({"name": "m", "parameters": 1, "description": description}))
            unit.put("blip", "b", json.dumps({"name": "b", "description": description}))
        for path in ("text_generation", "db.json", "text_generation?include_group=true", "blip", "blip.json"):
            answer = client.get(f"{V1}/{path}")
            assert f'"{description}"' in answer.text
            assert answer.headers["x-reference-revision"] == str(scripted.head())
