"""Small v2 documents, and sources and networks made for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import encode

ESRGAN = {"A": {"name": "A"}, "B": {"name": "B", "description": "second"}}
IMAGES = {
    "one": {"name": "one", "baseline": "stable_diffusion_1", "nsfw": False},
    "two": {"name": "two", "baseline": "flux_1", "nsfw": True},
}
RECORDS: dict[str, object] = {"esrgan": ESRGAN, "image_generation": IMAGES}


def text(documents: object) -> str:
    """As it lies in a file."""
    return json.dumps(documents, indent=2)


@dataclass
class Scripted:
    """A source that gives what a test puts into `documents`, or refuses; it counts how often it was asked."""

    documents: dict[str, object] = field(default_factory=lambda: dict(RECORDS))
    refuses: bool = False
    asked: list[str] = field(default_factory=list)
    revision: int | None = None
    name: str = "scripted"

    def read(self, category: str, known: Snapshot | None = None) -> Flow[Snapshot]:
        self.asked.append(str(category))
        yield Call(lambda: None)
        if self.refuses or category not in self.documents:
            raise SourceUnavailable(self.name, f"has no {category}")
        body = encode(self.documents[category])
        if known is not None and known.body == body:
            return known
        return Snapshot(category, body, self.revision, source=self.name)


def pieces(*parts: bytes) -> Iterator[bytes]:
    """An answer in these pieces."""
    yield from parts
