"""Taking records in: what a folder or bundle holds is read and converted first, then put into the store at once.

Recognised are a bundle, a folder of v2 or of legacy files (flat, or `image/` and `text/` as in the two repositories),
and a data root of the peer: v2 files, their originals under `legacy/`, notes under `meta/` and `audit/`. The format of
a file is read from its content. An import is one unit of work, which changes nothing when it is repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Literal, TypeAlias

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.events import Event, Kind, Operation
from horde_model_reference.domain.findings import Finding, JsonObject, Severity
from horde_model_reference.domain.names import require_model_name
from horde_model_reference.domain.validation import as_read, unknown_value_findings, validate_records
from horde_model_reference.errors import MalformedInput, UnsafeName, WriteConflict
from horde_model_reference.files import read_bounded
from horde_model_reference.formats.json_codec import decode, decode_object, encode
from horde_model_reference.formats.legacy import legacy_format, read_entries

if TYPE_CHECKING:
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["BUNDLE_FORMAT", "BUNDLE_VERSION", "PEER_FILES", "FormatChoice", "ImportReport", "Incoming"]
__all__ += ["IncomingRecord", "import_records", "read_folder", "read_path", "take_over"]

BUNDLE_FORMAT, BUNDLE_VERSION = "horde_model_reference/bundle", 1
"""What a bundle says it is."""
PEER_FILES = "peer_file"
"""The category of the side documents that keep what a taken-over data root noted beside its records."""

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

    `unknown` are values that this version does not know, for which no record is set aside. `notes` are files of a data
    root that are no records (metadata, audit), by their path under it, as JSON.
    """

    records: dict[Category, list[IncomingRecord]] = field(default_factory=dict)
    files: dict[Category, Path] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unknown: list[Finding] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many records were read well enough to be taken in."""
        return sum(map(len, self.records.values()))

    @property
    def errors(self) -> list[Finding]:
        """Why records or files were set aside."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]

    def set_aside(self, category: Category) -> set[str]:
        """The names of records in the category's file that could not be read; empty for one that nobody can name."""
        return {finding.record for finding in self.errors if finding.file == str(self.files.get(category, ""))}

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """In this block, what is wrong with the whole file is a finding."""
        try:
            yield
        except MalformedInput as error:
            self.findings.append(Finding(Severity.ERROR, error.reason, error.record, error.field, str(path)))
        except OSError as error:
            self.findings.append(Finding(Severity.ERROR, error.strerror or str(error), file=str(path)))

    def entries(self, path: Path) -> dict[str, JsonObject]:
        """The entries of a file, as written; one that cannot be read is a finding."""
        entries, findings = read_entries(read_bounded(path), suffix=path.suffix[1:], where=str(path))
        self.findings += [finding.at(str(path)) for finding in findings]
        return entries

    def take_file(self, category: Category, path: Path, choice: FormatChoice, origins: JsonObject) -> None:
        """Take a file of either format: which one it is in shows in its entries, where `choice` does not say."""
        entries = self.entries(path)
        configs = (entry.get("config") for entry in entries.values())
        # Only a legacy entry lists `config.files`; a v2 document has nothing of that name.
        is_legacy = choice == "auto" and any(isinstance(config, dict) and "files" in config for config in configs)
        if path.suffix == ".csv" or choice == "legacy" or is_legacy:
            self.take_legacy(category, path, entries)
        else:
            self.take(category, path, dict(entries), origins)

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
        for name in records:
            if not isinstance(origins.get(name), dict | None):
                findings.append(Finding(Severity.ERROR, "must be an object", name, "origin"))
            try:
                require_model_name(name)
            except UnsafeName as error:
                findings.append(Finding(Severity.ERROR, error.reason, name))
        bad = {finding.record for finding in findings if finding.severity is Severity.ERROR}
        self.files.setdefault(category, path)
        self.findings += [finding.at(str(path)) for finding in findings]
        good = {name: record for name, record in records.items() if name not in bad}
        self.unknown += [finding.at(str(path)) for finding in unknown_value_findings(good)]
        taken = self.records.setdefault(category, [])
        for name, record in good.items():
            document, origin = encode(as_read(record, documents[name])).decode(), origins.get(name)
            taken.append(IncomingRecord(name, document, None if origin is None else encode(origin).decode()))


def read_path(path: Path, *, choice: FormatChoice = "auto") -> Incoming:
    """Read a bundle, one file of a category, or a folder. Raises `MalformedInput` where nothing of ours is in it,
    `FileNotFoundError` where there is nothing at all."""
    path.stat()
    if path.is_dir():
        incoming = read_folder(path, choice=choice)
    else:
        incoming, kinds = Incoming(), get_all_registered_categories()
        names = {name: c for c, kind in kinds.items() for name in (kind.v2_filename(c), kind.legacy_filename(c))}
        with incoming.reading(path):
            if path.name in names:
                incoming.take_file(names[path.name], path, choice, {})
            else:
                _take_bundle(incoming, path)
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
        with incoming.reading(path):
            data = read_bounded(path)
            lines = [line for line in data.splitlines() if line.strip()] if path.suffix == ".jsonl" else [data]
            incoming.notes[path.relative_to(root).as_posix()] = encode([decode(line) for line in lines]).decode()
    return incoming


