"""What a folder or a bundle holds, read and converted, before anything is written anywhere.

Recognised are a bundle file, a folder of v2 files, a folder of legacy files (flat, or `image/` and `text/` as in the two
repositories), and a data root as it lies on disk: v2 files with their legacy originals under `legacy/`. Which format a
file is in is read from its content, never guessed from its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from horde_model_reference.domain.categories import Category, CategoryDescriptor, get_all_registered_categories
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.names import require_model_name, require_relative_file
from horde_model_reference.domain.validation import validate_records
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.files import read_bounded
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.formats.legacy import legacy_format

__all__ = [
    "BUNDLE_FORMAT",
    "FormatChoice",
    "Incoming",
    "IncomingRecord",
    "read_bundle",
    "read_documents",
    "read_folder",
    "read_path",
]

BUNDLE_FORMAT = "horde_model_reference/bundle"
_LEGACY_FOLDERS = {"image": "image", "text": "text"}

FormatChoice: TypeAlias = Literal["auto", "v2", "legacy"]


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """One record to take in: its document and, where it was converted, the legacy entry it came from, both as JSON."""

    name: str
    document: str
    origin: str | None = None


@dataclass
class Incoming:
    """What was read: records by category in their order, the files they came from, and what was wrong."""

    records: dict[Category, list[IncomingRecord]] = field(default_factory=dict)
    files: dict[Category, list[Path]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many records were read well enough to be taken in."""
        return sum(map(len, self.records.values()))


def read_path(path: Path, *, choice: FormatChoice = "auto") -> Incoming:
    """Read a bundle file or a folder. Raises `MalformedInput` where there is nothing of ours in it, `OSError`."""
    if path.is_dir():
        incoming = read_folder(path, choice=choice)
    elif path.is_file():
        incoming = _read_file(path)
    else:
        raise MalformedInput("there is no such file or folder", where=str(path))
    if not incoming.files:
        expected = "a bundle, v2 files such as stable_diffusion.json, or legacy files such as models.csv"
        raise MalformedInput(f"holds nothing of the reference; expected {expected}", where=str(path))
    return incoming


def read_folder(root: Path, *, choice: FormatChoice = "auto") -> Incoming:
    """All categories that have a file in the folder; a file that cannot be read is a finding, the others are read."""
    incoming = Incoming()
    for category, descriptor in get_all_registered_categories().items():
        if not descriptor.managed_elsewhere:
            _read_category(incoming, root, category, descriptor, choice)
    return incoming


def read_bundle(data: bytes, where: str) -> Incoming:
    """A bundle as `export --bundle` writes it: every category with its documents and origins in one JSON file."""
    bundle = decode_object(data, where=where)
    categories = bundle.get("categories")
    if bundle.get("format") != BUNDLE_FORMAT or not isinstance(categories, dict):
        raise MalformedInput(f"is no bundle: expected format {BUNDLE_FORMAT!r} and categories", where=where)
    incoming = Incoming()
    for category, rows in categories.items():
        if not isinstance(rows, dict):
            raise MalformedInput("must be an object of records", where=where, record=category)
        documents = {name: _member(row, "document") for name, row in rows.items()}
        origins = {name: _member(row, "origin") for name, row in rows.items()}
        _take(incoming, category, documents, origins, Path(where))
    return incoming


def read_documents(category: Category, body: JsonObject, where: str) -> Incoming:
    """Plain v2 documents by name, checked the same way."""
    incoming = Incoming()
    _take(incoming, category, body, {}, Path(where))
    return incoming


def _read_file(path: Path) -> Incoming:
    categories = [
        (category, descriptor)
        for category, descriptor in get_all_registered_categories().items()
        if path.name in (descriptor.v2_filename(category), descriptor.legacy_filename(category))
    ]
    incoming = Incoming()
    if not categories:
        return read_bundle(read_bounded(path), str(path))
    category, _ = categories[0]
    _guarded(incoming, path, lambda data: _read_either(incoming, category, path, data, "auto", {}))
    return incoming


