"""`validate`, `config`, `status` and `doctor`: is this input good, what is set, what is read, is all of it well?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from horde_model_reference.cli.context import Session, require_path
from horde_model_reference.cli.output import Table, tell
from horde_model_reference.cli.reading import category_rows
from horde_model_reference.errors import (
    HordeModelReferenceError,
    MalformedInput,
    ReferenceUnavailable,
    SettingsInvalid,
    SourceUnavailable,
)

if TYPE_CHECKING:
    from horde_model_reference.domain.findings import Finding

__all__ = ["Check", "config", "doctor", "examine", "status", "validate"]

OK, WARN, FAIL = "OK", "WARN", "FAIL"
_EXTRAS = {"store": ("sqlalchemy",), "postgres": ("sqlalchemy", "psycopg"), "service": ("fastapi", "uvicorn")}
_HEARTBEAT_SECONDS = 5.0


def validate(
    session: Session,
    paths: Annotated[list[Path], typer.Argument(help="Folders, files of one category, or bundles.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
) -> int:
    """Read files as an import would, and say everything that is wrong with them; nothing is written.

    Exit code 1 where a record could not be taken, with --strict also where a value is unknown.
    """
    results = [_validated(path) for path in [require_path(path) for path in paths]]
    records, findings = sum(count for count, _ in results), [each for _, found in results for each in found]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    columns = ("severity", "file", "record", "field", "reason")
    table = Table(columns, [[getattr(finding, name) for name in columns] for finding in findings])
    if session.as_json or findings:
        value = {"records": records, "errors": errors, "warnings": warnings, "findings": table.as_objects()}
        table.print(session.as_json, value)
    counted = ", which --strict counts as errors" if strict and warnings else ""
    tell(f"{records} records are good; {errors} errors, {warnings} warnings{counted}")
    return int(bool(findings if strict else errors))


def config(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Also those that nothing reads yet.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not as by default.")] = False,
) -> int:
    """The settings in force and where each comes from. Secrets are masked."""
    from horde_model_reference.settings_report import describe_settings

    if every and changed:
        raise typer.BadParameter("--all and --changed exclude each other")
    rows = [row for row in describe_settings(session.settings) if every or row.origin != "default" or not changed]
    shown = [row for row in rows if every or row.origin != "default" or row.status != "not read yet"]
    cells = [(row.env, row.value, row.origin, row.status) for row in shown]
    Table(("setting", "value", "origin", "read_by"), cells).print(session.as_json, [asdict(row) for row in shown])
    return 0


def status(session: Session) -> int:
    """What this installation reads: mode, data root, store, and for each category its source, revision and age."""
    settings = session.settings
    facts: dict[str, object] = {"mode": "REPLICA", "data_root": str(session.data_root)}
    if session.reads_store:
        store = session.store()
        facts |= {"mode": "PRIMARY", "store": store.url, "revision": store.head(), "mirror": settings.mirror_enabled}
    else:
        facts |= {"offline": session.is_offline, "primary_api_url": settings.primary_api_url}
    try:
        session.all_records()
    except ReferenceUnavailable as error:
        facts["fault"] = error.reason or str(error)
    columns = ("category", "records", "source", "revision", "changed", "age_seconds", "set_aside", "fault")
    table = Table(columns, [[row[c] for c in columns] for row in category_rows(session)], "Categories", "source")
    Table(("what", "value"), list(facts.items())).print(session.as_json, {**facts, "categories": table.as_objects()})
    if not session.as_json:
        print()
        table.print()
    return 0


def doctor(session: Session) -> int:
    """Check settings, extras, data root, store, mirror, network and reading. Exit code 1 where a check fails."""
    checks = list(examine(session))
    Table(("level", "check", "result", "next"), checks).print(session.as_json)
    return int(any(check.level == FAIL for check in checks))


def _validated(path: Path) -> tuple[int, list[Finding]]:
    """How many records of a path are good, and everything that is to be said about it."""
    from horde_model_reference.domain.findings import Finding, Severity
    from horde_model_reference.domain.snapshots import join_documents
    from horde_model_reference.domain.validation import unknown_value_findings, validate_records
    from horde_model_reference.exchange.incoming import read_path
    from horde_model_reference.formats.json_codec import encode

    try:
        incoming = read_path(path)
    except MalformedInput as error:
        return 0, [Finding(Severity.ERROR, error.reason, error.record, error.field, error.where or str(path))]
    findings = incoming.findings
    for category, taken in incoming.records.items():
        body = join_documents((encode(record.name), record.document.encode()) for record in taken)
        records, _ = validate_records(category, body)
        findings += [finding.at(str(incoming.files[category])) for finding in unknown_value_findings(records)]
    return incoming.total, findings


class Check(NamedTuple):
    """One check: how it came out (OK, WARN, FAIL), what was looked at, what was found, and what to do about it."""

    level: str
    name: str
    result: str
    advice: str = ""


def examine(session: Session) -> Iterator[Check]:
    """All checks that make sense here; where the settings cannot be read, only those."""
    try:
        stored = session.reads_store
    except SettingsInvalid as error:
        for name, reason in error.problems:
            yield Check(FAIL, "settings", f"{name}: {reason}", "correct this environment variable")
        return
    yield Check(OK, "settings", "valid; `hmr config --changed` shows what is not as by default")
    yield from _extras(session, stored)
    yield _data_root(session.data_root)
    checks = list(_checked("store", _store if stored else _primary, session))
    yield from checks
    if not stored or checks[0].level != FAIL:  # else there is nothing to read, which was said
        yield from _checked("reading", _reading, session)


def _checked(name: str, look: Callable[[Session], Iterator[Check]], session: Session) -> Iterator[Check]:
    try:
        yield from look(session)
    except HordeModelReferenceError as error:
        yield Check(FAIL, name, str(error), "see docs/operations.md; nothing was changed")


def _extras(session: Session, stored: bool) -> Iterator[Check]:
    database = session.settings.database_url
    needed = "postgres" if database and not database.get_secret_value().startswith("sqlite") else "store"
    for extra, packages in _EXTRAS.items():
        absent = ", ".join(package for package in packages if find_spec(package) is None)
        if absent:
            advice = f"pip install 'horde_model_reference[{extra}]'"
            yield Check(FAIL if stored and extra == needed else WARN, f"extra {extra}", f"without {absent}", advice)
        else:
            yield Check(OK, f"extra {extra}", "installed")


def _data_root(root: Path) -> Check:
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        advice = "give this user the right to write there, or choose another by AIWORKER_CACHE_HOME or --root"
        return Check(FAIL, "data root", f"{existing} is no folder that can be written", advice)
    return Check(OK, "data root", f"{root} " + ("can be written" if existing == root else "will be created"))


def _store(session: Session) -> Iterator[Check]:
    store = session.store()
    from horde_model_reference.stores.schema import SCHEMA_VERSION

    head, records = store.head(), sum(store.counts().values())
    if not head and session.loss:
        yield Check(FAIL, "store", f"{store.url}: {session.loss}", "see docs/operations.md; nothing was changed")
        return
    yield Check(OK, "store", f"{store.url}: {records} records, revision {head}, schema {SCHEMA_VERSION}")
    if faults := store.verify():
        result = f"{len(faults)} faults, the first at revision {faults[0][0]}: {faults[0][1]}"
        yield Check(FAIL, "chain", result, "`hmr verify` lists all; restore the last backup that verifies")
    else:
        yield Check(OK, "chain", f"{head} revisions are whole and lead to the records")
    yield _mirror(session)


def _mirror(session: Session) -> Check:
    from horde_model_reference.domain.categories import get_category_descriptor
    from horde_model_reference.exchange.exporting import v2_file

    if not session.settings.mirror_enabled:
        return Check(OK, "mirror", "turned off by MIRROR_ENABLED")
    store, behind = session.store(), []
    for category in store.counts():
        kind = get_category_descriptor(category)
        path = session.data_root / kind.v2_filename(category)
        if not path.is_file() or path.read_bytes() != v2_file(store.entries(category)):
            behind.append(path.name)
        beside = ["legacy/" + kind.legacy_filename(category)] if kind.has_legacy_format else []
        beside.append(f"meta/v2/{category}_metadata.json")
        behind += [name for name in beside if not (session.data_root / name).is_file()]
    if behind:
        return Check(
            WARN, "mirror", f"behind: {', '.join(behind)}", "`hmr import`, `hmr serve` or the next change rewrites them"
        )
    return Check(OK, "mirror", f"the files in {session.data_root} are those of the store")


def _primary(session: Session) -> Iterator[Check]:
    from horde_model_reference.flow import Request
    from horde_model_reference.transport import HttpNetwork

    yield Check(OK, "store", "none; this machine reads what a REPLICA reads")
    url = (session.settings.primary_api_url or "").rstrip("/")
    if session.is_offline or not url:
        yield Check(OK, "PRIMARY", "not asked: offline" if url else "none is set")
        return
    try:
        with closing(HttpNetwork()) as network:
            answer = network.send(Request(f"{url}/heartbeat", deadline=_HEARTBEAT_SECONDS)).status
    except SourceUnavailable as error:
        advice = "check the network, or set HORDE_MODEL_REFERENCE_PRIMARY_API_URL"
        yield Check(WARN, "PRIMARY", str(error), advice)
    else:
        level, advice = (OK, "") if answer == 200 else (WARN, "check the address")
        yield Check(level, "PRIMARY", f"{url}/heartbeat answers {answer}", advice)


def _reading(session: Session) -> Iterator[Check]:
    records = sum(map(len, session.all_records().values()))
    held = session.parts.reference.status()
    aside = sum(len(each.set_aside) for each in held)
    if aside:
        yield Check(WARN, "reading", f"{records} records, {aside} set aside", "`hmr validate` says why")
    elif not records:
        yield Check(WARN, "reading", "there are no records", "hmr import PATH, or hmr import --starter")
    else:
        sources = ", ".join(dict.fromkeys(each.source for each in held if each.records))
        yield Check(OK, "reading", f"{records} records from {sources}")
