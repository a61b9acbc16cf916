"""What the store and files are for: `import`, `export`, `validate`, `diff`, `log` and `verify`."""

from __future__ import annotations

import getpass
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, TypeAlias

from typer import Argument, BadParameter, Option

import horde_model_reference as library
from horde_model_reference.cli.context import At, CategoryOption, Session, categories, complete, known
from horde_model_reference.cli.moderating import log_of_queue
from horde_model_reference.cli.output import Table, at_time, say, tell, working
from horde_model_reference.domain.differences import RecordDifference, compare_records
from horde_model_reference.domain.findings import Finding, JsonObject, Severity
from horde_model_reference.errors import MalformedInput
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode_object

__all__ = ["diff", "export", "import_", "log", "validate", "verify"]

_State: TypeAlias = dict[str, dict[str, JsonObject]]
_TOLD = 20


def import_(
    session: Session,
    path: Annotated[Path | None, Argument(help="Folder or file; left out with --starter.")] = None,
    form: Annotated[Literal["auto", "v2", "legacy"], Option("--format", help="What to read in a folder.")] = "auto",
    prune: Annotated[bool, Option("--prune", help="Also delete what the categories read do not hold.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would change, and write nothing.")] = False,
    actor: Annotated[str, Option(help="Who is noted in the log; default: your user name.")] = "",
    note: Annotated[str, Option(help="Why, for the log.")] = "import",
    starter: Annotated[bool, Option("--starter", help="Take the starter catalogue of the package.")] = False,
) -> int:
    """Take records into the store: a folder of legacy or v2 files, a single file of one category, or a bundle.

    One unit of work: all of it or nothing. Repeated, it changes nothing but a mirror that is behind. Records that
    cannot be read are set aside and told, and left in the store as they were; the others are taken; the exit code is
    1 then. The store is created on first use.
    """
    if (path is None) is not starter:
        raise BadParameter("give a PATH or --starter, one of the two")
    from horde_model_reference.exchange.importing import import_records, read_path
    from horde_model_reference.settings import make_settings

    incoming = read_path(path or Path(*library.__path__, "data", "starter"), choice=form)
    if incoming.errors and not incoming.total:
        raise MalformedInput(str(incoming.errors[0]))
    by = actor or "unknown"
    with suppress(KeyError, OSError):  # a user without a name
        by = actor or getpass.getuser()
    with TemporaryDirectory(prefix="hmr-") as scratch, working("Importing", incoming.total) as advance:
        session.creates_store = True
        session.takes_over = session.settings.replicate_mode == "PRIMARY" and not dry_run
        if dry_run and not session.has_store:  # tried in one that is gone afterwards
            session.settings = make_settings(database_url=f"sqlite:///{scratch}/x.sqlite3", mirror_enabled=False)
        store = session.store
        report = import_records(store, incoming, actor=by, note=note, prune=prune, dry_run=dry_run, progress=advance)
        if not dry_run and not report.changes and session.parts.mirror is not None:
            session.parts.mirror.keep_up()  # with changes, it has done so by itself
    counts = (report.created, report.updated, report.deleted, report.unchanged)
    met = dict.fromkeys(category for count in counts for category in count)
    rows = [[category, *(count[category] for count in counts)] for category in met]
    table = Table(["category", "created", "updated", "deleted", "unchanged"], rows)
    value = {"revision": report.revision, "categories": table.as_objects(), "findings": list(map(str, report.findings))}
    table.print(session.as_json, value)
    if not session.as_json:
        _tell(report.findings[:_TOLD])
        if len(report.findings) > _TOLD:
            tell(f"... and {len(report.findings) - _TOLD} more; `hmr validate` shows all")
        aside = len({(each.file, each.record) for each in incoming.errors})
        done = f"would take {report.changes} changes" if dry_run else f"took {report.changes} changes"
        place = "" if dry_run else f", the store is at revision {report.revision}"
        say(f"{done}, {aside} records set aside{place}")
    return int(bool(incoming.errors))


def export(
    session: Session,
    folder: Annotated[Path | None, Argument(help="Folder for one file a category.")] = None,
    bundle: Annotated[Path | None, Option(help="One file that `import` gives back exactly.")] = None,
    form: Annotated[Literal["v2", "legacy"], Option("--format", help="Format of the files in a folder.")] = "v2",
    category: Annotated[list[str] | None, Option(help="Only this; may be repeated.", autocompletion=complete)] = None,
    at: At = "head",
    static: Annotated[Path | None, Option(help="Folder for what the service answers, for any web server.")] = None,
) -> int:
    """Write the store out: a folder of v2 or legacy files, one bundle with the legacy originals in it, or the read
    interface as files that any web server or CDN gives out in its place.

    Exit code 1 where the folder holds a file, from before, of a category that has no records at that revision.
    """
    if [folder, bundle, static].count(None) != 2:
        raise BadParameter("give a FOLDER, --bundle FILE or --static FOLDER, one of the three")
    if static is not None and (category or at != "head"):
        raise BadParameter("--static writes all that the service answers now")
    from horde_model_reference.exchange import exporting

    store, revision, chosen = session.store, session.revision(at), list(map(known, category or ()))
    mixed: list[Path] = []
    if bundle is not None:
        written = [write_atomically(bundle, exporting.bundle(store, chosen, revision))]
    elif static is not None:
        from horde_model_reference.service.static import write_static

        with working("Writing the read interface as files"):
            written = write_static(session.parts, session.settings, static)
    elif folder is not None:
        write, name_of = exporting.write_v2, library.CategoryDescriptor.v2_filename
        if form == "legacy":
            write, name_of = exporting.write_legacy, library.CategoryDescriptor.legacy_filename
        written = write(store, folder, chosen, revision)
        others = {folder / name_of(kind, each) for each, kind in categories().items() if not chosen} - {*written}
        mixed = sorted(path for path in others if path.is_file())
    for path in mixed:
        tell(f"warning: {path} is older and no part of this: its category has no records at revision {revision}")
    if not revision:
        tell(f"the store holds no records at revision {revision}")
    names = [str(path) for path in written]
    Table(["written"], [[name] for name in names]).print(session.as_json, {"revision": revision, "written": names})
    return int(bool(mixed))


