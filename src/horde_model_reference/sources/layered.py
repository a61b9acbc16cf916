"""Policies of reading, each a source that holds other sources."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.domain.validation import validate_record
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.files import write_atomically
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import decode, decode_object, encode_pretty
from horde_model_reference.sources.base import Source
from horde_model_reference.sources.local import FolderSource

__all__ = ["Checked", "FirstThatAnswers", "Remembered"]

_log = logger("sources")


@dataclass(frozen=True)
class FirstThatAnswers:
    """The first source able to answer decides; the order is the order of trust."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        return ", then ".join(source.name for source in self.sources)

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        refusals: list[SourceUnavailable] = []
        for source in self.sources:
            try:
                snapshot = yield from source.read(category, known)
            except SourceUnavailable as refusal:
                refusals.append(refusal)
            else:
                faults = "; ".join(str(refusal) for refusal in refusals if not refusal.absent)
                return replace(snapshot, instead=faults) if faults else snapshot
            if known is not None and known.source == source.name:
                break  # what is known came from here: it is no worse than what the sources further down have
        raise SourceUnavailable.after(refusals)


@dataclass(frozen=True)
class Checked:
    """What `source` answers, where at least one record of it can be read: an error page in JSON is no category."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        snapshot = yield from self.source.read(category, known)
        if known is None or snapshot.body is not known.body:
            yield Call(partial(_require_a_record, self.name, snapshot))
        return snapshot


def _require_a_record(source: str, snapshot: Snapshot) -> None:
    documents = decode_object(snapshot.body, where=snapshot.category)
    readable = (validate_record(snapshot.category, name, document)[0] for name, document in documents.items())
    if documents and not any(readable):
        raise SourceUnavailable(source, f"not one record of {snapshot.category} can be read")


@dataclass(frozen=True)
class Remembered:
    """What `source` answers is kept in `folder`, where offline readers and other programs find it."""

    source: Source
    folder: FolderSource

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, category: Category, known: Snapshot | None = None) -> Flow[Snapshot]:
        snapshot = yield from self.source.read(category, known)
        if known is None or snapshot.body is not known.body:
            yield Call(partial(_keep, self.folder.path_of(category), snapshot))
        return snapshot


def _keep(path: Path, snapshot: Snapshot) -> None:
    try:
        write_atomically(path, encode_pretty(decode(snapshot.body)))
    except OSError as error:  # a full disk must not cost the reader what the network gave
        _log.warning("%s cannot be written (%s); the next start without a network will not have it", path, error)
