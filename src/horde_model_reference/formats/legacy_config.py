"""The files of a model: legacy `config.files` and `config.download` against the one list `config.download` of v2.

Legacy keeps hashes with the files and URLs with the downloads, names both by file name, and lists configuration files
(yaml) that v2 does not know. Writing back changes the rows that the change is about and leaves all others in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from urllib.parse import urlsplit

from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.names import require_relative_file
from horde_model_reference.errors import UnsafeName
from horde_model_reference.formats.legacy_fields import Notes, as_object, as_text, of_kind

__all__ = ["NO_FILES", "UNKNOWN_HASH", "merge_config", "read_config"]

UNKNOWN_HASH = "FIXME"
"""What stands in `sha256sum` while nobody has computed it."""
NO_FILES: JsonObject = {"download": []}

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_HASHES = "embedded_component_hashes"
_SLOW_HOST = "civitai"
_OPTIONAL = {"content_hash": "content_hash", "file_purpose": "file_type"}


@dataclass(frozen=True)
class _Part:
    """One of the two legacy lists: its key, what names a row, v2 field -> its field, and an empty row."""

    key: str
    name: str
    fields: dict[str, str]
    blank: JsonObject


_FILES = _Part("files", "path", {"sha256sum": "sha256sum", **_OPTIONAL}, {})
_DOWNLOADS = _Part("download", "file_name", {"file_url": "file_url"}, {"file_name": "", "file_path": ""})
_list = of_kind(list, "a list")


def read_config(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """The v2 `config`. A file name that would leave its folder, and a download of an unlisted file, are errors."""
    config = as_object(value, place, notes)
    if not config:
        notes.warning(place, "is missing, so no file of this model is known")
        return deepcopy(NO_FILES)
    for key in config:
        if key not in (_FILES.key, _DOWNLOADS.key, _HASHES):
            notes.warning(f"{place}.{key}", "is not known and not kept in v2")
    entries: dict[str, JsonObject] = {}
    for at, file in _rows(config, _FILES.key, place, notes):
        path = _file_name(file.get(_FILES.name), f"{at}.path", notes)
        if path in entries:
            notes.warning(at, f"{path} is listed before; this one counts")
        if path and "yaml" not in path.lower():
            entries[path] = _read_file(path, file, at, notes)
    listed = {str(file.get(_FILES.name)) for file in _objects(config.get(_FILES.key))}
    for at, download in _rows(config, _DOWNLOADS.key, place, notes):
        _read_download(download, at, entries, listed, notes)
    for name, entry in entries.items():
        if not entry["file_url"]:
            notes.warning(place, f"{name} has no URL")
    hashes = as_object(config.get(_HASHES), f"{place}.{_HASHES}", notes)
    return {"download": [*entries.values()], **({} if hashes is None else {_HASHES: hashes})}


def _rows(config: JsonObject, key: str, place: str, notes: Notes) -> Iterator[tuple[str, JsonObject]]:
    for position, row in enumerate(_list(config.get(key), f"{place}.{key}", notes) or []):
        at = f"{place}.{key}[{position}]"
        if isinstance(row, dict):
            yield at, row
        else:
            notes.wrong_kind(at, "an object", row)


def _file_name(value: JsonValue, place: str, notes: Notes) -> str | None:
    name = as_text(value, place, notes)
    if not name:
        notes.warning(place, "is missing, so the file is left out")
        return None
    try:
        return require_relative_file(name)
    except UnsafeName as error:
        notes.error(place, str(error))
        return None


def _read_file(path: str, file: JsonObject, at: str, notes: Notes) -> JsonObject:
    sha256 = as_text(file.get("sha256sum"), f"{at}.sha256sum", notes) or UNKNOWN_HASH
    if sha256 == UNKNOWN_HASH:
        notes.warning(f"{at}.sha256sum", "is not known")
    elif not _SHA256.match(sha256):
        notes.warning(f"{at}.sha256sum", f"is no SHA-256 in hexadecimal ({len(sha256)} characters)")
    given = {ours: as_text(file.get(theirs), f"{at}.{theirs}", notes) for ours, theirs in _OPTIONAL.items()}
    optional: JsonObject = {ours: value for ours, value in given.items() if value is not None}
    return {"file_name": path, "file_url": "", "sha256sum": sha256, **optional, "known_slow_download": False}


def _read_download(row: JsonObject, at: str, entries: dict[str, JsonObject], listed: set[str], notes: Notes) -> None:
    name = as_text(row.get("file_name"), f"{at}.file_name", notes)
    url = as_text(row.get("file_url"), f"{at}.file_url", notes) or ""
    if row.get("file_path"):
        notes.warning(f"{at}.file_path", "is set; nothing reads it")
    if name in entries:
        slow = _SLOW_HOST in _host(url, f"{at}.file_url", notes).split(".")
        entries[name] |= {"file_url": url, "known_slow_download": slow}
    elif not name or name not in listed:
        notes.error(f"{at}.file_name", f"unknown download entry: config.files lists no file {name!r}")


def _host(url: str, place: str, notes: Notes) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        notes.error(place, f"is no URL: {error}")
        return ""
    if url and (parts.scheme not in ("http", "https") or not host):
        notes.warning(place, "is no http or https address")
    return host


def merge_config(old: JsonValue, before: JsonValue, after: JsonValue) -> JsonValue:
    """The legacy `config` in which what differs between two v2 configs is written, and all else is as it was."""
    config, was, now = (value if isinstance(value, dict) else {} for value in (old, before, after))
    known, wanted = _by_name(was), _by_name(now)
    merged = {
        part.key: _merged_rows(part, _objects(config.get(part.key)), known, wanted) for part in (_FILES, _DOWNLOADS)
    }
    return _changed({**config, **merged}, was, now, {_HASHES: _HASHES})


def _merged_rows(
    part: _Part, rows: list[JsonObject], known: dict[str, JsonObject], wanted: dict[str, JsonObject]
) -> list[JsonValue]:
    """New rows take the places of those that they replace, the rest stand at the end; rows v2 does not know stay."""
    sources = _sources(known, wanted)
    old = {str(row.get(part.name)): row for row in rows}
    new: list[tuple[str, JsonObject]] = []
    for name, entry in wanted.items():
        source = sources.get(name, "")
        if source in old or part is _FILES or entry["file_url"]:
            row = {**old.get(source, part.blank), part.name: name}
            new.append((source, _changed(row, known.get(source, {}), entry, part.fields)))
    if part is _DOWNLOADS:  # v2 lists files; the order of the downloads is legacy's own
        order = list(old)
        new.sort(key=lambda pair: order.index(pair[0]) if pair[0] in old else len(order))
    replaced = {source for source, _ in new}
    waiting = iter([row for _, row in new])
    laid_out: list[JsonValue] = []
    for row in rows:
        name = str(row.get(part.name))
        if name not in known:
            laid_out.append(row)
        elif name in replaced:
            replaced.remove(name)
            laid_out.append(next(waiting))
    return [*laid_out, *waiting]


def _sources(known: dict[str, JsonObject], wanted: dict[str, JsonObject]) -> dict[str, str]:
    """Which file of before each file of after was: the one of that name, else a vanished one with the same hash."""
    vanished = {str(row.get("sha256sum")): name for name, row in known.items() if name not in wanted}
    vanished.pop(UNKNOWN_HASH, None)
    sources = ((n, n if n in known else vanished.pop(str(row.get("sha256sum")), "")) for n, row in wanted.items())
    return {name: source for name, source in sources if source}


def _objects(value: JsonValue) -> list[JsonObject]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _by_name(config: JsonObject) -> dict[str, JsonObject]:
    rows = _objects(config.get("download"))
    return {str(row.get("file_name")): {**row, "file_url": row.get("file_url") or ""} for row in rows}


def _changed(row: JsonObject, was: JsonObject, now: JsonObject, fields: dict[str, str]) -> JsonObject:
    changes = {theirs: now.get(ours) for ours, theirs in fields.items() if was.get(ours) != now.get(ours)}
    return {key: value for key, value in {**row, **changes}.items() if value is not None or key not in changes}