def validate(
    session: Session,
    paths: Annotated[list[Path], Argument(help="Folders, files of one category, or bundles.")],
    strict: Annotated[bool, Option("--strict", help="Warnings count as errors.")] = False,
) -> int:
    """Read files as an import would, and say everything that is wrong with them; nothing is written.

    Exit code 1 where a record could not be taken, with --strict also where a value is unknown.
    """
    from horde_model_reference.exchange.importing import read_path

    records, findings = 0, list[Finding]()
    for path in paths:
        try:
            incoming = read_path(path)
        except MalformedInput as error:
            findings.append(Finding(Severity.ERROR, error.reason, error.record, error.field, error.where or str(path)))
        else:
            records += incoming.total
            findings += incoming.findings + incoming.unknown
    wrong = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - wrong
    if session.as_json or findings:
        columns = ("severity", "file", "record", "field", "reason")
        table = Table(columns, [[getattr(finding, name) for name in columns] for finding in findings])
        value = {"records": records, "errors": wrong, "warnings": warnings, "findings": table.as_objects()}
        table.print(session.as_json, value)
    counted = ", which --strict counts as errors" if strict and warnings else ""
    tell(f"{records} records are good; {wrong} errors, {warnings} warnings{counted}")
    return int(bool(findings if strict else wrong))


def diff(
    session: Session,
    before: Annotated[str, Argument(help="A folder, file or bundle; or a revision or time of the store.")],
    after: Annotated[str, Argument(help="The same; default: the store as it is.")] = "head",
    category: CategoryOption = None,
) -> int:
    """What changed between two states, record by record, in words. Exit code 1 where anything did.

    A path that exists is read as files, of either format; all else is a revision, an ISO 8601 time, or `head`.
    """
    wanted = [] if category is None else [known(category)]
    (old, old_faulty), (new, new_faulty) = (_state(session, side, wanted) for side in (before, after))
    found = {each: compare_records(old.get(each, {}), new.get(each, {})) for each in wanted or {**old, **new}}
    rows = [row for each, records in found.items() for record in records for row in _rows(each, record)]
    value = [{"category": each, **asdict(record)} for each, records in found.items() for record in records]
    table = Table(("change", "category", "name", "what", "alarming"), rows, without_rows="no differences")
    table.print(session.as_json, value)
    return int(bool(value) or old_faulty or new_faulty)


def log(
    session: Session,
    since: Annotated[int, Option(metavar="REVISION", min=0, help="Only what happened after this one.")] = 0,
    category: CategoryOption = None,
    limit: Annotated[int, Option(min=1, max=1_000_000, help="The newest so many.")] = 20,
    queue: Annotated[bool, Option("--queue", help="What was done in the queue of changes instead.")] = False,
) -> None:
    """The newest revisions, or what was done in the queue, the latest last."""
    if queue:
        log_of_queue(session, since, limit)
        return
    store = session.store
    after = since if category else max(since, store.head() - limit)
    events = deque(store.events(since=after, category=category and known(category)), maxlen=limit)
    rows = [(e.revision, at_time(e.at), e.actor, e.operation, e.category, e.name, e.note) for e in events]
    columns = ("revision", "time", "actor", "operation", "category", "name", "note")
    Table(columns, rows, "Revisions").print(session.as_json)


def verify(session: Session) -> int:
    """Walk the chain of revisions and replay it: does it lead to the records? Exit code 1 where it does not."""
    with working("Verifying ..."):
        faults, head = session.store.verify(), session.store.head()
    well = f"revisions 1 to {head} are whole and lead to the records" if head else "the store is empty"
    table = Table(("revision", "fault"), faults, without_rows=well)
    table.print(session.as_json, {"revision": head, "faults": table.as_objects()})
    return int(bool(faults))


def _tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        tell(f"{finding.severity}: {finding}")


def _state(session: Session, side: str, wanted: list[str]) -> tuple[_State, bool]:
    """The records of one side by category, and whether some of them could not be read."""
    from horde_model_reference.exchange.exporting import entries_of
    from horde_model_reference.exchange.importing import read_path

    if not (Path(side).exists() or "/" in side):
        found = entries_of(session.store, wanted, session.revision(side))
        return {each: {name: decode_object(e.document) for name, e in held.items()} for each, held in found}, False
    incoming = read_path(Path(side))
    _tell(incoming.findings)
    read = {each: {r.name: decode_object(r.document) for r in rows} for each, rows in incoming.records.items()}
    return read, bool(incoming.errors)


def _rows(category: str, record: RecordDifference) -> Iterator[tuple[str, ...]]:
    facts = (record.kind, category, record.name)
    if record.before_name:
        yield (*facts, f"renamed from {record.before_name}", "")
    for change in record.differences:
        if not (record.before_name and change.path == "name"):
            yield (*facts, change.words, "yes" if change.alarming else "")
