"""`config` and `doctor`: what is set, and is all of it well?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Annotated, NamedTuple, TypeAlias

from typer import Option

from horde_model_reference import errors
from horde_model_reference.cli.context import Session, categories
from horde_model_reference.cli.output import Table
from horde_model_reference.flow import NoNetwork, Request, run
from horde_model_reference.transport import HttpNetwork

__all__ = ["Check", "config", "doctor", "examine"]

OK, WARN, FAIL = "OK", "WARN", "FAIL"
_EXTRAS = {"store": ("sqlalchemy",), "postgres": ("sqlalchemy", "psycopg"), "service": ("fastapi", "uvicorn")}
_HEARTBEAT_SECONDS, _CLOCK_SECONDS = 5.0, 60.0
_NOTHING_CHANGED = "see docs/operations.md; nothing was changed"
_Outcome: TypeAlias = tuple[str, ...]
"""Level, result and, where there is something to do, advice."""


def config(
    session: Session,
    changed: Annotated[bool, Option("--changed", help="Only those that are not as by default.")] = False,
) -> None:
    """The settings in force and where each comes from. Secrets are masked."""
    from horde_model_reference.settings_report import describe_settings

    shown = [row for row in describe_settings(session.settings) if row.origin != "default" or not changed]
    cells = [(row.env, row.value, row.origin, row.status) for row in shown]
    Table(("setting", "value", "origin", "read_by"), cells).print(session.as_json, [asdict(row) for row in shown])


def doctor(session: Session) -> int:
    """Check settings, extras, data root, store and mirror, or PRIMARY, GitHub and cache, and reading.

    Each finding says what to do next. Exit code 1 where a check fails.
    """
    checks = list(examine(session))
    Table(("level", "check", "result", "next"), checks).print(session.as_json)
    return int(any(check.level == FAIL for check in checks))


class Check(NamedTuple):
    """How it came out (OK, WARN, FAIL), what was looked at, what was found, and what to do about it."""

    level: str
    name: str
    result: str
    advice: str = ""


def examine(session: Session) -> Iterator[Check]:
    """All checks that make sense here; those behind settings or a store that cannot be read are left out."""
    try:
        looks = _OF_A_STORE if session.reads_store else _OF_A_REPLICA
    except errors.SettingsInvalid as error:
        for name, reason in error.problems:
            yield Check(FAIL, "settings", f"{name}: {reason}", "correct this environment variable")
        return
    yield Check(OK, "settings", "valid; `hmr config --changed` shows what is not as by default")
    for extra, packages in _EXTRAS.items():
        name, absent = f"extra {extra}", ", ".join(package for package in packages if find_spec(package) is None)
        advice = f"pip install 'horde_model_reference[{extra}]'"
        yield Check(WARN, name, f"without {absent}", advice) if absent else Check(OK, name, "installed")
    for name, look in looks.items():
        try:
            level, *told = look(session)
        except errors.HordeModelReferenceError as error:
            level, *told = FAIL, str(error), _NOTHING_CHANGED
        yield Check(level, name, *told)
        if (level, name) == (FAIL, "store"):
            return


def _data_root(session: Session) -> _Outcome:
    root = session.data_root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return OK, f"{root} " + ("can be written" if existing == root else "will be created")
    advice = "give this user the right to write there, or choose another by AIWORKER_CACHE_HOME or --root"
    return FAIL, f"{existing} is no folder that can be written", advice


def _store(session: Session) -> _Outcome:
    store = session.store
    head, records = store.head(), sum(store.counts().values())
    if not head and session.loss:
        return FAIL, f"{store.url}: {session.loss}", _NOTHING_CHANGED
    if faults := store.verify():
        result = f"{store.url}: {len(faults)} faults, the first at revision {faults[0][0]}: {faults[0][1]}"
        return FAIL, result, "`hmr verify` lists all; restore the last backup that verifies"
    return OK, f"{store.url}: {records} records, revision {head}; the chain is whole and leads to the records"


def _mirror(session: Session) -> _Outcome:
    from horde_model_reference.exchange.exporting import Mirror

    if not session.settings.mirror_enabled:
        return OK, "turned off by MIRROR_ENABLED"
    root = session.data_root
    behind = ", ".join(str(path.relative_to(root)) for path, _ in Mirror(session.store, root).behind())
    if behind:
        return WARN, f"behind: {behind}", "`hmr import`, `hmr serve` or the next change rewrites them"
    return OK, f"the files in {root} are those of the store"


def _asked(url: str, advice: str) -> _Outcome:
    """How an address answers, and how far its clock is from ours, by which the age of what is read is told."""
    try:
        with closing(HttpNetwork()) as network:
            answer = network.begin(Request(url, deadline=_HEARTBEAT_SECONDS)).result()
    except errors.SourceUnavailable as error:
        return WARN, str(error), advice
    if answer.status in (429, 503):
        return WARN, f"{url} answers {answer.status}", "nothing: it is asked again later"
    if answer.status != 200 or answer.body.lstrip().startswith(b"<"):
        return WARN, f"{url} answers {answer.status}, " + ("a page of HTML" if answer.body else "nothing"), advice
    off = 0.0
    with suppress(ValueError, OverflowError):  # where it tells no time that can be understood
        off = time.time() - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    if abs(off) > _CLOCK_SECONDS:
        return WARN, f"{url} answers, but the clocks differ by {off:+.0f} s", "set this machine's clock"
    return OK, f"{url} answers"


def _primary(session: Session) -> _Outcome:
    settings, url = session.settings, (session.settings.primary_api_url or "").rstrip("/")
    if session.is_offline or not url:
        return OK, "not asked: offline" if url else "none is set"
    level, result, *advice = _asked(f"{url}/heartbeat", "check HORDE_MODEL_REFERENCE_PRIMARY_API_URL")
    if level != OK:
        return level, result, *advice
    feed, *_ = _asked(f"{url}/model_references/v2/changes?since=0&limit=1", "")
    followed = feed == OK and settings.follow_changes
    return OK, f"{result}; " + ("followed" if followed else f"polled every {settings.cache_ttl_seconds} s")


def _github(session: Session) -> _Outcome:
    settings = session.settings
    if session.is_offline or not settings.enable_github_fallback:
        return OK, "not asked: offline" if session.is_offline else "turned off by ENABLE_GITHUB_FALLBACK"
    return _asked(settings.image_github_repo.url_base_only + "clip.json", "reads fall back to the cache then")


def _cache(session: Session) -> _Outcome:
    from horde_model_reference.domain.snapshots import Snapshot
    from horde_model_reference.sources.base import Ask
    from horde_model_reference.sources.folder import FolderSource

    found = run(FolderSource(session.data_root).read(Ask(dict.fromkeys(categories()))), NoNetwork()).values()
    ages = [time.time() - each.checked for each in found if isinstance(each, Snapshot)]
    if damaged := [str(each) for each in found if isinstance(each, errors.SourceUnavailable) and not each.absent]:
        return WARN, "; ".join(damaged), "delete the file: it is fetched again"
    if not ages:
        return OK, "empty; the first read fills it"
    if min(ages) < -_CLOCK_SECONDS:
        result = f"{len(ages)} categories, some written {-min(ages):.0f} s in the future"
        return WARN, result, "set this machine's clock"
    return OK, f"{len(ages)} categories, the oldest known to be current {max(ages):.0f} s ago"


def _reading(session: Session) -> _Outcome:
    records = sum(map(len, session.all_records().values()))
    held = session.parts.reference.status()
    aside = sum(len(each.set_aside) for each in held)
    if faults := dict.fromkeys(each.fault for each in held if each.fault):
        return WARN, f"{records} records; {'; '.join(faults)}", "it goes on; docs/troubleshooting.md says more"
    if aside:
        return WARN, f"{records} records, {aside} set aside", "`hmr validate` says why"
    if not records:
        return WARN, "there are no records", "hmr import PATH, or hmr import --starter"
    return OK, f"{records} records from {', '.join(dict.fromkeys(each.source for each in held if each.records))}"


_OF_A_STORE = {"data root": _data_root, "store": _store, "mirror": _mirror, "reading": _reading}
_OF_A_REPLICA = {"data root": _data_root, "cache": _cache, "PRIMARY": _primary, "GitHub": _github, "reading": _reading}
