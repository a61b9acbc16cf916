"""PRIMARY, or any service that speaks its read interface, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, SourceUnavailable
from horde_model_reference.flow import Fetch, Flow, Request, Response
from horde_model_reference.formats.json_codec import decode_object, encode

__all__ = ["PrimarySource"]

_OK, _NOT_MODIFIED = 200, 304


@dataclass(frozen=True)
class PrimarySource:
    """`base_url` ends where `/model_references` begins. One conditional request a read; the answer is checked."""

    base_url: str
    deadline: float
    max_bytes: int

    @property
    def name(self) -> str:
        return self.base_url

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        tag = known.tag if known is not None and known.source == self.name else None
        headers = {"accept": "application/json"} | ({"if-none-match": tag} if tag else {})
        url = f"{self.base_url.rstrip('/')}/model_references/v2/{category}"
        response: Response = yield Fetch(Request(url, headers, self.deadline, self.max_bytes))
        if response.status == _NOT_MODIFIED and known is not None:
            return known.still_current(_revision(response) or known.revision)
        return self._snapshot(category, response)

    def _snapshot(self, category: Category, response: Response) -> Snapshot:
        if response.status != _OK:
            raise SourceUnavailable(self.name, f"answered {response.status} for {category}")
        try:
            body = encode(decode_object(response.body, where=category))
        except MalformedInput as error:
            raise SourceUnavailable(self.name, f"answered something else than records: {error}") from error
        return Snapshot(category, body, _revision(response), source=self.name, tag=response.headers.get("etag"))


def _revision(response: Response) -> int | None:
    value = response.headers.get("x-reference-revision", "")
    return int(value) if value.isascii() and value.isdigit() else None
