"""What a folder or a bundle holds, read and converted, before anything is written anywhere.

Recognised are a bundle file, a folder of v2 files, a folder of legacy files (flat, or `image/` and `text/` as in the
two repositories), and a data root of the peer as it lies on disk: v2 files, their legacy originals under `legacy/`, and
what it noted under `meta/` and `audit/`. Which format a file is in is read from its content, never guessed from its
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.names import require_model_name
from horde_model_reference.domain.validation import as_read, validate_records
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.files import read_bounded
from horde_model_reference.formats.json_codec import decode, decode_object, encode
from horde_model_reference.formats.legacy import legacy_format, read_entries

__all__ = ["BUNDLE_FORMAT", "BUNDLE_VERSION", "FormatChoice", "Incoming", "IncomingRecord", "read_folder", "read_path"]

BUNDLE_FORMAT = "horde_model_reference/bundle"
"""What a bundle says it is."""
BUNDLE_VERSION = 1

FormatChoice: TypeAlias = Literal["auto", "v2", "legacy", "legacy_first"]
"""`legacy_first`: the legacy file of a category where there is one, else what is there."""


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """One record to take in: its document and, where it was converted, the legacy entry it came from, both as JSON."""

    name: str
    document: str
    origin: str | None = None


@dataclass
class Incoming:
    """What was read: records by category in their order, the files they came from, and what was wrong.

    `notes` are files of a data root that are no records (metadata, audit), by their path under it, as JSON.
    """

    records: dict[Category, list[IncomingRecord]] = field(default_factory=dict)
    files: dict[Category, Path] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many records were read well enough to be taken in."""
        return sum(map(len, self.records.values()))

    def set_aside(self, category: Category) -> set[str]:
        """The names of records in the category's file that could not be read; empty for one that nobody can name."""
        file = str(self.files.get(category, ""))
        return {f.record for f in self.findings if f.file == file and f.severity is Severity.ERROR}

    def read(self, path: Path, take: Callable[[bytes], None]) -> None:
        """Give the file's bytes to `take`; what is wrong with the whole file is a finding."""
        try:
            take(read_bounded(path))
        except MalformedInput as error:
            self.findings.append(Finding(Severity.ERROR, error.reason, error.record, error.field, str(path)))
        except OSError as error:
            self.findings.append(Finding(Severity.ERROR, error.strerror or str(error), file=str(path)))

    def entries(self, path: Path, data: bytes) -> dict[str, JsonObject]:
        """The entries of a file, as written; one that cannot be read is a finding."""
        entries, findings = read_entries(data, suffix=path.suffix[1:], where=str(path))
        self.findings += [finding.at(str(path)) for finding in findings]
        return entries

    def take_legacy(self, category: Category, path: Path, entries: dict[str, JsonObject]) -> None:
        """Convert legacy entries and take them, each with the entry it came from."""
        documents: JsonObject = {}
        for name, entry in entries.items():
            document, findings = legacy_format(category).to_v2(category, name, entry)
            self.findings += [finding.at(str(path)) for finding in findings]
            if document is not None:
                documents[name] = document
        self.take(category, path, documents, dict(entries))

    def take(self, category: Category, path: Path, documents: JsonObject, origins: JsonObject) -> None:
        """Take the documents that are valid records under usable names; say what is wrong with the others."""
        descriptor = get_all_registered_categories().get(category)
        if descriptor is None or descriptor.managed_elsewhere:
            why = "managed by another program" if descriptor else "no category that is known here"
            self.findings.append(Finding(Severity.ERROR, f"{category} is {why}, so it is not taken in", file=str(path)))
            return
        records, findings = validate_records(category, encode(documents, where=str(path)))
        findings += [finding for name in records for finding in _unsafe(name)]
        odd = [name for name in records if not isinstance(origins.get(name, {}), dict | None)]
        findings += [Finding(Severity.ERROR, "must be an object", record=name, field="origin") for name in odd]
        bad = {finding.record for finding in findings if finding.severity is Severity.ERROR}
        self.files.setdefault(category, path)
        self.findings += [finding.at(str(path)) for finding in findings]
        self.records.setdefault(category, []).extend(
            IncomingRecord(name, encode(as_read(record, documents[name])).decode(), _text(origins.get(name)))
            for name, record in records.items()
            if name not in bad
        )


def read_path(path: Path, *, choice: FormatChoice = "auto") -> Incoming:
    """Read a bundle, one file of a category, or a folder. Raises `MalformedInput` where nothing of ours is in it."""
    if path.is_dir():
        incoming = read_folder(path, choice=choice)
    elif path.is_file():
        incoming = Incoming()
        category = _category_of(path)
        take = (
            partial(_bundle, incoming, path) if category is None else partial(_either, incoming, category, path, choice)
        )
        incoming.read(path, take)
    else:
        raise MalformedInput("there is no such file or folder", where=str(path))
    if not incoming.files and not incoming.findings:
        expected = "a bundle, v2 files such as stable_diffusion.json, or legacy files such as models.csv"
        raise MalformedInput(f"holds nothing of the reference; expected {expected}", where=str(path))
    return incoming


