"""The legacy JSON format of the image repository: one object of entries a category.

Its files are edited by hand, so each entry is judged by itself: what JSON proper does not have (NaN, a number beyond
all measure, half a surrogate pair) or does not mean (a key given twice) costs that entry alone.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlsplit

from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as _C
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue
from horde_model_reference.domain.names import require_relative_file
from horde_model_reference.domain.records import normalize_scheduler_requirements
from horde_model_reference.domain.vocabulary import CONTROLNET_STYLES, IMAGE_BASELINES, MODEL_STYLES, Vocabulary
from horde_model_reference.errors import MalformedInput, UnsafeName
from horde_model_reference.formats import legacy_fields
from horde_model_reference.formats.json_codec import kind_of
from horde_model_reference.formats.legacy_fields import Field, Layout, LegacyFormat, Notes, Read, option_values

__all__ = ["LEGACY_JSON"]

_MAX_DEPTH = 64
_MAX_DIGITS = 300
_SURROGATE = re.compile("[\ud800-\udfff]")
_BASELINES = {"stable diffusion 1": "stable_diffusion_1", "stable diffusion 2": "stable_diffusion_2_768"}
_BASELINES |= {"stable diffusion 2 512": "stable_diffusion_2_512"}
_BASELINES_BACK = {canonical: legacy for legacy, canonical in _BASELINES.items()}
_METADATA: JsonObject = {"schema_version": "2.1.0"}
_UNKNOWN_HASH = "FIXME"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_HASHES = "embedded_component_hashes"
_SLOW_HOST = "civitai"
_OPTIONAL = {"content_hash": "content_hash", "file_purpose": "file_type"}


def _read(data: bytes, where: str) -> tuple[dict[str, JsonObject], list[Finding]]:
    entries: dict[str, JsonObject] = {}
    findings: list[Finding] = []
    for key, value in _parsed(data, where).items():
        notes = Notes(_shown(key), where)
        _sound(key, "", notes)
        entry = _checked(value, "", notes)
        if isinstance(entry, dict) and not notes.failed:
            entries[key] = entry
        elif not notes.failed:
            notes.wrong_kind("", "an object", entry)
        findings += notes.findings
    return entries, findings


@dataclass(frozen=True)
class _Doubled:
    """Stands for a value whose key is given more than once."""

    value: object


def _parsed(data: bytes, where: str) -> dict[str, object]:
    text = legacy_fields.decoded_text(data, where=where)
    try:
        root = json.loads(
            text, object_pairs_hook=_object, parse_int=lambda n: int(n) if len(n) <= _MAX_DIGITS else math.inf
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise MalformedInput(f"not valid JSON: {error}", where=where) from None
    if not isinstance(root, dict):
        raise MalformedInput(f"the root must be an object of entries by name, not {kind_of(root)}", where=where)
    return root


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    times = Counter(key for key, _ in pairs)
    return {key: _Doubled(value) if times[key] > 1 else value for key, value in plain.items()}


def _checked(value: object, place: str, notes: Notes, depth: int = 0) -> JsonValue:
    """A copy of plain dicts, lists and scalars; an error for each value that JSON does not have."""
    if isinstance(value, _Doubled):
        notes.warning(place, "is given more than once; the last one counts")
        value = value.value
    if depth > _MAX_DEPTH:
        notes.error(place, f"is nested more than {_MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        inner = f"{place}." if place else ""
        checked = ((_sound(key, place, notes), inner + _shown(key), item) for key, item in value.items())
        return {key: _checked(item, path, notes, depth + 1) for key, path, item in checked}
    elif isinstance(value, list):
        return [_checked(item, f"{place}[{position}]", notes, depth + 1) for position, item in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        notes.error(place, "is NaN, which JSON does not have" if math.isnan(value) else "is too large to be kept")
    else:
        return _sound(value, place, notes) if isinstance(value, str) else cast("JsonValue", value)
    return None


def _sound(text: str, place: str, notes: Notes) -> str:
    if _SURROGATE.search(text):
        notes.error(place, "holds a lone surrogate, which is no character")
    return text


def _shown(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()


# -- the files of a model: legacy keeps hashes with `config.files` and URLs with `config.download`, names both by file
# name, and lists files that v2 does not know (yaml); v2 has one list, `config.download`. Writing back changes the rows
# that the change is about and leaves all others in place.


@dataclass(frozen=True)
class _Part:
    """One of the two legacy lists: its key, what names a row, v2 field -> its field, and an empty row."""

    key: str
    name: str
    fields: dict[str, str]
    blank: JsonObject


_FILES = _Part("files", "path", {"sha256sum": "sha256sum", **_OPTIONAL}, {})
_DOWNLOADS = _Part("download", "file_name", {"file_url": "file_url"}, {"file_name": "", "file_path": ""})


def _read_config(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """The v2 `config`. A file name that would leave its folder, and a download of an unlisted file, are errors."""
    config = legacy_fields.as_object(value, place, notes)
    if not config:
        notes.warning(place, "is missing, so no file of this model is known")
        return deepcopy(legacy_fields.NO_FILES)
    for key in config:
        if key not in (_FILES.key, _DOWNLOADS.key, _HASHES):
            notes.warning(f"{place}.{key}", "is not known and not kept in v2")
    entries: dict[str, JsonObject] = {}
    for at, file in _rows(config, _FILES.key, place, notes):
        if entry := _read_file(file, at, notes):
            path = str(entry["file_name"])
            if path in entries:
                notes.warning(at, f"{path} is listed before; this one counts")
            entries[path] = entry
    listed = {str(file.get(_FILES.name)) for file in _objects(config.get(_FILES.key))}
    for at, download in _rows(config, _DOWNLOADS.key, place, notes):
        _read_download(download, at, entries, listed, notes)
    for name, entry in entries.items():
        if not entry["file_url"]:
            notes.warning(place, f"{name} has no URL")
    hashes = legacy_fields.as_object(config.get(_HASHES), f"{place}.{_HASHES}", notes)
    return {"download": [*entries.values()], **({} if hashes is None else {_HASHES: hashes})}


def _rows(config: JsonObject, key: str, place: str, notes: Notes) -> Iterator[tuple[str, JsonObject]]:
    rows = legacy_fields.of_kind(list, "a list")(config.get(key), f"{place}.{key}", notes)
    for position, row in enumerate(rows or []):
        at = f"{place}.{key}[{position}]"
        if isinstance(row, dict):
            yield at, row
        else:
            notes.wrong_kind(at, "an object", row)


def _text(row: JsonObject, key: str, at: str, notes: Notes) -> str | None:
    return legacy_fields.as_text(row.get(key), f"{at}.{key}", notes)


def _read_file(file: JsonObject, at: str, notes: Notes) -> JsonObject | None:
    """The v2 file, its URL not known yet; None for one that v2 does not list."""
    path = _text(file, "path", at, notes)
    if not path:
        notes.warning(f"{at}.path", "is missing, so the file is left out")
        return None
    try:
        require_relative_file(path)
    except UnsafeName as error:
        notes.error(f"{at}.path", str(error))
        return None
    if "yaml" in path.lower():
        return None
    sha256 = _text(file, "sha256sum", at, notes) or _UNKNOWN_HASH
    if sha256 == _UNKNOWN_HASH:
        notes.warning(f"{at}.sha256sum", "is not known")
    elif not _SHA256.match(sha256):
        notes.warning(f"{at}.sha256sum", f"is no SHA-256 in hexadecimal ({len(sha256)} characters)")
    given = ((ours, _text(file, theirs, at, notes)) for ours, theirs in _OPTIONAL.items())
    optional: JsonObject = {ours: value for ours, value in given if value is not None}
    return {"file_name": path, "file_url": "", "sha256sum": sha256, **optional, "known_slow_download": False}


def _read_download(row: JsonObject, at: str, entries: dict[str, JsonObject], listed: set[str], notes: Notes) -> None:
    name, url = _text(row, "file_name", at, notes), _text(row, "file_url", at, notes) or ""
    if row.get("file_path"):
        notes.warning(f"{at}.file_path", "is set; nothing reads it")
    if name in entries:
        host = ""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            if url and (parts.scheme not in ("http", "https") or not host):
                notes.warning(f"{at}.file_url", "is no http or https address")
        except ValueError as error:
            notes.error(f"{at}.file_url", f"is no URL: {error}")
        entries[name] |= {"file_url": url, "known_slow_download": _SLOW_HOST in host.split(".")}
    elif not name or name not in listed:
        notes.error(f"{at}.file_name", f"unknown download entry: config.files lists no file {name!r}")


def _merge_config(old: JsonValue, before: JsonValue, after: JsonValue) -> JsonValue:
    """The legacy `config` in which what differs between two v2 configs is written, and all else is as it was."""
    config, was, now = (value if isinstance(value, dict) else {} for value in (old, before, after))
    known, wanted = _by_name(was), _by_name(now)
    vanished = {str(row.get("sha256sum")): name for name, row in known.items() if name not in wanted}
    vanished.pop(_UNKNOWN_HASH, None)
    # What each file was before: that of its name, else a vanished one with its hash, else none.
    sources = {n: n if n in known else vanished.pop(str(row.get("sha256sum")), "") for n, row in wanted.items()}
    for part in (_FILES, _DOWNLOADS):
        rows = _merged_rows(part, _objects(config.get(part.key)), known, [(sources[n], wanted[n]) for n in wanted])
        config = {**config, part.key: rows}
    return _changed(config, was, now, {_HASHES: _HASHES})


def _merged_rows(
    part: _Part, rows: list[JsonObject], known: dict[str, JsonObject], wanted: list[tuple[str, JsonObject]]
) -> list[JsonValue]:
    """New rows take the places of those that they replace, the rest stand at the end; rows v2 does not know stay."""
    old = {str(row.get(part.name)): row for row in rows}
    new: list[tuple[str, JsonObject]] = []
    for source, entry in wanted:
        if source in old or part is _FILES or entry["file_url"]:
            row = {**old.get(source, part.blank), part.name: entry["file_name"]}
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


def _objects(value: JsonValue) -> list[JsonObject]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _by_name(config: JsonObject) -> dict[str, JsonObject]:
    rows = _objects(config.get("download"))
    return {str(row.get("file_name")): {**row, "file_url": row.get("file_url") or ""} for row in rows}


def _changed(row: JsonObject, was: JsonObject, now: JsonObject, fields: dict[str, str]) -> JsonObject:
    changes = {theirs: now.get(ours) for ours, theirs in fields.items() if was.get(ours) != now.get(ours)}
    return {key: value for key, value in {**row, **changes}.items() if value is not None or key not in changes}


def _metadata(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    metadata = legacy_fields.as_object(value, place, notes)
    return None if metadata is None else {"schema_version": "1.0.0", **metadata}


def _lasting_metadata(value: JsonValue) -> JsonValue:
    """Metadata without the times that a PRIMARY stamps: those are no change that anybody made to the record."""
    if not isinstance(value, dict):
        return value
    return {**_METADATA, **{key: each for key, each in value.items() if key not in ("created_at", "updated_at")}}


def _word_of(
    vocabulary: Vocabulary, kind: str, *, meaning: Callable[[str], str] = str.strip, must: bool = False
) -> Read:
    def read(value: JsonValue, place: str, notes: Notes) -> JsonValue:
        text = legacy_fields.as_text(value, place, notes)
        if text is not None and (text := meaning(text)) not in vocabulary:
            notes.warning(place, f"{text!r} is not a known {kind}")
        elif value is None and must:
            notes.error(place, "is missing")
        return text

    return read


def _checkpoint(value: JsonValue, place: str, notes: Notes) -> None:
    if legacy_fields.as_text(value, place, notes) not in ("ckpt", None):
        notes.warning(place, f"is {value!r}, and 'ckpt' everywhere else")


_bool = legacy_fields.of_kind(bool, "true or false")
_whole_number = legacy_fields.of_kind(int, "a whole number")
_list = legacy_fields.of_kind(list, "a list of strings")


def _texts(value: JsonValue, place: str, notes: Notes) -> list[JsonValue]:
    texts = _list(value, place, notes) or []
    for position, item in enumerate(texts):
        if not isinstance(item, str):
            notes.wrong_kind(f"{place}[{position}]", "a string", item)
    return [*texts]


_TYPE = Field("", _checkpoint, default="ckpt", writes_default=True, legacy=("type",))
_FIRST: Layout = (
    Field("name", legacy_fields.model_name),
    Field("description"),
    Field("version"),
    Field("metadata", _metadata, default=_METADATA, essence=_lasting_metadata),
    Field("config", _read_config, _merge_config, legacy_fields.NO_FILES, writes_default=True),
    Field("licensing", legacy_fields.as_object),
    _TYPE,
)
_BASELINE = _word_of(IMAGE_BASELINES, "baseline", meaning=lambda text: _BASELINES.get(text, text), must=True)
_IMAGE: Layout = (
    *_FIRST,
    Field("size_on_disk_bytes", _whole_number),
    Field("inpainting", lambda *given: _bool(*given) or None, default=False, writes_default=True),
    Field("baseline", _BASELINE, lambda _old, _before, after: _BASELINES_BACK.get(str(after), after)),
    Field("optimization"),
    Field("tags", lambda *given: [str(tag).strip() for tag in _texts(*given)], default=[], writes_default=True),
    Field("showcases", _texts, default=[], writes_default=True),
    Field("min_bridge_version", _whole_number),
    Field("trigger", _texts, default=[], writes_default=True),
    Field("homepage"),
    Field("nsfw", lambda *given: _bool(*given) or False, default=False, writes_default=True),
    Field("style", _word_of(MODEL_STYLES, "style")),
    Field("requirements", lambda *given: cast("JsonValue", normalize_scheduler_requirements(option_values(*given)))),
)
_OWN: dict[Category, Layout] = {
    _C.controlnet: (Field("controlnet_style", _word_of(CONTROLNET_STYLES, "control type"), legacy=("type", "style")),),
    _C.clip: (Field("pretrained_name"),),
}
_TYPES: dict[Category, str] = {_C.codeformer: "CodeFormers", _C.miscellaneous: "layer_diffuse"}


def _layout(category: Category) -> Layout:
    if category == _C.image_generation:
        return _IMAGE
    *first, metadata, config, licensing, kind = _FIRST
    metadata = replace(metadata, read=lambda *given: _metadata(*given) or dict(_METADATA))
    kind = replace(kind, read=lambda *_: None, default=_TYPES.get(category, str(category)))
    return (*first, metadata, config, licensing, kind, *_OWN.get(category, ()))


LEGACY_JSON = LegacyFormat(_read, lambda entries: json.dumps(dict(entries), indent=4).encode() + b"\n", _layout)
"""The format of every category but text, written as the image repository has it: indented by four, and in ASCII."""