def _read_category(incoming: Incoming, root: Path, category: Category, choice: FormatChoice) -> None:
    descriptor = get_category_descriptor(category)
    current, legacies = root / descriptor.v2_filename(category), list[Path]()
    if choice != "v2" and descriptor.has_legacy_format:
        folders = ("legacy", descriptor.github_source or ".", ".")
        legacies = [root / folder / descriptor.legacy_filename(category) for folder in folders]
    # Also what cannot be read is there: that is for `Incoming.reading` to say.
    there = [path for path in (*legacies, current) if path.exists() or path.is_symlink()]
    legacy = next((path for path in legacies if path in there), None)
    if choice == "legacy_first":
        choice = "auto" if legacy in (None, current) else "legacy"
    if choice != "legacy" and current in there:
        origins: dict[str, JsonObject] = {}
        if legacy is not None and legacy != current:
            with incoming.reading(legacy):
                origins = incoming.entries(legacy)
        with incoming.reading(current):
            incoming.take_file(category, current, choice, dict(origins))
        lost = incoming.set_aside(category) if category in incoming.files else origins.keys()
        if legacy is not None and (spare := {name: entry for name, entry in origins.items() if name in lost}):
            incoming.take_legacy(category, legacy, spare)  # what its v2 file has damaged
    elif legacy is not None:
        with incoming.reading(legacy):
            incoming.take_file(category, legacy, "legacy", {})


def _take_bundle(incoming: Incoming, path: Path) -> None:
    bundle = decode_object(read_bounded(path))
    categories = bundle.get("categories")
    if bundle.get("format") != BUNDLE_FORMAT or not isinstance(categories, dict):
        raise MalformedInput(f"is no file of a category and no bundle (format {BUNDLE_FORMAT!r}, with categories)")
    if bundle.get("version") != BUNDLE_VERSION:
        raise MalformedInput(f"is a bundle of version {bundle.get('version')}; this package reads {BUNDLE_VERSION}")
    for category, rows in categories.items():
        if not isinstance(rows, dict):
            raise MalformedInput("must be an object of records", record=category)
        found = {name: row if isinstance(row, dict) else {} for name, row in rows.items()}
        documents, origins = ({name: row.get(key) for name, row in found.items()} for key in ("document", "origin"))
        incoming.take(category, path, documents, origins)


@dataclass
class ImportReport:
    """What an import did: records by category and operation, how many were there already, and what was set aside."""

    created: Counter[Category] = field(default_factory=Counter)
    updated: Counter[Category] = field(default_factory=Counter)
    deleted: Counter[Category] = field(default_factory=Counter)
    unchanged: Counter[Category] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    revision: int = 0

    @property
    def changes(self) -> int:
        """How many records are other than before."""
        return self.created.total() + self.updated.total() + self.deleted.total()

    def count(self, category: Category, event: Event | None) -> None:
        """Take one record into account: the event it made, None where nothing changed."""
        counters = {Operation.CREATE: self.created, Operation.UPDATE: self.updated, Operation.DELETE: self.deleted}
        (self.unchanged if event is None else counters[event.operation])[category] += 1


class _Rehearsed(Exception):
    """Ends a dry run: a unit of work that raises leaves nothing behind."""


def import_records(
    store: SqlStore,
    incoming: Incoming,
    *,
    actor: str,
    note: str = "import",
    prune: bool = False,
    only_new: bool = False,
    dry_run: bool = False,
    progress: Callable[[Category, int], None] = lambda _category, _count: None,
) -> ImportReport:
    """Create and update what `incoming` holds; with `prune` also delete, in the categories it has, what it lacks.

    A record that `incoming` has but could not read is neither changed nor deleted; where it is not even known which one
    that is, nothing of the category is. With `only_new` a record that is there already raises `WriteConflict`. A
    `dry_run` does it all and takes it back, so its report is what would be. `progress` is told each category and how
    many of its records have been taken.
    """
    report, expected = ImportReport(findings=list(incoming.findings)), 0 if only_new else None
    with suppress(_Rehearsed), store.begin(actor=actor) as unit:
        for category, records in incoming.records.items():
            aside = incoming.set_aside(category)
            gone = {} if "" in aside or not prune else {n: None for n in unit.entries(category) if n not in aside}
            for count, record in enumerate(records, 1):
                event = unit.put(
                    category, record.name, record.document, origin=record.origin, expected=expected, note=note
                )
                report.count(category, event)
                gone.pop(record.name, None)
                progress(category, count)
            for name in gone:
                report.count(category, unit.delete(category, name, note=note))
        for path, content in incoming.notes.items():
            unit.put(PEER_FILES, path, content, note=note, kind=Kind.DOCUMENT)
        report.revision = unit.revision
        if dry_run:
            raise _Rehearsed
    return report


def take_over(store: SqlStore, root: Path, *, prefer_legacy: bool = False) -> ImportReport | None:
    """Take in the peer's data root as it lies on disk; None where the store has anything, or the root nothing.

    The mirror will write over its files, so one that could not be read in full stays beside it as `<name>.set-aside`.
    """
    if store.head():
        return None
    incoming = read_folder(root, choice="legacy_first" if prefer_legacy else "auto")
    for file in {finding.file for finding in incoming.errors}:
        with suppress(OSError):
            copyfile(file, f"{file}.set-aside")
    if incoming.total:
        note = "taken over from the files of the data root"
        with suppress(WriteConflict):  # another process has done it meanwhile, and may have changed records since
            return import_records(store, incoming, actor="system", note=note, only_new=True)
    return None
