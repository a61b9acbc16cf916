"""The files of a model: legacy `config.files` and `config.download` against the one list `config.download` of v2.

Legacy keeps hashes with the files and URLs with the downloads, names both by file name, and lists configuration files
(yaml) that v2 does not know. Writing back changes the rows that the change is about and leaves all others in place.
"""

from __future__ import annotations

import re
from copy import deepcopy
from urllib.parse import urlsplit

from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.names import require_relative_file
from horde_model_reference.errors import UnsafeName
from horde_model_reference.formats.legacy_fields import Notes, as_text, object_or_none

__all__ = ["NO_FILES", "UNKNOWN_HASH", "merge_config", "read_config"]

UNKNOWN_HASH = "FIXME"
"""What stands in `sha256sum` while nobody has computed it."""
NO_FILES: JsonObject = {"download": []}

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_KNOWN_KEYS = {"files", "download", "embedded_component_hashes"}
_SLOW_HOST = "civitai"
_OPTIONAL = (("content_hash", "content_hash"), ("file_purpose", "file_type"))
_FILE_FIELDS = (("sha256sum", "sha256sum"), *_OPTIONAL)


def read_config(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """The v2 `config`. A file name that would leave its folder, and a download of an unlisted file, are errors."""
    config = object_or_none(value, place, notes)
    if not config:
        notes.warning(place, "is missing, so no file of this model is known")
        return deepcopy(NO_FILES)
    for key in config.keys() - _KNOWN_KEYS:
        notes.warning(f"{place}.{key}", "is not known and not kept in v2")
    entries: dict[str, JsonObject] = {}
    for at, file in _rows(config, "files", place, notes):
        path = _file_name(file.get("path"), f"{at}.path", notes)
        if path and not _is_configuration(path):
            if path in entries:
                notes.warning(at, f"{path} is listed before; this one counts")
            entries[path] = _read_file(path, file, at, notes)
    listed = {str(file.get("path")) for _, file in _rows(config, "files")}
    for at, download in _rows(config, "download", place, notes):
        _read_download(download, at, entries, listed, notes)
    for name, entry in entries.items():
        if not entry["file_url"]:
            notes.warning(place, f"{name} has no URL")
    hashes = object_or_none(config.get("embedded_component_hashes"), f"{place}.embedded_component_hashes", notes)
    read: JsonObject = {"download": [*entries.values()]}
    return read if hashes is None else {**read, "embedded_component_hashes": hashes}


def merge_config(old: JsonValue, before: JsonValue, after: JsonValue) -> JsonValue:
    """The legacy `config` in which what differs between two v2 configs is written, and all else is as it was."""
    config = old if isinstance(old, dict) else {}
    known, wanted = _by_name(before), _by_name(after)
    sources = _sources(known, wanted)
    files = {row.get("path"): row for _, row in _rows(config, "files")}
    downloads = {row.get("file_name"): row for _, row in _rows(config, "download")}
    new_files, new_downloads = [], []
    for name, entry in wanted.items():
        source = sources.get(name)
        was = known[source] if source else {}
        new_files.append((source, _changed(files.get(source, {}), {"path": name}, was, entry, _FILE_FIELDS)))
        url, row = entry.get("file_url") or "", downloads.get(source)
        if row is not None and url == (was.get("file_url") or ""):
            new_downloads.append((source, {**row, "file_name": name}))
        elif row is not None or url:
            row = row or {"file_name": name, "file_path": ""}
            new_downloads.append((source, {**row, "file_name": name, "file_url": url}))
    order = {name: position for position, name in enumerate(downloads)}
    new_downloads.sort(key=lambda pair: order.get(pair[0], len(order)))
    merged: JsonObject = {
        **config,
        "files": _laid_out(config, "files", "path", known, new_files),
        "download": _laid_out(config, "download", "file_name", known, new_downloads),
    }
    pair = ("embedded_component_hashes", "embedded_component_hashes")
    return _changed(merged, {}, _as_object(before), _as_object(after), (pair,))


def _read_file(path: str, file: JsonObject, at: str, notes: Notes) -> JsonObject:
    sha256 = as_text(file.get("sha256sum"), f"{at}.sha256sum", notes) or UNKNOWN_HASH
    if not _SHA256.match(sha256):
        problem = (
            "is not known" if sha256 == UNKNOWN_HASH else f"is no SHA-256 in hexadecimal ({len(sha256)} characters)"
        )
        notes.warning(f"{at}.sha256sum", problem)
    entry: JsonObject = {"file_name": path, "file_url": "", "sha256sum": sha256}
    for ours, theirs in _OPTIONAL:
        value = as_text(file.get(theirs), f"{at}.{theirs}", notes)
        if value is not None:
            entry[ours] = value
    return entry | {"known_slow_download": False}


def _read_download(row: JsonObject, at: str, entries: dict[str, JsonObject], listed: set[str], notes: Notes) -> None:
    name = as_text(row.get("file_name"), f"{at}.file_name", notes)
    url = as_text(row.get("file_url"), f"{at}.file_url", notes) or ""
    if row.get("file_path"):
        notes.warning(f"{at}.file_path", "is set; nothing reads it")
    if name not in entries:
        if name not in listed or not name:
            notes.error(f"{at}.file_name", f"unknown download entry: config.files lists no file {name!r}")
        return
    host = _host(url, f"{at}.file_url", notes)
    entries[name] |= {"file_url": url, "known_slow_download": _SLOW_HOST in host.split(".")}


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


def _is_configuration(path: str) -> bool:
    return "yaml" in path.lower()


def _rows(config: JsonObject, key: str, place: str = "", notes: Notes | None = None) -> list[tuple[str, JsonObject]]:
    value = config.get(key)
    if not isinstance(value, list):
        if value is not None and notes:
            notes.wrong_kind(f"{place}.{key}", "a list", value)
        return []
    rows = []
    for position, row in enumerate(value):
        if isinstance(row, dict):
            rows.append((f"{place}.{key}[{position}]", row))
        elif notes:
            notes.wrong_kind(f"{place}.{key}[{position}]", "an object", row)
    return rows


def _as_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _by_name(config: JsonValue) -> dict[str, JsonObject]:
    return {str(row.get("file_name")): row for _, row in _rows(_as_object(config), "download")}


def _sources(known: dict[str, JsonObject], wanted: dict[str, JsonObject]) -> dict[str, str]:
    """Which file of before each file of after was: the one of that name, else a vanished one with the same hash."""
    renamed = {str(row.get("sha256sum")): name for name, row in known.items() if name not in wanted}
    renamed.pop(UNKNOWN_HASH, None)
    same = {name: name for name in wanted if name in known}
    moved = ((name, renamed.pop(str(row.get("sha256sum")), None)) for name, row in wanted.items() if name not in known)
    return same | {name: source for name, source in moved if source}


def _changed(
    row: JsonObject, base: JsonObject, was: JsonObject, now: JsonObject, pairs: tuple[tuple[str, str], ...]
) -> JsonObject:
    result = {**row, **base}
    for ours, theirs in pairs:
        if was.get(ours) != now.get(ours):
            result[theirs] = now.get(ours)
            if result[theirs] is None:
                del result[theirs]
    return result


def _laid_out(
    config: JsonObject, key: str, name_key: str, known: dict[str, JsonObject], new: list[tuple[str | None, JsonObject]]
) -> list[JsonValue]:
    """The rows of `new` in the places of those that they replace, the rest at the end; rows v2 does not know stay."""
    free = {source for source, _ in new if source}
    waiting = [row for _, row in new]
    rows: list[JsonValue] = []
    for _, row in _rows(config, key):
        name = row.get(name_key)
        if name not in known:
            rows.append(row)
        elif name in free:
            free.remove(str(name))
            rows.append(waiting.pop(0))
    return rows + waiting
