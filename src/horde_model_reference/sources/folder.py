"""A folder of v2 files, one a category: the mirror that PRIMARY keeps, or what a replica remembers.

A replica writes a note beside the files: of each, where it is from, when it was last known to be current, and its hash.
A file that is not what its note says is read all the same, only as one that nobody knows more about.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import MalformedInput, SourceUnavailable
from horde_model_reference.files import read_bounded, write_atomically
from horde_model_reference.flow import Call, Flow
from horde_model_reference.formats.json_codec import decode, decode_object, encode, encode_pretty
from horde_model_reference.process import no_fork
from horde_model_reference.sources.base import Ask, Found, one_by_one, require_ours

__all__ = ["FolderSource"]

_NOTES = ".replica.json"


@dataclass(frozen=True, slots=True)
class _Note:
    """What a replica knows about one of its files."""

    source: str
    revision: int | None
    tag: str | None
    checked: float
    sha256: str
    mark: str | None = None
    older: float = 0.0

    def is_of(self, snapshot: Snapshot) -> bool:
        """Whether the file holds this very body: a tag of the same source says so."""
        return self.source == snapshot.source and self.tag is not None and self.tag == snapshot.tag


@dataclass(frozen=True)
class FolderSource:
    """Reads the files; `keep` writes them. A file is read again only when it, or the note about it, has changed."""

    root: Path

    @property
    def name(self) -> str:
        return str(self.root)

    def read(self, ask: Ask) -> Flow[Found]:
        notes: dict[str, _Note] = yield Call(self._notes)
        return (yield from one_by_one(ask, partial(self._read, notes)))

    def stamp(self) -> int:
        """Another number than before where a replica has written here since."""
        try:
            return (self.root / _NOTES).stat().st_mtime_ns
        except OSError:
            return 0

    def path_of(self, category: Category) -> Path:
        """The category's file."""
        return self.root / get_category_descriptor(category).v2_filename(category)

    def _read(self, notes: Mapping[str, _Note], category: Category, known: Snapshot | None) -> Snapshot:
        require_ours(self.name, category)
        path, note = self.path_of(category), notes.get(category)
        try:
            facts = path.stat()
            tag = f"{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"
            if known is not None and known.source == self.name and known.tag == tag:
                return known
            if known is not None and note is not None and note.is_of(known):
                return _labelled(replace(known, instead=""), note)
            data = read_bounded(path)
            body, fault = _readable(data, str(path))
            body = known.body if known is not None and known.body == body else body
        except FileNotFoundError:
            raise SourceUnavailable(self.name, f"has no {path.name}", absent=True) from None
        except (OSError, MalformedInput) as error:
            reason = error.reason if isinstance(error, MalformedInput) else error.strerror or error
            raise SourceUnavailable(self.name, f"{path.name}: {reason}") from error
        found = Snapshot(category, body, source=self.name, tag=tag, checked=facts.st_mtime, instead=fault)
        noted = note is not None and note.sha256 == hashlib.sha256(data).hexdigest()
        return _labelled(found, note) if noted and note is not None else found

    def keep(self, found: Found) -> bool:
        """Write what is new, each file before the note about it, and say whether anything was. Nothing goes back to an
        earlier revision. Who calls it has the turn of this folder. Raises `OSError`."""
        notes = self._notes()
        before = dict(notes)
        for category, snapshot in found.items():
            note = notes.get(category)
            if isinstance(snapshot, SourceUnavailable):
                continue
            if note is not None and note.source != snapshot.source and snapshot.instead:
                continue  # it only stands in for what the file holds
            if note is None or note.source != snapshot.source or (note.revision or 0) <= (snapshot.revision or 0):
                notes[category] = self._kept(snapshot, note)
        if notes == before:
            return False
        write_atomically(self.root / _NOTES, encode_pretty({name: asdict(note) for name, note in notes.items()}))
        return True

    def _kept(self, snapshot: Snapshot, note: _Note | None) -> _Note:
        path, there = self.path_of(snapshot.category), ""
        with suppress(OSError, MalformedInput):
            there = hashlib.sha256(read_bounded(path)).hexdigest()
        if note is None or there != note.sha256 or not note.is_of(snapshot):
            data = encode_pretty(decode(snapshot.body))
            digest = hashlib.sha256(data).hexdigest()
            if digest != there:
                write_atomically(path, data)
            there = digest
        s, checked = snapshot, snapshot.checked or time.time()
        return _Note(s.source, s.revision, s.tag, checked, there, s.mark, s.older)

    def _notes(self) -> dict[str, _Note]:
        try:
            data = read_bounded(self.root / _NOTES)
            with no_fork:
                return _reader().validate_json(data)
        except (OSError, MalformedInput, ValidationError):
            return {}  # none yet, or damaged: the files are read all the same


_reader = cache(lambda: TypeAdapter(dict[str, _Note]))


def _labelled(snapshot: Snapshot, note: _Note) -> Snapshot:
    noted = replace(snapshot, revision=note.revision, source=note.source, tag=note.tag, mark=note.mark)
    return replace(noted, checked=note.checked, older=note.older, retry_after=None, delta=None)


def _readable(data: bytes, where: str) -> tuple[bytes, str]:
    """The file as compact JSON, and what is wrong with records that cannot be read: they cost the others nothing."""
    try:
        return encode(decode_object(data, where=where)), ""
    except MalformedInput:
        from horde_model_reference.formats.legacy import read_entries  # rarely needed, and each start would pay for it

        entries, findings = read_entries(data, where=where)
        if not entries:
            raise
        return encode(entries), "; ".join(map(str, findings))
