"""Small v2 documents, and sources and networks made for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Call, Flow, Network, NoNetwork, run
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.reference import Reference
from horde_model_reference.sources.base import Ask, Found, Source

ESRGAN = {"A": {"name": "A"}, "B": {"name": "B", "description": "second"}}
IMAGES = {
    "one": {"name": "one", "baseline": "stable_diffusion_1", "nsfw": False},
    "two": {"name": "two", "baseline": "flux_1", "nsfw": True},
}
RECORDS: dict[str, object] = {"esrgan": ESRGAN, "image_generation": IMAGES}


LONG_AGO = 1_700_000_000.0
"""Something that was checked then is due at once."""


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

    def read(self, ask: Ask) -> Flow[Found]:
        yield Call(lambda: None)
        found: Found = {}
        for category, known in ask.wanted.items():
            found[category] = self.one(category, known)
        return found

    def one(self, category: str, known: Snapshot | None) -> Snapshot | SourceUnavailable:
        """The answer for one category."""
        self.asked.append(str(category))
        if self.refuses or category not in self.documents:
            return SourceUnavailable(self.name, f"has no {category}")
        body = encode(self.documents[category])
        if known is not None and known.body == body:
            return known.still_current(self.revision)
        return Snapshot(category, body, self.revision, source=self.name)


@dataclass
class Told:
    """A source that gives what a test puts into `answers`, has nothing else, and remembers what it was asked."""

    answers: dict[str, Snapshot | SourceUnavailable] = field(default_factory=dict)
    name: str = "told"
    questions: list[Ask] = field(default_factory=list)

    def read(self, ask: Ask) -> Flow[Found]:
        yield Call(lambda: None)
        self.questions.append(ask)
        nothing = SourceUnavailable(self.name, "has none of it", absent=True)
        return {category: self.answers.get(category, nothing) for category in ask.wanted}

    def gives(self, *snapshots: Snapshot) -> Told:
        """Answer with these from now on."""
        self.answers = {str(snapshot.category): snapshot for snapshot in snapshots}
        return self

    def refuses(self, *categories: str, **facts: float) -> Told:
        """Refuse these from now on."""
        self.answers |= {category: SourceUnavailable(self.name, "is broken", **facts) for category in categories}  # type: ignore[arg-type]
        return self

    def asked_for(self) -> list[list[str]]:
        """The categories of each question."""
        return [[str(category) for category in ask.wanted] for ask in self.questions]


def snapshot(documents: object, category: str = "esrgan", **facts: object) -> Snapshot:
    """A snapshot of those documents."""
    return Snapshot(category, encode(documents), **facts)  # type: ignore[arg-type]


def found(source: Source, ask: Ask, network: Network | None = None) -> Found:
    """All answers to a question."""
    return run(source.read(ask), network or NoNetwork())


def kept_reference(source: Told, *, follow: float = 0.0, max_age: float = 60.0, thread: bool = False) -> Reference:
    """A reference that has read; without `thread` it is renewed only where the test says so."""
    reference = Reference(source, NoNetwork(), behind=True, follow=follow, max_age=max_age)
    if not thread:
        reference.close()
    for category in source.answers:
        reference.read(category)
    source.questions.clear()
    return reference


def esrgan_told(documents: object = ESRGAN, revision: int | None = 7, checked: float = 0.0) -> Told:
    """A source of a few ESRGAN models."""
    return Told(name="source").gives(snapshot(documents, revision=revision, source="source", checked=checked))


def ask_for(category: str, known: Snapshot | None = None, **options: float) -> Ask:
    """A question about one category."""
    return Ask({category: known}, **options)


def answered(source: Source, ask: Ask, network: Network | None = None) -> Snapshot:
    """The answer to a question about one category; raises what it is refused with."""
    (answer,) = run(source.read(ask), network or NoNetwork()).values()
    if isinstance(answer, SourceUnavailable):
        raise answer
    return answer


def pieces(*parts: bytes) -> Iterator[bytes]:
    """An answer in these pieces."""
    yield from parts