def _read_category(
    incoming: Incoming, root: Path, category: Category, descriptor: CategoryDescriptor, choice: FormatChoice
) -> None:
    legacy = next((p for p in _legacy_places(root, category, descriptor) if p.is_file()), None)
    current = root / descriptor.v2_filename(category)
    origins: dict[str, JsonObject] = {}
    if legacy is not None and legacy != current and choice != "v2":
        _guarded(incoming, legacy, lambda data: origins.update(_entries(incoming, category, legacy, data)))
    if current.is_file() and choice != "legacy":
        _guarded(incoming, current, lambda data: _read_either(incoming, category, current, data, choice, origins))
    if category not in incoming.files and legacy is not None and choice != "v2":
        if legacy == current:
            _guarded(incoming, legacy, lambda data: origins.update(_entries(incoming, category, legacy, data)))
        _take_legacy(incoming, category, origins, legacy)


def _legacy_places(root: Path, category: Category, descriptor: CategoryDescriptor) -> Iterator[Path]:
    if not descriptor.has_legacy_format:
        return
    name = descriptor.legacy_filename(category)
    yield root / "legacy" / name
    yield root / _LEGACY_FOLDERS[descriptor.github_source or "image"] / name
    yield root / name


def _read_either(  # noqa: PLR0913  (what is known of one file)
    incoming: Incoming,
    category: Category,
    path: Path,
    data: bytes,
    choice: FormatChoice,
    origins: dict[str, JsonObject],
) -> None:
    if path.suffix == ".csv":
        return _take_legacy(incoming, category, _entries(incoming, category, path, data), path)
    documents = decode_object(data, where=str(path))
    if choice != "v2" and any(map(_is_legacy, documents.values())):
        return _take_legacy(incoming, category, _entries(incoming, category, path, data), path)
    _take(incoming, category, documents, dict(origins), path)
    return None


def _is_legacy(document: JsonValue) -> bool:
    """Only a legacy entry lists `config.files`; a v2 document has nothing of that name."""
    config = document.get("config") if isinstance(document, dict) else None
    return isinstance(config, dict) and "files" in config


def _entries(incoming: Incoming, category: Category, path: Path, data: bytes) -> dict[str, JsonObject]:
    entries, findings = legacy_format(category).read(data, where=str(path))
    incoming.findings += [finding.at(str(path)) for finding in findings]
    return entries


def _take_legacy(incoming: Incoming, category: Category, entries: dict[str, JsonObject], path: Path) -> None:
    documents: JsonObject = {}
    for name, entry in entries.items():
        document, findings = legacy_format(category).to_v2(category, name, entry)
        incoming.findings += [finding.at(str(path)) for finding in findings]
        if document is not None:
            documents[name] = document
    _take(incoming, category, documents, dict(entries), path)


def _take(incoming: Incoming, category: Category, documents: JsonObject, origins: JsonObject, path: Path) -> None:
    """Keep the documents that are valid records under usable names; say what is wrong with the others."""
    incoming.files.setdefault(category, []).append(path)
    records, findings = validate_records(category, encode(documents, where=str(path)))
    findings += [finding for name in records for finding in _unsafe(name, documents[name])]
    bad = {finding.record for finding in findings if finding.severity is Severity.ERROR}
    incoming.findings += [finding.at(str(path)) for finding in findings]
    incoming.records.setdefault(category, []).extend(
        IncomingRecord(name, encode(documents[name]).decode(), _text(origins.get(name)))
        for name in records
        if name not in bad
    )


def _unsafe(name: str, document: JsonValue) -> Iterator[Finding]:
    try:
        require_model_name(name)
        for file_name in _file_names(document):
            require_relative_file(file_name)
    except UnsafeName as error:
        field = "" if error.name in name else "config.download.file_name"
        yield Finding(Severity.ERROR, str(error), record=name, field=field)


def _file_names(document: JsonValue) -> Iterator[str]:
    downloads = _member(_member(document, "config"), "download")
    for download in downloads if isinstance(downloads, list) else []:
        file_name = _member(download, "file_name")
        if isinstance(file_name, str):
            yield file_name


def _member(value: JsonValue, key: str) -> JsonValue:
    return value.get(key) if isinstance(value, dict) else None


def _text(origin: JsonValue) -> str | None:
    return None if origin is None else encode(origin).decode()


def _guarded(incoming: Incoming, path: Path, take: Callable[[bytes], None]) -> None:
    try:
        take(read_bounded(path))
    except MalformedInput as error:
        finding = Finding(Severity.ERROR, error.reason, record=error.record, field=error.field, file=str(path))
        incoming.findings.append(finding)
    except OSError as error:
        incoming.findings.append(Finding(Severity.ERROR, error.strerror or str(error), file=str(path)))
