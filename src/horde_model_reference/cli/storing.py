"""What the store is for: `import`, `export`, `log`, `diff` and `verify`."""

from __future__ import annotations

import getpass
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from typer import Argument, BadParameter, Option

import horde_model_reference as library
from horde_model_reference.cli.context import At, CategoryOption, Session, categories, complete, known, require_path
from horde_model_reference.cli.output import Table, at_time, say, tell, working
from horde_model_reference.domain.differences import RecordDifference, compare_records
from horde_model_reference.domain.findings import Finding, JsonObject
from horde_model_reference.errors import MalformedInput, MissingExtra
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode_object

if TYPE_CHECKING:
    from horde_model_reference.exchange.importing import ImportReport
    from horde_model_reference.stores.sql import SqlStore

__all__ = ["diff", "export", "import_", "log", "verify"]

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
    from horde_model_reference.exchange.exporting import Mirror
    from horde_model_reference.exchange.importing import import_records, read_path

    catalogue = Path(*library.__path__, "data", "starter")
    incoming = read_path(catalogue if path is None else require_path(path), choice=form)
    wrong = [finding for finding in incoming.findings if finding.severity == "error"]
    if wrong and not incoming.total:
        raise MalformedInput(str(wrong[0]))
    with _importable(session, dry_run) as store, working("Importing", incoming.total) as advance:
        by = actor or _user()
        report = import_records(store, incoming, actor=by, note=note, prune=prune, dry_run=dry_run, progress=advance)
        if not dry_run and not report.changes and session.settings.mirror_enabled:
            Mirror(store, session.data_root).keep_up()  # with changes, it has done so by itself
    aside = len({(each.file, each.record) for each in wrong})
    _tell_report(session, report, "would take" if dry_run else "took", aside)
    return int(bool(wrong))


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

    store, revision, chosen = session.store(), session.revision(at), list(map(known, category or ()))
    mixed: list[Path] = []
    if bundle is not None:
        written = [bundle]
        write_atomically(bundle, exporting.bundle(store, chosen, revision))
    elif static is not None:
        written = _static(session, static)
    elif folder is not None:
        write = exporting.write_legacy if form == "legacy" else exporting.write_v2
        written = write(store, folder, chosen, revision)
        mixed = [] if chosen else _of_other_revisions(folder, form == "legacy", written)
    for path in mixed:
        tell(f"warning: {path} is older and no part of this: its category has no records at revision {revision}")
    if not revision:
        tell(f"the store holds no records at revision {revision}")
    table = Table(["written"], [[str(path)] for path in written])
    table.print(session.as_json, {"revision": revision, "written": list(map(str, written))})
    return int(bool(mixed))


def _static(session: Session, folder: Path) -> list[Path]:
    try:
        from horde_model_reference.service.static import write_static
    except ImportError as error:
        raise MissingExtra("the static export", "service") from error
    with working("Writing the read interface as files"):
        return write_static(session.parts, session.settings, folder)


def log(
    session: Session,
    since: Annotated[int, Option(metavar="REVISION", min=0, help="Only what happened after this one.")] = 0,
    category: CategoryOption = None,
    limit: Annotated[int, Option(min=1, max=1_000_000, help="The newest so many.")] = 20,
) -> None:
    """The newest changes, the latest one last."""
    store = session.store()
    if category is None:
        events = store.events(since=max(since, store.head() - limit))
    else:
        events = iter(deque(store.events(since=since, category=known(category)), maxlen=limit))
    rows = [(e.revision, at_time(e.at), e.actor, e.operation, e.category, e.name, e.note) for e in events]
    columns = ("revision", "time", "actor", "operation", "category", "name", "note")
    Table(columns, rows, "Revisions").print(session.as_json)


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


def verify(session: Session) -> int:
    """Walk the chain of revisions and replay it: does it lead to the records? Exit code 1 where it does not."""
    store = session.store()
    with working("Verifying ..."):
        faults = store.verify()
    head = store.head()
    well = f"revisions 1 to {head} are whole and lead to the records" if head else "the store is empty"
    table = Table(("revision", "fault"), faults, without_rows=well)
    table.print(session.as_json, {"revision": head, "faults": table.as_objects()})
    return int(bool(faults))


@contextmanager
def _importable(session: Session, dry_run: bool) -> Iterator[SqlStore]:
    """The store; to try an import where there is none yet, one that is gone afterwards."""
    from horde_model_reference.wiring import open_store

    takes_over = session.settings.replicate_mode == "PRIMARY"
    if not dry_run or session.has_store:
        session.takes_over = takes_over and not dry_run
        yield session.store(create=True)
        return
    with tempfile.TemporaryDirectory(prefix="hmr-") as folder:
        settings = library.HordeModelReferenceSettings(
            database_url=f"sqlite:///{folder}/x.sqlite3", mirror_enabled=False
        )
        with closing(open_store(session.data_root, settings, takes_over=takes_over)) as store:
            yield store


def _of_other_revisions(folder: Path, legacy: bool, written: list[Path]) -> list[Path]:
    """Files in the folder that an export of everything would write, had their categories any records then."""
    names = {kind.legacy_filename(each) if legacy else kind.v2_filename(each) for each, kind in categories().items()}
    return [path for path in sorted({folder / name for name in names} - {*written}) if path.is_file()]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _tell_report(session: Session, report: ImportReport, verb: str, aside: int) -> None:
    counts = (report.created, report.updated, report.deleted, report.unchanged)
    met = dict.fromkeys(category for count in counts for category in count)
    rows = [[category, *(count[category] for count in counts)] for category in met]
    table = Table(["category", "created", "updated", "deleted", "unchanged"], rows)
    value = {"revision": report.revision, "categories": table.as_objects(), "findings": list(map(str, report.findings))}
    table.print(session.as_json, value)
    if session.as_json:
        return
    _tell(report.findings[:_TOLD])
    if len(report.findings) > _TOLD:
        tell(f"... and {len(report.findings) - _TOLD} more; `hmr validate` shows all")
    place = f", the store is at revision {report.revision}" if verb == "took" else ""
    say(f"{verb} {report.changes} changes, {aside} records set aside{place}")


def _tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        tell(f"{finding.severity}: {finding}")


def _state(session: Session, side: str, wanted: list[str]) -> tuple[_State, bool]:
    """The records of one side by category, and whether some of them could not be read."""
    from horde_model_reference.exchange.exporting import entries_of
    from horde_model_reference.exchange.importing import read_path

    if not (Path(side).exists() or "/" in side):
        found = entries_of(session.store(), wanted, session.revision(side))
        stored = {each: {name: decode_object(e.document) for name, e in entries.items()} for each, entries in found}
        return stored, False
    incoming = read_path(require_path(Path(side)))
    _tell(incoming.findings)
    faulty = any(finding.severity == "error" for finding in incoming.findings)
    return {each: {r.name: decode_object(r.document) for r in rows} for each, rows in incoming.records.items()}, faulty


def _rows(category: str, record: RecordDifference) -> Iterator[tuple[str, ...]]:
    facts = (record.kind, category, record.name)
    if record.before_name:
        yield (*facts, f"renamed from {record.before_name}", "")
    for change in record.differences:
        if not (record.before_name and change.path == "name"):
            yield (*facts, change.words, "yes" if change.alarming else "")
