"""GitHub: the legacy files of the two repositories, converted as an import converts them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.categories import get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.flow import Hurried, run, run_async
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.sources.base import Ask
from horde_model_reference.sources.http import GitHubSource
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.transport import HttpNetwork
from horde_model_reference.wiring import Parts, ReferenceBackend, reference_of_store
from tests.reading.contract import SourceContract
from tests.reading.samples import answered, ask_for, found
from tests.reading.simulators import Asked, Loopback, Relay
from tests.service.servers import running

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy"
OURS = [name for name, descriptor in get_all_registered_categories().items() if not descriptor.managed_elsewhere]
ON_GITHUB = [name for name in OURS if get_category_descriptor(name).github_source is not None]


@pytest.fixture(scope="module")
def network() -> Iterator[HttpNetwork]:
    """One for all tests of this module."""
    network = HttpNetwork()
    yield network
    network.close()


def _bases(url: str) -> dict[str, str]:
    return {which: f"{url}/{which}/refs/heads/main/" for which in ("image", "text")}


def _relay(root: Path) -> Relay:
    """The files of a folder in the layout of the two repositories."""
    files = {
        f"/{folder}/refs/heads/main/{path.name}": path.read_bytes()
        for folder in ("image", "text")
        for path in (root / folder).iterdir()
    }
    return Relay(files)


@pytest.fixture
def relay() -> Iterator[tuple[GitHubSource, Relay, Loopback]]:
    """GitHub with the invented reference."""
    relay = _relay(FIXTURES)
    with Loopback(relay) as server:
        yield GitHubSource(_bases(server.url), 5.0, 1_000_000), relay, server


_GitHub = tuple[GitHubSource, Relay, Loopback]
_ESRGAN = "/image/refs/heads/main/esrgan.json"


class TestGitHub(SourceContract):
    """The legacy files as a source."""

    @pytest.fixture
    def source(self, network: HttpNetwork) -> Iterator[GitHubSource]:
        self.network = network
        self.relay = Relay()
        with Loopback(self.relay) as server:
            source = GitHubSource(_bases(server.url), 5.0, 1_000_000)
            self.change(source, {"A": {"name": "A"}, "B": {"name": "B"}})
            TestGitHub.documents = json.loads(answered(source, ask_for("esrgan"), network).body)
            yield source

    def change(self, source: object, documents: dict[str, object]) -> None:
        legacy = {name: {"name": name, "type": "esrgan", "config": {}} for name in documents}
        self.relay.files[_ESRGAN] = json.dumps(legacy).encode()


def _primary_bodies(root: Path, folder: Path) -> dict[str, bytes]:
    """What PRIMARY serves of each category after importing the files of a folder."""
    store = SqlStore(f"sqlite:///{root / 'reference.sqlite3'}")
    import_records(store, read_path(folder), actor="tests")
    reference = reference_of_store(store)
    parts = Parts(reference, ReferenceBackend(reference), root, store)
    with running(create_app(parts, HordeModelReferenceSettings())) as url:
        bodies = {str(name): httpx.get(f"{url}/model_references/v2/{name}").content for name in ON_GITHUB}
    store.close()
    return {name: _without_times(body) for name, body in bodies.items()}


def _without_times(body: bytes) -> bytes:
    """When a record was made is what GitHub cannot know."""
    records = decode_object(body)
    for record in records.values():
        assert isinstance(record, dict)
        metadata = record["metadata"]
        assert isinstance(metadata, dict)
        del metadata["created_at"], metadata["updated_at"]
        if not metadata:
            del record["metadata"]
    return encode(records)


def _same_as_primary(folder: Path, root: Path, network: HttpNetwork) -> None:
    with Loopback(_relay(folder)) as server:
        answers = found(GitHubSource(_bases(server.url), 10.0, 10**8), Ask(dict.fromkeys(ON_GITHUB)), network)
    expected = _primary_bodies(root, folder)
    for name, answer in answers.items():
        assert isinstance(answer, Snapshot), answer
        assert answer.body == expected[str(name)], name
        assert answer.body != b"{}"


def test_github_gives_byte_for_byte_what_primary_serves_of_the_same_files(tmp_path: Path, network: HttpNetwork) -> None:
    """So nothing changes for a reader that has to fall back: of the invented reference."""
    _same_as_primary(FIXTURES, tmp_path, network)


def test_github_gives_byte_for_byte_what_primary_serves_of_the_real_files(
    tmp_path: Path, network: HttpNetwork, real_data: Path
) -> None:
    """The same for what is published today."""
    _same_as_primary(real_data, tmp_path, network)


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_an_unchanged_file_costs_no_body(relay: _GitHub, network: HttpNetwork, validator: str) -> None:
    """GitHub knows weak tags, some relays only dates."""
    source, files, server = relay
    files.validator = validator
    known = found(source, Ask(dict.fromkeys(ON_GITHUB)), network)
    wanted = {name: answer for name, answer in known.items() if isinstance(answer, Snapshot)}
    server.requests.clear()
    again = found(source, Ask(wanted), network)
    condition = "if-none-match" if validator == "etag" else "if-modified-since"
    assert {request.headers.get(condition) for request in server.requests} == {each.tag for each in wanted.values()}
    assert all(isinstance(again[name], Snapshot) and again[name].body is have.body for name, have in wanted.items())  # type: ignore[union-attr]


def test_one_bad_entry_costs_that_record_alone(relay: _GitHub, network: HttpNetwork) -> None:
    """As in an import."""
    source, files, _ = relay
    legacy = json.loads(files.files[_ESRGAN])
    names = list(legacy)
    files.files[_ESRGAN] = json.dumps({**legacy, "list": [], "odd": {"name": "odd", "config": 5}}).encode()
    given = json.loads(answered(source, ask_for("esrgan"), network).body)
    assert [name for name in given if name in names] == names
    assert "list" not in given


WRONG = {
    "html": b"<html>captive portal</html>",
    "truncated": b'{"A": {"name": "A"',
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "an error in JSON": b'{"message": "API rate limit exceeded", "documentation_url": "https://example.org"}',
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_file_that_is_something_else_is_refused_and_costs_the_others_nothing(
    relay: _GitHub, network: HttpNetwork, content: bytes
) -> None:
    """It is neither an empty category nor a crash."""
    source, files, _ = relay
    files.files[_ESRGAN] = content
    answers = found(source, Ask(dict.fromkeys(ON_GITHUB)), network)
    refusal = answers.pop("esrgan")
    assert isinstance(refusal, SourceUnavailable), refusal
    assert not refusal.absent
    assert all(isinstance(answer, Snapshot) for answer in answers.values())


@pytest.mark.parametrize(
    "content", [b"<html>captive portal</html>", b"", b"\xff\xfe\x00"], ids=["html", "empty", "bytes"]
)
def test_a_table_that_is_something_else_is_refused(relay: _GitHub, network: HttpNetwork, content: bytes) -> None:
    """The text models come as CSV, and almost anything is a CSV."""
    source, files, _ = relay
    files.files["/text/refs/heads/main/models.csv"] = content
    with pytest.raises(SourceUnavailable):
        answered(source, ask_for("text_generation"), network)


def test_what_is_not_published_is_absent_and_what_is_missing_is_a_fault(relay: _GitHub, network: HttpNetwork) -> None:
    """Nobody ever put video models there; a file that is gone is a wrong address."""
    source, files, server = relay
    del files.files[_ESRGAN]
    answers = found(source, Ask(dict.fromkeys(("video_generation", "lora", "esrgan"))), network)
    absences = {str(n): a.absent for n, a in answers.items() if isinstance(a, SourceUnavailable)}
    assert absences == {"video_generation": True, "lora": True, "esrgan": False}
    assert len(server.requests) == 1


def _silence(asked: Asked) -> Iterator[bytes]:
    time.sleep(30)
    yield b""


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_one_deadline_holds_for_all_files_together(network: HttpNetwork, colour: str) -> None:
    """A first load waits once and not once for each file."""
    with Loopback(_silence) as server:
        flow = GitHubSource(_bases(server.url), 5.0, 1000).read(Ask(dict.fromkeys(ON_GITHUB)))
        began, hurried = time.monotonic(), Hurried(network, 0.6)
        answers = run(flow, hurried) if colour == "sync" else asyncio.run(run_async(flow, hurried))
        took = time.monotonic() - began
    assert all(isinstance(answer, SourceUnavailable) for answer in answers.values())
    assert took < 2.0
