"""What changed between two versions of a record, in words that a reviewer can act on.

Fields are compared one by one; a missing one and a null say the same. Files are matched by name, then by hash: what
matters is whether a worker gets other bytes than before. A file that moved is harmless, other bytes at its URL are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from horde_model_reference.domain.findings import JsonObject, JsonValue

__all__ = ["Difference", "DifferenceKind", "RecordDifference", "compare_records", "differences", "host_of"]

_FACTS = ("size_bytes", "file_url", "file_name")
_SHOWN = 60
DifferenceKind = StrEnum("DifferenceKind", "ADDED REMOVED MODIFIED RENAMED")
"""What happened to a field, or to a record."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One change: `path` as in `config.download[model.ckpt]`, `words` what it means.

    `alarming` marks what nobody should publish without looking at the file: bytes that change under the same address,
    and files that can no longer be verified.
    """

    path: str
    kind: DifferenceKind
    before: JsonValue
    after: JsonValue
    words: str
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class RecordDifference:
    """One record that differs between two collections; `before_name` is what a renamed one was called."""

    name: str
    kind: DifferenceKind
    differences: tuple[Difference, ...]
    before_name: str = ""


def differences(before: JsonObject | None, after: JsonObject | None) -> list[Difference]:
    """Every change that leads from one document to the other, in the order of their fields; None is "no record"."""
    if before is not None and after is not None:
        return list(_of_objects(before, after, ""))
    kind = _kind(before, after)
    return [] if before is after else [Difference("", kind, before, after, f"record {kind}")]


def compare_records(before: Mapping[str, JsonObject], after: Mapping[str, JsonObject]) -> list[RecordDifference]:
    """The records that differ, by name. A record that is gone and one that is new with the same files is a renaming."""
    gone = _by_hashes({name: before[name] for name in before if name not in after})
    new = _by_hashes({name: after[name] for name in after if name not in before})
    renamed = {new[hashes]: gone[hashes] for hashes in gone if hashes in new}
    found = []
    for name in sorted({*before, *after} - set(renamed.values())):
        was = renamed.get(name, "")
        old, now = before.get(was or name), after.get(name)
        if (changes := differences(old, now)) or was:
            kind = DifferenceKind.RENAMED if was else _kind(old, now)
            found.append(RecordDifference(name, kind, tuple(changes), was))
    return found


def _by_hashes(records: Mapping[str, JsonObject]) -> dict[frozenset[str], str]:
    """The names of records by the hashes of their files, where those leave no doubt."""
    names: dict[frozenset[str], list[str]] = {}
    for name, record in records.items():
        config = record.get("config")
        files = _files(config.get("download")) if isinstance(config, dict) else {}
        names.setdefault(frozenset(map(_hash, files.values())) - {""}, []).append(name)
    return {hashes: found[0] for hashes, found in names.items() if hashes and len(found) == 1}


def _of_objects(before: JsonObject, after: JsonObject, path: str) -> Iterator[Difference]:
    for key in dict.fromkeys([*before, *after]):
        old, new, place = before.get(key), after.get(key), f"{path}.{key}" if path else key
        if place == "config.download" and isinstance(old or [], list) and isinstance(new or [], list):
            yield from _of_downloads(_files(old), _files(new))
        elif isinstance(old, dict) and isinstance(new, dict):
            yield from _of_objects(old, new, place)
        elif not _same(old, new):
            yield Difference(place, _kind(old, new), old, new, _words(place, old, new))


def _of_downloads(before: dict[str, JsonObject], after: dict[str, JsonObject]) -> Iterator[Difference]:
    # By the name, else by the hash; an empty name where there is none.
    by_hash = {_hash(file): name for name, file in after.items() if name not in before and _hash(file)}
    pairs = {name: name if name in after else by_hash.pop(_hash(file), "") for name, file in before.items()}
    taken = set(pairs.values())
    for old_name, new_name in [*pairs.items(), *(("", name) for name in after if name not in taken)]:
        old, new = before.get(old_name), after.get(new_name)
        path = f"config.download[{new_name or old_name}]"
        if old is None or new is None:
            yield Difference(path, _kind(old, new), old, new, f"file {_kind(old, new)}")
            continue
        changed = {fact for fact in _FACTS if not _same(old.get(fact), new.get(fact))}
        if changed or _hash(old) != _hash(new):
            yield Difference(path, DifferenceKind.MODIFIED, old, new, *_file_words(old, new, changed))
        was, now = ({key: file[key] for key in file if key not in (*_FACTS, "sha256sum")} for file in (old, new))
        yield from _of_objects(was, now, path)


def _file_words(old: JsonObject, new: JsonObject, changed: set[str]) -> tuple[str, bool]:
    """What became of a file, and whether it is alarming; `changed` are the facts that did, beside the hash."""
    had, has, moved = _hash(old), _hash(new), "file_url" in changed
    if had != has:
        size = " and size" if "size_bytes" in changed else ""
        if had and has and moved:
            return f"file replaced: hash{size} changed, and the URL with it", False
        if had and has:
            return f"file replaced under the same URL: hash{size} changed", True
        if had:
            return "hash removed: the file can no longer be verified", True
        return ("hash added, and the URL changed" if moved else "hash added"), False
    hosts = host_of(old.get("file_url")), host_of(new.get("file_url"))
    words = {
        "file_url": "URL changed" if hosts[0] == hosts[1] else f"URL host changed from {hosts[0]} to {hosts[1]}",
        "file_name": f"file renamed from {old.get('file_name')}",
        "size_bytes": f"size changed from {_brief(old.get('size_bytes'))} to {_brief(new.get('size_bytes'))}",
    }
    told = [words[fact] for fact in words if fact in changed]
    return ", ".join([*told, "hash unchanged" if had else "hash unknown"]), moved and not had


def _files(downloads: JsonValue) -> dict[str, JsonObject]:
    """The files by name; one whose name is there already, or missing, is told apart by its place."""
    found: dict[str, JsonObject] = {}
    for place, file in enumerate(downloads if isinstance(downloads, list) else []):
        document: JsonObject = file if isinstance(file, dict) else {"": file}
        name = str(document.get("file_name") or f"#{place}")
        while name in found:
            name += f"#{place}"
        found[name] = document
    return found


def _hash(file: JsonObject) -> str:
    """The hash in small letters, empty where none is known."""
    value = file.get("sha256sum")
    text = value.strip().lower() if isinstance(value, str) else ""
    return "" if text == "fixme" else text


def host_of(url: JsonValue) -> str:
    """The host (and port) of a URL, `none` where it has none or is no URL."""
    try:
        return urlsplit(str(url or "")).netloc.rpartition("@")[2] or "none"
    except ValueError:
        return "none"


def _kind(before: JsonValue, after: JsonValue) -> DifferenceKind:
    if before is None:
        return DifferenceKind.ADDED
    return DifferenceKind.REMOVED if after is None else DifferenceKind.MODIFIED


def _same(before: JsonValue, after: JsonValue) -> bool:
    """Equal as JSON: `true` is not 1, which Python thinks."""
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_same(value, after[key]) for key, value in before.items())
    return before == after and isinstance(before, bool) is isinstance(after, bool)


def _words(path: str, old: JsonValue, new: JsonValue) -> str:
    verb = _kind(old, new).replace("modified", "changed")
    if path == "nsfw" and (old is True) is not (new is True):
        return f"{'now' if new is True else 'no longer'} marked as not safe for work"
    if path != "description" and isinstance(old, list | None) and isinstance(new, list | None):
        had, has = ([_brief(item) for item in each or []] for each in (old, new))
        changes = {"added": [item for item in has if item not in had], "removed": [i for i in had if i not in has]}
        told = [f"{change} {', '.join(items)}" for change, items in changes.items() if items]
        return f"{path}: {'; '.join(told) or 'order or number of equal values changed'}"
    if path == "description" or isinstance(old, dict | list) or isinstance(new, dict | list):
        return f"{path} {verb}"
    if old is None or new is None:
        return f"{path} {verb}: {_brief(new if old is None else old)}"
    return f"{path} changed from {_brief(old)} to {_brief(new)}"


def _brief(value: JsonValue) -> str:
    text = (value or '""') if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = text.encode(errors="backslashreplace").decode()  # half a character, which nobody could be sent
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
