"""PRIMARY, or any service that speaks its read interface, over HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, SourceUnavailable
from horde_model_reference.flow import Fetch, Flow, Request, Response
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.sources.base import require_ours

__all__ = ["PrimarySource"]

_OK, _NOT_MODIFIED = 200, 304
_REVISION = re.compile(r"[0-9]{1,18}\Z")


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
        require_ours(self.name, category)
        mine = known if known is not None and known.source == self.name and known.tag else None
        headers = {"accept": "application/json"} | ({"if-none-match": mine.tag} if mine and mine.tag else {})
        url = f"{self.base_url.rstrip('/')}/model_references/v2/{quote(category, safe='')}"
        response: Response = yield Fetch(Request(url, headers, self.deadline, self.max_bytes))
        if response.status == _NOT_MODIFIED and mine is not None:
            return mine.still_current(_revision(response) or mine.revision)
        return self._snapshot(category, response)

    def _snapshot(self, category: Category, response: Response) -> Snapshot:
        if response.status != _OK:
            raise SourceUnavailable(self.name, f"answered {response.status} for {category}")
        try:
            body = encode(decode_object(response.body, where=category))
        except MalformedInput as error:
            raise SourceUnavailable(self.name, f"answered something else than records: {error}") from error
        tag = response.headers.get("etag", "")
        usable = tag if tag.isascii() else None  # what cannot be sent back is of no use
        return Snapshot(category, body, _revision(response), source=self.name, tag=usable)


def _revision(response: Response) -> int | None:
    value = response.headers.get("x-reference-revision", "")
    return int(value) if _REVISION.match(value) else None
