"""A relay: a replica that serves. What PRIMARY has reaches whoever reads from it, byte for byte, and it is honest about
its age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.errors import RevisionUnknown
from horde_model_reference.flow import NoNetwork
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.reference import Reference
from horde_model_reference.service.application import Service, create_app
from horde_model_reference.service.feed import Feed, Question
from horde_model_reference.service.relay import OfReference
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, Parts, ReferenceBackend, assemble
from tests.reading.samples import Told, snapshot
from tests.service.servers import ScriptedStore, followed, parts_over, running, within_deadline

V2 = "/api/model_references/v2"
CHANGES = f"{V2}/changes"
A: JsonObject = {"name": "a"}
_RECORD = st.dictionaries(st.sampled_from(["name", "x", "y"]), st.sampled_from([0, 1, 1.0, True, False, "1", None]))
_HELD = st.dictionaries(st.sampled_from("abcd"), _RECORD).map(
    lambda held: {name: record | {"name": name} for name, record in held.items()}
)


class Relayed:
    """A relay over a source that gives what the test says, as its app and log see it."""

    def __init__(self, root: Path) -> None:
        self.source = Told()
        self.reference = Reference(self.source, NoNetwork(), max_age=0)
        self.log = OfReference(self.reference)
        self._root = root

    @cached_property
    def app(self) -> Service:
        """The app, for who asks over HTTP."""
        return create_app(Parts(self.reference, ReferenceBackend(self.reference), self._root))

    def holds(self, revision: int, mark: str = "", /, **categories: object) -> int:
        """Have it read those documents, at one revision; gives the head of the log then."""
        return self.reads({category: (documents, revision, mark) for category, documents in categories.items()})

    def reads(self, held: dict[str, tuple[object, int, str]]) -> int:
        """The same, each category at a revision of its own."""
        made = [snapshot(d, category, revision=r, mark=m or None) for category, (d, r, m) in held.items()]
        self.source.gives(*made)
        for category in held:
            self.reference.snapshot(category, fresh=True)
        return self.log.head()


@pytest.fixture
def relayed(tmp_path: Path) -> Relayed:
    """A relay that holds nothing yet."""
    return Relayed(tmp_path)


def _follow(relayed: Relayed, held: dict[str, JsonObject], since: int, most: int = 1000) -> int:
    """Apply to `held` what the log tells, page by page as the service does; gives where to go on."""
    head = relayed.log.head()
    while since != head:
        changes, more = relayed.log.after(since, None, most, head)
        for change in changes:
            followed(change, held[str(change["category"])])
        since = int(str(changes[-1]["revision"])) if more else head
    return since


@settings(max_examples=60)
@given(st.lists(_HELD, min_size=2, max_size=6), st.sampled_from([1, 2, 1000]))
def test_whoever_follows_a_relay_holds_its_bytes_or_is_told_to_read_whole(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, object]], most: int
) -> None:
    """Any states one after the other; what counts as equal in Python need not be equal as bytes."""
    relayed = Relayed(tmp_path_factory.getbasetemp())
    since = relayed.holds(1, esrgan=history[0])
    held = {"esrgan": decode_object(encode(history[0]))}
    for revision, documents in enumerate(history[1:], 2):
        relayed.holds(revision, esrgan=documents)
        try:
            since = _follow(relayed, held, since, most)
        except RevisionUnknown:
            held, since = {"esrgan": decode_object(encode(documents))}, relayed.log.head()
        assert encode(held["esrgan"]) == encode(documents)


@pytest.mark.parametrize("after", [{"name": "a", "x": 1.0}, {"name": "a", "x": True}, {"x": 1, "name": "a"}])
def test_a_difference_of_bytes_alone_is_a_difference(relayed: Relayed, after: object) -> None:
    """`1 == 1.0 == True` in Python, and the order of members counts for nothing; the bytes are other ones."""
    since = relayed.holds(1, esrgan={"a": {"name": "a", "x": 1}})
    relayed.holds(2, esrgan={"a": after})
    held = {"esrgan": decode_object(b'{"a":{"name":"a","x":1}}')}
    try:
        _follow(relayed, held, since)
    except RevisionUnknown:
        return
    assert encode(held["esrgan"]) == encode({"a": after})


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_changes_that_were_noticed_out_of_order_all_reach_who_reads_in_pages(relayed: Relayed, most: int) -> None:
    """The category that was read first may have the higher revision; a page must not skip what is on the next one."""
    since = relayed.holds(3, esrgan={"a": A}, clip={"a": A})
    relayed.reads({"esrgan": ({"a": A | {"x": 1}}, 6, ""), "clip": ({"a": A | {"x": 2}, "b": A}, 5, "")})
    relayed.reads({"esrgan": ({"a": A | {"x": 1}}, 7, ""), "clip": ({"a": A | {"x": 2}, "b": A}, 7, "")})
    held: dict[str, JsonObject] = {"esrgan": {"a": A}, "clip": {"a": A}}
    assert _follow(relayed, held, since, most) == 7
    assert held == {"esrgan": {"a": A | {"x": 1}}, "clip": {"a": A | {"x": 2}, "b": A}}


def test_nothing_is_told_before_all_categories_are_that_far(relayed: Relayed) -> None:
    """Who follows has read all of them, and would otherwise skip what comes later with a lower revision."""
    assert relayed.holds(3, esrgan={"a": A}, clip={}) == 3
    assert relayed.reads({"esrgan": ({"a": A | {"x": 1}}, 5, ""), "clip": ({}, 3, "")}) == 3
    assert relayed.log.after(3, None, 10, 3) == ([], False)
    assert relayed.reads({"esrgan": ({"a": A | {"x": 1}}, 5, ""), "clip": ({"b": A}, 5, "")}) == 5
    changes, more = relayed.log.after(3, None, 10, 5)
    assert ({str(change["category"]) for change in changes}, more) == ({"esrgan", "clip"}, False)


def test_who_asks_from_before_the_relay_began_or_from_the_future_is_told_to_read_whole(relayed: Relayed) -> None:
    """It knows nothing of what was before it."""
    relayed.holds(5, esrgan={"a": A})
    for since in (0, 4, 6):
        with pytest.raises(RevisionUnknown):
            relayed.log.after(since, None, 10, 5)
    assert relayed.log.after(5, None, 10, 5) == ([], False)
    with pytest.raises(RevisionUnknown):
        relayed.log.mark(6)


def test_another_history_of_the_same_length_is_another(relayed: Relayed) -> None:
    """PRIMARY was restored from a backup, and has counted up to where it was before; the log says so at once."""
    relayed.holds(5, "aaaaaaaa", esrgan={"a": A})
    assert relayed.log.mark(5) == "aaaaaaaa"
    relayed.holds(6, "bbbbbbbb", esrgan={"a": A | {"lost": 1}})
    relayed.holds(6, "cccccccc", esrgan={"a": A | {"new": 1}})
    assert relayed.log.mark(6) == "cccccccc"
    with pytest.raises(RevisionUnknown):
        relayed.log.after(5, None, 10, 6)


def test_the_feed_of_a_relay_forgets_another_history(relayed: Relayed) -> None:
    """What it prepared for those who asked before is not given to those who ask now: they would never be told."""

    async def ask() -> None:
        relayed.holds(5, "aaaaaaaa", esrgan={"a": A})

        feed, question = Feed(relayed.log), Question(5, None, 1000, "identity")
        relayed.holds(6, "bbbbbbbb", esrgan={"a": A | {"lost": 1}})
        assert b"lost" in (await feed.tell(question, 6)).body.data
        assert await feed.marked(6) == "bbbbbbbb"
        relayed.holds(6, "cccccccc", esrgan={"a": A | {"new": 1}})
        assert await feed.marked(6) == "cccccccc"
        with pytest.raises(RevisionUnknown):
            await feed.tell(question, 6)

    asyncio.run(ask())


def test_a_poll_of_a_relay_with_the_mark_of_a_lost_history_is_refused(relayed: Relayed) -> None:
    """The same over HTTP, as a replica asks: it must read whole."""
    relayed.holds(5, "aaaaaaaa", esrgan={"a": A | {"lost": 1}})
    with running(relayed.app) as url, httpx.Client(base_url=url) as client:
        assert client.get(f"{CHANGES}?since=5&at=aaaaaaaa&wait=0.01").status_code == 204
        relayed.holds(5, "cccccccc", esrgan={"a": A | {"new": 1}})
        assert client.get(f"{V2}/esrgan").headers["x-reference-mark"] == "cccccccc"
        assert client.get(f"{CHANGES}?since=5&at=aaaaaaaa&wait=0.01").status_code == 410
        assert client.get(f"{CHANGES}?since=5&at=cccccccc&wait=0.01").status_code == 204


def test_asking_for_the_present_by_its_number_leaves_no_trace(relayed: Relayed) -> None:
    """`?at=` of the newest revision, after a change and before anybody read, made a relay serve the old bytes."""
    relayed.holds(5, esrgan={"a": A | {"x": 1}})
    with running(relayed.app) as url, httpx.Client(base_url=url) as client:
        assert client.get(f"{V2}/esrgan").json()["a"]["x"] == 1
        relayed.holds(6, esrgan={"a": A | {"x": 2}})
        assert client.get(f"{V2}/esrgan?at=6").json()["a"]["x"] == 2
        now = client.get(f"{V2}/esrgan")
        assert (now.json()["a"]["x"], now.headers["x-reference-revision"]) == (2, "6")
        assert client.get(f"{V2}/esrgan?at=5").status_code == 410


def test_what_a_relay_takes_in_is_served_by_the_next_request(relayed: Relayed) -> None:
    """Bodies, models, searches: none of it from before."""
    paths = ("esrgan", "esrgan/model/a", "esrgan/search", "esrgan/search?name_contains=a")
    relayed.holds(1, esrgan={"a": {"name": "a", "description": "v1"}})
    with running(relayed.app) as url, httpx.Client(base_url=url) as client:
        before = {path: client.get(f"{V2}/{path}").content for path in paths}
        for version in range(2, 12):
            relayed.holds(version, esrgan={"a": {"name": "a", "description": f"v{version}"}})
            now = {path: client.get(f"{V2}/{path}") for path in paths}
            assert {answer.headers["x-reference-revision"] for answer in now.values()} == {str(version)}
            assert all(now[path].content != before[path] for path in paths)
            before = {path: answer.content for path, answer in now.items()}


def test_a_relay_that_lacks_a_category_gives_the_others(relayed: Relayed) -> None:
    """Its source had nothing of some: that is no reason to find nothing in the others, or to list none."""
    relayed.holds(1, esrgan={"a": A})
    with running(relayed.app) as url, httpx.Client(base_url=url) as client:
        assert client.get(f"{V2}/esrgan").status_code == 200
        assert client.get(f"{V2}/blip").status_code == 404
        found = client.get(f"{V2}/search")
        assert (found.status_code, found.json().get("total")) == (200, 1)
        listed = client.get(f"{V2}/manifest")
        assert (listed.status_code, listed.json().get("categories", {}).keys()) == (200, {"esrgan"})


# -- a whole chain: PRIMARY, a relay, and who reads from the relay --


class Chain:
    """PRIMARY <- relay <- a second relay, each on a server of its own."""

    def __init__(self, root: Path, ends: ExitStack) -> None:
        for name in ("primary", "first", "second"):
            (root / name).mkdir()
        self.store = SqlStore(f"sqlite:///{root / 'primary' / 'reference.sqlite3'}")
        ends.callback(self.store.close)
        self.put("esrgan", "ViT/L 猫", {"name": "ViT/L 猫"})
        self.put("clip", "c", {"name": "c"})
        self.up = ends.enter_context(ExitStack())
        self.urls = [self.up.enter_context(running(create_app(parts_over(self.store, root / "primary"))))]
        for name in ("first", "second"):
            chosen = make_settings(primary_api_url=f"{self.urls[-1]}/api", enable_github_fallback=False)
            parts = assemble(Mode(ReplicateMode.REPLICA, False, root / name), chosen)
            ends.callback(parts.close)
            self.urls.append(ends.enter_context(running(create_app(parts, chosen))))

    def put(self, category: str, name: str, document: object) -> None:
        """Have PRIMARY commit it."""
        with self.store.begin(actor="tests") as unit:
            unit.put(category, name, encode(document).decode())

    def get(self, place: int, path: str) -> httpx.Response:
        """Ask PRIMARY (0), its relay (1), or the relay of that (2)."""
        return httpx.get(self.urls[place] + path, headers={"accept-encoding": "identity"}, timeout=20)

    def agree(self) -> bool:
        """Whether all three give the same bytes and tags at the same revision."""
        answers = [[self.get(place, f"{V2}/{category}") for place in range(3)] for category in ("esrgan", "clip")]
        facts = [{(a.content, a.headers["etag"], a.headers["x-reference-revision"]) for a in each} for each in answers]
        return all(len(each) == 1 for each in facts)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """The three, running."""
    with ExitStack() as ends:
        yield Chain(tmp_path, ends)


def test_a_change_at_primary_reaches_the_end_of_the_chain_byte_for_byte(chain: Chain) -> None:
    """Created, updated, deleted and made anew; tags, revisions and marks are those of PRIMARY."""
    assert chain.agree()
    chain.put("esrgan", "new", {"name": "new", "x": 1})
    within_deadline(chain.agree)
    chain.put("esrgan", "new", {"name": "new", "x": 1.0})
    chain.put("clip", "c", {"name": "c", "description": "é"})
    within_deadline(chain.agree)
    with chain.store.begin(actor="tests") as unit:
        unit.delete("esrgan", "ViT/L 猫")
        unit.put("esrgan", "ViT/L 猫", '{"name":"ViT/L 猫","again":true}')
    within_deadline(chain.agree)
    assert list(chain.get(2, f"{V2}/esrgan").json()) == ["new", "ViT/L 猫"]
    marks = {chain.get(place, f"{V2}/esrgan").headers["x-reference-mark"] for place in range(3)}
    assert len(marks) == 1


def test_a_relay_says_how_old_it_is_and_that_it_is_one(chain: Chain) -> None:
    """PRIMARY has no age; what is stored downstream may be stale, so it is told."""
    assert "age" not in chain.get(0, f"{V2}/esrgan").headers
    for place in (1, 2):
        assert int(chain.get(place, f"{V2}/esrgan").headers["age"]) >= 0
        assert chain.get(place, "/replicate_mode").json()["replicate_mode"] == "REPLICA"
        beat = chain.get(place, "/heartbeat").json()
        assert (beat["status"], beat["reference"]["stale"]) == ("ok", [])
        assert chain.get(place, f"{V2}/metadata/last_updated").status_code == 503


def test_a_relay_tells_its_own_feed_and_stream(chain: Chain) -> None:
    """From where it began; who was before that is told to read whole, by the relay itself."""
    since = int(chain.get(1, f"{V2}/esrgan").headers["x-reference-revision"])
    chain.put("esrgan", "told", {"name": "told"})
    answer = chain.get(1, f"{CHANGES}?since={since}&wait=15")
    (change,) = answer.json()["changes"]
    facts = (change["name"], change["operation"], change["category"], change["revision"])
    assert facts == ("told", "create", "esrgan", chain.store.head())
    assert change["record"] == chain.get(0, f"{V2}/esrgan").json()["told"]
    assert chain.get(1, f"{CHANGES}?since=0").status_code == 410
    assert chain.get(1, f"{CHANGES}?since=999").status_code == 410
    with httpx.stream("GET", f"{chain.urls[1]}{CHANGES}/stream?since={since}", timeout=20) as stream:
        assert any("told" in line for line in stream.iter_lines() if line.startswith("data:"))


def test_a_relay_goes_on_without_its_primary(chain: Chain) -> None:
    """It serves what it has, at every address, and starts no errors."""
    before = chain.get(2, f"{V2}/esrgan")
    chain.up.close()
    for place in (1, 2):
        answer = chain.get(place, f"{V2}/esrgan")
        assert (answer.status_code, answer.content) == (200, before.content)
        assert chain.get(place, "/heartbeat").status_code == 200


def _degraded(url: str) -> Callable[[], bool]:
    return lambda: bool(httpx.get(f"{url}/heartbeat").json()["status"] == "degraded")


def test_a_relay_says_when_it_should_have_heard_of_its_primary_and_when_it_has_again(tmp_path: Path) -> None:
    """`degraded`, with the categories concerned and their age; `ok` once PRIMARY is back. Metrics tell the age, too."""
    for name in ("primary", "relay"):
        (tmp_path / name).mkdir()
    store = ScriptedStore(tmp_path / "primary")
    with store.begin(actor="tests") as unit:
        unit.put("esrgan", "a", '{"name":"a"}')
    app = create_app(parts_over(store, tmp_path / "primary"))
    with ExitStack() as ends:
        ends.callback(store.close)
        with running(app) as url:
            port = int(url.rpartition(":")[2])
            chosen = make_settings(
                primary_api_url=f"{url}/api", enable_github_fallback=False, cache_ttl_seconds=1, follow_changes=False
            )
            parts = assemble(Mode(ReplicateMode.REPLICA, False, tmp_path / "relay"), chosen)
            ends.callback(parts.close)
            relay = ends.enter_context(running(create_app(parts, chosen)))
            assert httpx.get(f"{relay}/heartbeat").json()["status"] == "ok"
        within_deadline(_degraded(relay))
        state = httpx.get(f"{relay}/heartbeat").json()["reference"]
        assert "esrgan" in state["stale"]
        assert state["age"] >= 1
        assert int(httpx.get(f"{relay}{V2}/esrgan").headers["age"]) >= 1
        ends.enter_context(running(app, port))
        within_deadline(lambda: not _degraded(relay)())


def test_a_chain_whose_primary_was_restored_ends_with_its_records_alone(tmp_path: Path) -> None:
    """It counts less than before, then more, for other changes; nobody keeps what was lost for ever."""
    for name in ("lost", "restored", "relay", "reader"):
        (tmp_path / name).mkdir()
    lost, restored = ScriptedStore(tmp_path / "lost"), ScriptedStore(tmp_path / "restored")
    for store, names in ((lost, ("a", "lost 1", "lost 2")), (restored, ("a",))):
        for name in names:
            with store.begin(actor="tests") as unit:
                unit.put("esrgan", name, encode({"name": name}).decode())
    with ExitStack() as ends:
        ends.callback(lost.close)
        ends.callback(restored.close)
        parts = []
        with running(create_app(parts_over(lost, tmp_path / "lost"))) as url:
            port, urls = int(url.rpartition(":")[2]), [url]
            for name in ("relay", "reader"):
                chosen = make_settings(
                    primary_api_url=f"{urls[-1]}/api", enable_github_fallback=False, cache_ttl_seconds=1
                )
                parts.append(assemble(Mode(ReplicateMode.REPLICA, False, tmp_path / name), chosen))
                ends.callback(parts[-1].close)
                urls.append(ends.enter_context(running(create_app(parts[-1], chosen))))
            assert list(httpx.get(f"{urls[2]}{V2}/esrgan").json()) == ["a", "lost 1", "lost 2"]
        ends.enter_context(running(create_app(parts_over(restored, tmp_path / "restored")), port))
        for name in ("new 1", "new 2", "new 3"):
            with restored.begin(actor="tests") as unit:
                unit.put("esrgan", name, encode({"name": name}).decode())
        for place in (1, 2):
            within_deadline(partial(_has, urls[place], ["a", "new 1", "new 2", "new 3"]))


def _has(url: str, names: list[str]) -> bool:
    return list(httpx.get(f"{url}{V2}/esrgan").json()) == names
