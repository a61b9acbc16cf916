"""After each change that people made, everything that tells of it says the same: bodies of both versions, one record,
feed and streams, metadata, manifest, files, the past, and another process over the same database."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.categories import get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.settings import CanonicalFormat
from tests.service.conftest import LEGACY
from tests.service.moderated import Moderated, moderated
from tests.service.servers import followed, within_deadline
from tests.service.test_stream import Streamed

CATEGORIES = ("blip", "image_generation", "text_generation")
_PROMISED = {"record_type", "model_classification", "licensing", "guidance"}
_STAMPS = ("created_at", "updated_at")


@contextmanager
def another_process(root: Path, url: str, canonical: CanonicalFormat) -> Iterator[httpx.Client]:
    """A second PRIMARY over the same database, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AIWORKER_CACHE_HOME": str(root / "another"),
        "HORDE_MODEL_REFERENCE_DATABASE_URL": url,
        "HORDE_MODEL_REFERENCE_REPLICATE_MODE": "PRIMARY",
        "HORDE_MODEL_REFERENCE_CANONICAL_FORMAT": canonical,
    }
    words = [sys.executable, "-c", "from horde_model_reference.cli import run; run()", "serve", "--port", str(port)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

                def answers() -> bool:
                    with suppress(httpx.HTTPError):
                        return client.get("/heartbeat").is_success
                    return False

                within_deadline(answers)
                yield client
        finally:
            server.terminate()


@dataclass
class Witness:
    """One who reads along: `held` is what the feed made of the category, `past` its bodies by revision."""

    http: httpx.Client
    category: str
    stream: Streamed
    held: JsonObject = field(default_factory=dict)
    past: dict[int, bytes] = field(default_factory=dict)

    def get(self, path: str) -> httpx.Response:
        """What it is told, uncompressed."""
        return self.http.get(f"/api/model_references/{path}", headers={"accept-encoding": "identity"})

    def look(self) -> None:
        """Take note of the category as it is now."""
        answer = self.get(f"v2/{self.category}")
        self.past[int(answer.headers["x-reference-revision"])] = answer.content
        self.held = answer.json()

    def agrees(self, revision: int, name: str, metadata: str) -> JsonObject:
        """Whether all it is told of `revision`, the newest, is the same; gives the body of v2."""
        since, told = max(self.past), self.get(f"v2/{self.category}")
        body, one = told.json(), self.get(f"v2/{self.category}/model/{name}")
        assert told.headers["x-reference-revision"] == str(revision) == one.headers["x-reference-revision"]
        assert (one.json() if one.is_success else None) == body.get(name)
        assert one.status_code == (200 if name in body else 404)
        feed = self.get(f"v2/changes?since={since}").json()
        assert feed == json.loads(self.stream.event()["data"])
        assert [(each["revision"], each["category"], each["name"]) for each in feed["changes"]] == [
            (revision, self.category, name)
        ]
        followed(feed["changes"][0], self.held)
        assert self.held == body
        for at, then in self.past.items():
            assert self.get(f"v2/{self.category}?at={at}").json() == json.loads(then)
        known = self.get(f"{metadata}/metadata/{self.category}").json()
        assert known["last_operation_type"] == feed["changes"][0]["operation"]
        assert (known["last_operation_model"], known["total_models"]) == (name, len(body))
        assert known["last_updated"] == feed["changes"][0]["at"] // 1000
        manifest = self.get("v2/manifest").json()
        assert (manifest["revision"], manifest["categories"][self.category]) == (
            revision,
            {"count": len(body), "bytes": len(told.content), "etag": told.headers["etag"]},
        )
        self.past[revision] = told.content
        return dict(body)


@dataclass
class Scene:
    """A service, another process, and what each of them told until now."""

    served: Moderated
    root: Path
    category: str
    witnesses: list[Witness]

    @property
    def version(self) -> str:
        """The version in which changes are accepted."""
        return "v2" if self.served.settings.canonical_format is CanonicalFormat.v2 else "v1"

    def change(self, method: str, name: str, record: JsonObject | None = None) -> int:
        """Propose, approve and apply that, each by who may."""
        is_named = method == "DELETE" or (method == "PUT" and self.version == "v2")
        path = f"{self.version}/{self.category}" + (f"/model/{name}" if is_named else "")
        number = self.served.told(method, path, "key-requestor", **({"json": record} if record else {}))["change_id"]
        assert isinstance(number, int)
        self.served.applied(number)
        return number

    def revert(self, number: int) -> None:
        """Take it back."""
        path = f"v2/pending_queue/changes/{number}/revert"
        self.served.told("POST", path, "key-approver", json={"reason": "a mistake"})

    def files(self) -> dict[str, bytes]:
        """The mirror, once it shows what was committed."""
        assert self.served.parts.mirror is not None
        self.served.parts.mirror.settle()
        kind = get_category_descriptor(self.category)
        legacy = f"legacy/{kind.legacy_filename(self.category)}"
        names = (kind.v2_filename(self.category), legacy, f"meta/v2/{self.category}_metadata.json")
        return {what: (self.root / name).read_bytes() for what, name in zip(("v2", "v1", "meta"), names, strict=True)}

    def agree(self, name: str) -> dict[str, bytes]:
        """Whether everything tells the same of the record that was changed last; gives the files."""
        revision = self.served.store.head()
        bodies = [witness.agrees(revision, name, self.version) for witness in self.witnesses]
        files = self.files()
        assert bodies[0] == bodies[1]
        kept, legacy = json.loads(files["v2"]), _told_in(files["v1"])
        assert _without_what_is_only_told(bodies[0], kept) == kept
        assert {witness.get(f"v1/{self.category}").content for witness in self.witnesses} == {
            self.served.ask("GET", f"v1/{self.category}").content
        }
        in_v1 = self.served.told("GET", f"v1/{self.category}")
        if self.category == "text_generation":  # v1 adds the copies that backends offer, and tells numbers as such
            assert legacy.keys() == kept.keys() <= in_v1.keys()
        else:
            assert in_v1 == legacy
            assert list(legacy) == list(kept)
        assert json.loads(files["meta"]) == self.served.told("GET", f"{self.version}/metadata/{self.category}")
        assert self.served.store.verify() == []
        return files


def _told_in(file: bytes) -> dict[str, JsonValue]:
    """The entries of a legacy file, by name: JSON, or a table, whose rows v1 tells with their types."""
    if file.startswith(b"{"):
        entries: dict[str, JsonValue] = json.loads(file)
        return entries
    return {row["name"]: dict(row) for row in csv.DictReader(io.StringIO(file.decode()))}


def _without_what_is_only_told(body: JsonObject, kept: JsonObject) -> dict[str, JsonValue]:
    """A body of v2 without what readers may rely on and a file need not have: see `formats/wire`."""
    told: dict[str, JsonValue] = json.loads(json.dumps(body))
    for name, record in told.items():
        held = kept.get(name)
        assert isinstance(record, dict)
        assert isinstance(held, dict)
        for key in _PROMISED - held.keys():
            record.pop(key, None)
        metadata, known = record["metadata"], held.get("metadata", {})
        assert isinstance(metadata, dict)
        assert isinstance(known, dict)
        record["metadata"] = {key: value for key, value in metadata.items() if key in known or key not in _STAMPS}
        if "metadata" not in held and not record["metadata"]:
            del record["metadata"]
    return told


@pytest.fixture(params=[(kind, each) for kind in CanonicalFormat for each in CATEGORIES], ids="-".join)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """The invented reference on a PRIMARY and in another process, both of which have told of it already."""
    canonical, category = request.param
    with ExitStack() as ends:
        served = ends.enter_context(moderated(tmp_path, fill=LEGACY, canonical=canonical))
        witnesses = []
        for client in (served.http, ends.enter_context(another_process(tmp_path, served.store.url, canonical))):
            path = "/api/model_references/v2/changes/stream"
            stream = Streamed(ends.enter_context(client.stream("GET", path)))
            assert "retry" in stream.block()
            witnesses.append(Witness(client, category, stream))
            witnesses[-1].look()
        yield Scene(served, tmp_path, category, witnesses)


def test_everything_tells_the_same_of_each_change(scene: Scene) -> None:
    """A record is created, updated and deleted, and each is taken back before the next: the files are as they were."""
    records = scene.served.told("GET", f"{scene.version}/{scene.category}")
    first, *_, last = scene.served.told("GET", f"v2/{scene.category}")
    record = records[first]
    assert isinstance(record, dict)
    other = {**record, "name": first, "description": "It is said otherwise."}
    began = scene.files()
    for method, name, asked in (
        ("POST", "another", {**record, "name": "another"}),
        ("PUT", first, other),
        ("DELETE", last, None),  # the last: it comes back at the end
    ):
        number = scene.change(method, name, asked)
        then = scene.agree(name)
        assert all(then[each] != data for each, data in began.items())
        if method == "PUT":
            assert all(b"It is said otherwise." in then[each] for each in ("v2", "v1"))
        scene.revert(number)
        now = scene.agree(name)
        assert now["v2"] == began["v2"]
        assert _told_in(now["v1"]) == _told_in(began["v1"])
