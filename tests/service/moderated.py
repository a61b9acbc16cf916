"""A PRIMARY with a queue on loopback, beside an AI Horde that knows five people: what the tests of moderation share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.horde.users import Users
from horde_model_reference.service.application import Service, create_app
from horde_model_reference.settings import CanonicalFormat, HordeModelReferenceSettings, ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.transport import HttpNetwork
from horde_model_reference.wiring import Mode, Parts, assemble
from tests.horde.simulator import AiHorde
from tests.service.servers import running

__all__ = ["APPROVERS", "PEOPLE", "REQUESTORS", "SHA", "Moderated", "blip", "legacy_blip", "moderated"]

PEOPLE = {
    "key-approver": "Approver#101",
    "key-second-approver": "Second#102",
    "key-requestor": "Requestor#202",
    "key-other-requestor": "Other Requestor#203",
    "key-plain": "Plain#303",
    "key-without-number": "Odd",
}
APPROVERS, REQUESTORS = ["101", "102"], ["202", "203"]
SHA = "a" * 64


def blip(name: str, description: str = "d") -> JsonObject:
    """A record of v2."""
    file: JsonObject = {"file_name": "b.pt", "file_url": "https://example.com/b.pt", "sha256sum": SHA}
    return {"name": name, "description": description, "config": {"download": [file]}}


def legacy_blip(name: str, description: str = "d") -> JsonObject:
    """The same as an entry of v1."""
    file: JsonObject = {"path": "b.pt", "sha256sum": SHA}
    download: JsonObject = {"file_name": "b.pt", "file_path": "", "file_url": "https://example.com/b.pt"}
    config: JsonObject = {"files": [file], "download": [download]}
    return {"name": name, "type": "blip", "description": description, "config": config}


@dataclass(frozen=True)
class Moderated:
    """The running service, as people with keys ask it."""

    app: Service
    http: httpx.Client
    horde: AiHorde
    parts: Parts
    settings: HordeModelReferenceSettings
    network: HttpNetwork

    @property
    def store(self) -> SqlStore:
        """The store under the service."""
        assert self.parts.store is not None
        return self.parts.store

    def ask(self, method: str, path: str, key: str | None = None, **more: object) -> httpx.Response:
        """The answer to a request; a path that begins with no slash is one of `/api/model_references/`."""
        headers = {**dict(more.pop("headers", {})), **({} if key is None else {"apikey": key})}  # type: ignore[call-overload]
        url = path if path.startswith("/") else f"/api/model_references/{path}"
        return self.http.request(method, url, headers=headers, **more)  # type: ignore[arg-type]

    def told(self, method: str, path: str, key: str | None = None, **more: object) -> JsonObject:
        """What a request that succeeds is told."""
        answer = self.ask(method, path, key, **more)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        told: JsonObject = answer.json()
        return told

    def proposed(self, record: JsonObject, category: str = "blip", key: str = "key-requestor") -> int:
        """The number of a new proposal in the format that this service accepts."""
        version = "v2" if self.settings.canonical_format is CanonicalFormat.v2 else "v1"
        number = self.told("POST", f"{version}/{category}", key, json=record)["change_id"]
        assert isinstance(number, int)
        return number

    def approved(self, *changes: int) -> JsonObject:
        """Approve those changes."""
        asked = {"batch_title": "t", "approved_ids": list(changes)}
        return self.told("POST", "v2/pending_queue/batches", "key-approver", json=asked)

    def applied(self, *changes: int) -> JsonObject:
        """Approve and apply those changes."""
        self.approved(*changes)
        return self.told("POST", "v2/pending_queue/apply", "key-approver", json={"change_ids": list(changes)})

    def forget_attempts(self) -> None:
        """Begin anew with knowing whose keys are whose, and who tried how often."""
        queue = self.settings.pending_queue
        lists = (queue.requestor_ids, queue.approver_ids)
        self.app.state.users = Users(
            self.horde.url, self.network, requestors=lists[0], approvers=lists[1], editors=[], deadline=1.0
        )


@contextmanager
def moderated(
    root: Path,
    *,
    fill: Path | None = None,
    canonical: CanonicalFormat = CanonicalFormat.v2,
    mode: ReplicateMode = ReplicateMode.PRIMARY,
    queue: Mapping[str, object] | None = None,
    **more: object,
) -> Iterator[Moderated]:
    """Such a service under `root`, filled with the records under `fill`, as long as the block runs."""
    people = {"requestor_ids": REQUESTORS, "approver_ids": APPROVERS, **(queue or {})}
    settings = make_settings(replicate_mode=mode, canonical_format=canonical, pending_queue=people, **more)
    with ExitStack() as ends:
        parts = assemble(Mode(mode, mode is ReplicateMode.REPLICA, root), settings)
        ends.callback(parts.close)
        if fill is not None and parts.store is not None:
            import_records(parts.store, read_path(fill), actor="tests")
        horde = ends.enter_context(AiHorde(PEOPLE))
        url = ends.enter_context(running(app := create_app(parts, settings)))
        http = ends.enter_context(httpx.Client(base_url=url, timeout=30))
        ends.callback((network := HttpNetwork()).close)
        served = Moderated(app, http, horde, parts, settings, network)
        served.forget_attempts()
        yield served
