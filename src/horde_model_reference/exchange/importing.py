"""Taking records into the store: one unit of work, which changes nothing when it is repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Kind, Operation
from horde_model_reference.domain.findings import Finding, Severity
from horde_model_reference.errors import MalformedInput
from horde_model_reference.exchange.incoming import Incoming, read_folder
from horde_model_reference.files import read_bounded
from horde_model_reference.formats.json_codec import decode, encode
from horde_model_reference.stores.base import Store, UnitOfWork

__all__ = ["PEER_FILES", "ImportReport", "import_records", "take_over"]

PEER_FILES = "peer_file"
"""The category of side documents under which files of a taken-over data root are kept as they were."""


@dataclass
class ImportReport:
    """What an import did: records by category and operation, how many were there already, and what was set aside."""

    created: dict[Category, int] = field(default_factory=dict)
    updated: dict[Category, int] = field(default_factory=dict)
    deleted: dict[Category, int] = field(default_factory=dict)
    unchanged: dict[Category, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    revision: int = 0

    @property
    def changes(self) -> int:
        """How many events the import made."""
        return sum(sum(counts.values()) for counts in (self.created, self.updated, self.deleted))


def import_records(  # noqa: PLR0913  (each is one decision of the person who imports)
    store: Store,
    incoming: Incoming,
    *,
    actor: str,
    note: str = "import",
    prune: bool = False,
    progress: Callable[[Category, int], None] = lambda _category, _count: None,
) -> ImportReport:
    """Create and update what `incoming` holds; with `prune` also delete, in the categories it has, what it lacks.

    `progress` is told each category and how many of its records have been taken.
    """
    report = ImportReport(findings=list(incoming.findings))
    with store.begin(actor=actor) as unit:
        for category, records in incoming.records.items():
            gone = set(unit.entries(category)) if prune else set()
            for count, record in enumerate(records, 1):
                event = unit.put(category, record.name, record.document, origin=record.origin, note=note)
                _count(report, category, event.operation if event else None)
                gone.discard(record.name)
                progress(category, count)
            for name in sorted(gone):
                unit.delete(category, name, note=note)
                _count(report, category, Operation.DELETE)
    report.revision = store.head()
    return report


def take_over(store: Store, root: Path, *, prefer_legacy: bool = False) -> ImportReport | None:
    """Take in the data root of the peer as it lies on disk; None where the store has anything, or the root has nothing.

    Its metadata and audit files are kept as side documents, verbatim, where they can be read.
    """
    if store.head():
        return None
    incoming = read_folder(root, choice="legacy" if prefer_legacy else "auto")
    if not incoming.total:
        return None
    report = import_records(store, incoming, actor="system", note=f"taken over from {root.name}")
    with store.begin(actor="system") as unit:
        for path in sorted([*root.glob("meta/**/*.json"), *root.glob("audit/**/*.jsonl")]):
            _keep_file(unit, root, path, report)
    report.revision = store.head()
    return report


def _keep_file(unit: UnitOfWork, root: Path, path: Path, report: ImportReport) -> None:
    try:
        data = read_bounded(path)
        lines = [line for line in data.splitlines() if line.strip()] if path.suffix == ".jsonl" else [data]
        content = encode([decode(line, where=str(path)) for line in lines])
    except (MalformedInput, OSError) as error:
        report.findings.append(Finding(Severity.WARNING, str(error), file=str(path)))
        return
    unit.put(PEER_FILES, path.relative_to(root).as_posix(), content.decode(), kind=Kind.DOCUMENT)


def _count(report: ImportReport, category: Category, operation: Operation | None) -> None:
    places = {
        Operation.CREATE: report.created,
        Operation.UPDATE: report.updated,
        Operation.DELETE: report.deleted,
        None: report.unchanged,
    }
    counts = places[operation]
    counts[category] = counts.get(category, 0) + 1