def read_folder(root: Path, *, choice: FormatChoice = "auto") -> Incoming:
    """All categories that have a file in the folder; a file that cannot be read is a finding, the others are read."""
    incoming = Incoming()
    for category, descriptor in get_all_registered_categories().items():
        if not descriptor.managed_elsewhere:
            _read_category(incoming, root, category, choice)
    for path in sorted([*root.glob("meta/**/*.json"), *root.glob("audit/**/*.jsonl")]):
        incoming.read(path, partial(_note, incoming, path.relative_to(root)))
    return incoming


def _read_category(incoming: Incoming, root: Path, category: Category, choice: FormatChoice) -> None:
    current = root / get_category_descriptor(category).v2_filename(category)
    places = _legacy_places(root, category) if choice != "v2" else ()
    legacy = next(filter(_is_there, places), None)
    if choice == "legacy_first":
        choice = "auto" if legacy in (None, current) else "legacy"
    if choice != "legacy" and _is_there(current):
        origins: dict[str, JsonObject] = {}
        if legacy is not None and legacy != current:
            incoming.read(legacy, lambda data: origins.update(incoming.entries(legacy, data)))
        incoming.read(current, lambda data: _either(incoming, category, current, choice, data, origins))
        lost = incoming.set_aside(category) if category in incoming.files else origins.keys()
        if legacy is not None and (spare := {name: entry for name, entry in origins.items() if name in lost}):
            incoming.take_legacy(category, legacy, spare)  # what its v2 file has damaged
    elif legacy is not None:
        incoming.read(legacy, lambda data: incoming.take_legacy(category, legacy, incoming.entries(legacy, data)))


def _is_there(path: Path) -> bool:
    """Also what cannot be read: that is for `Incoming.read` to say."""
    return path.exists() or path.is_symlink()


def _legacy_places(root: Path, category: Category) -> Iterator[Path]:
    descriptor = get_category_descriptor(category)
    if descriptor.has_legacy_format:
        for folder in ("legacy", descriptor.github_source or ".", "."):
            yield root / folder / descriptor.legacy_filename(category)


def _category_of(path: Path) -> Category | None:
    for category, descriptor in get_all_registered_categories().items():
        if path.name in (descriptor.v2_filename(category), descriptor.legacy_filename(category)):
            return category
    return None


def _either(
    incoming: Incoming,
    category: Category,
    path: Path,
    choice: FormatChoice,
    data: bytes,
    origins: Mapping[str, JsonObject] = MappingProxyType({}),
) -> None:
    entries = incoming.entries(path, data)
    if path.suffix == ".csv" or choice == "legacy" or (choice == "auto" and any(map(_is_legacy, entries.values()))):
        return incoming.take_legacy(category, path, entries)
    return incoming.take(category, path, dict(entries), dict(origins))


def _is_legacy(document: JsonValue) -> bool:
    """Only a legacy entry lists `config.files`; a v2 document has nothing of that name."""
    config = _member(document, "config")
    return isinstance(config, dict) and "files" in config


def _bundle(incoming: Incoming, path: Path, data: bytes) -> None:
    bundle = decode_object(data)
    categories = bundle.get("categories")
    if bundle.get("format") != BUNDLE_FORMAT or not isinstance(categories, dict):
        raise MalformedInput(f"is no file of a category and no bundle (format {BUNDLE_FORMAT!r}, with categories)")
    if bundle.get("version") != BUNDLE_VERSION:
        raise MalformedInput(f"is a bundle of version {bundle.get('version')}; this package reads {BUNDLE_VERSION}")
    for category, rows in categories.items():
        if not isinstance(rows, dict):
            raise MalformedInput("must be an object of records", record=category)
        documents = {name: _member(row, "document") for name, row in rows.items()}
        origins = {name: _member(row, "origin") for name, row in rows.items()}
        incoming.take(category, path, documents, origins)


def _note(incoming: Incoming, place: Path, data: bytes) -> None:
    lines = [line for line in data.splitlines() if line.strip()] if place.suffix == ".jsonl" else [data]
    incoming.notes[place.as_posix()] = encode([decode(line) for line in lines]).decode()


def _unsafe(name: str) -> Iterator[Finding]:
    try:
        require_model_name(name)
    except UnsafeName as error:
        yield Finding(Severity.ERROR, error.reason, record=name)


def _member(value: JsonValue, key: str) -> JsonValue:
    return value.get(key) if isinstance(value, dict) else None


def _text(origin: JsonValue) -> str | None:
    return None if origin is None else encode(origin).decode()
