"""Taking records into the store: one unit of work, which changes nothing when it is repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import TypeAlias

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Event, Kind, Operation
from horde_model_reference.domain.findings import Finding, Severity
from horde_model_reference.errors import WriteConflict
from horde_model_reference.exchange.incoming import Incoming, read_folder
from horde_model_reference.stores.base import Store

__all__ = ["PEER_FILES", "ImportReport", "Progress", "import_records", "take_over"]

PEER_FILES = "peer_file"
"""The category of the side documents that keep what a taken-over data root noted beside its records."""

Progress: TypeAlias = Callable[[Category, int], None]


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
    store: Store,
    incoming: Incoming,
    *,
    actor: str,
    note: str = "import",
    prune: bool = False,
    only_new: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _category, _count: None,
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


def take_over(store: Store, root: Path, *, prefer_legacy: bool = False) -> ImportReport | None:
    """Take in the peer's data root as it lies on disk; None where the store has anything, or the root nothing.

    The mirror will write over its files, so one that could not be read in full stays beside it as `<name>.set-aside`.
    """
    if store.head():
        return None
    incoming = read_folder(root, choice="legacy_first" if prefer_legacy else "auto")
    for file in {finding.file for finding in incoming.findings if finding.severity is Severity.ERROR}:
        with suppress(OSError):
            copyfile(file, f"{file}.set-aside")
    if incoming.total:
        note = "taken over from the files of the data root"
        with suppress(WriteConflict):  # another process has done it meanwhile, and may have changed records since
            return import_records(store, incoming, actor="system", note=note, only_new=True)
    return None
