"""The legacy JSON format of the image repository: one object of entries a category.

Its files are edited by hand, so reading looks at each entry by itself: what JSON proper does not have (NaN, a number
beyond all measure, half a surrogate pair) or does not mean (a key given twice) costs that entry alone. Only a file that
is no JSON object at all is refused whole.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as _C
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue
from horde_model_reference.domain.vocabulary import CONTROLNET_STYLES, IMAGE_BASELINES, MODEL_STYLES, Vocabulary
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats.json_codec import kind_of
from horde_model_reference.formats.legacy_config import NO_FILES, merge_config, read_config
from horde_model_reference.formats.legacy_fields import (
    Field,
    Layout,
    Notes,
    Read,
    as_text,
    decoded_text,
    merged_entry,
    model_name,
    object_or_none,
    option_values,
    read_document,
)

__all__ = ["LegacyJson"]

_MAX_DEPTH = 64
_MAX_DIGITS = 300
_SURROGATE = re.compile("[\ud800-\udfff]")
_BASELINES = {
    "stable diffusion 1": "stable_diffusion_1",
    "stable diffusion 2": "stable_diffusion_2_768",
    "stable diffusion 2 512": "stable_diffusion_2_512",
}
_BASELINES_BACK = {canonical: legacy for legacy, canonical in _BASELINES.items()}
_METADATA: JsonObject = {"schema_version": "2.1.0"}
_KARRAS: dict[JsonValue, str] = {True: "karras", False: "normal"}


@dataclass(frozen=True)
class LegacyJson:
    """Reads and writes the files of every category but text; which fields an entry has is a table by category."""

    def read(self, data: bytes, *, where: str = "") -> tuple[dict[str, JsonObject], list[Finding]]:
        """Key -> entry as written, and what is wrong with the file. Raises `MalformedInput` if nothing can be read."""
        root = _parsed(data, where)
        entries: dict[str, JsonObject] = {}
        findings: list[Finding] = []
        for key, value in root.items():
            notes = Notes(_shown(key), where)
            if key in _keys_given_twice(root):
                notes.warning("", "is listed more than once; the last one counts")
            _sound(key, "", notes)
            entry = _checked(value, "", notes)
            if not isinstance(entry, dict) and not notes.failed:
                notes.wrong_kind("", "an object", entry)
            elif isinstance(entry, dict) and not notes.failed:
                entries[key] = entry
            findings += notes.findings
        return entries, findings

    def to_v2(self, category: Category, key: str, origin: JsonObject) -> tuple[JsonObject | None, list[Finding]]:
        """The v2 document of an entry; `None` where a finding says why it must be set aside."""
        notes = Notes(key)
        return read_document(category, _layout(category), origin, notes), notes.findings

    def from_v2(self, category: Category, key: str, document: JsonObject, origin: JsonObject | None) -> JsonObject:
        """The entry of a document: `origin`, with what the document says differently than `origin` did."""
        before = None if origin is None else self.to_v2(category, key, origin)[0]
        if origin is None or before is None:
            origin, before = {"name": key, "type": _TYPES.get(category, str(category))}, None
        return merged_entry(_layout(category), origin, before, document)

    def write(self, entries: Mapping[str, JsonObject]) -> bytes:
        """The file as the image repository has it: indented by four, ASCII, a newline at the end."""
        return json.dumps(dict(entries), indent=4).encode() + b"\n"


# -- the file


@dataclass(frozen=True)
class _Unusable:
    """Stands for a value that Python reads and JSON does not have."""

    reason: str


class _Doubled(dict[str, object]):
    """An object in whose source a key stood more than once."""

    keys_given_twice: tuple[str, ...] = ()


def _parsed(data: bytes, where: str) -> dict[str, object]:
    text = decoded_text(data, where=where)
    try:
        root = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_Unusable
        )
    except json.JSONDecodeError as error:
        raise MalformedInput(f"not valid JSON: {error}", where=where) from None
    except RecursionError:
        raise MalformedInput("not usable JSON: nested too deeply", where=where) from None
    if not isinstance(root, dict):
        kind = "a number" if isinstance(root, _Unusable) else kind_of(root)
        raise MalformedInput(f"the root must be an object of entries by name, not {kind}", where=where)
    return root


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = _Doubled(plain)
    doubled.keys_given_twice = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return doubled


def _integer(digits: str) -> int | _Unusable:
    return int(digits) if len(digits) <= _MAX_DIGITS else _Unusable(f"an integer of {len(digits)} digits")


def _float(digits: str) -> float | _Unusable:
    value = float(digits)
    return value if math.isfinite(value) else _Unusable("a number too large to be kept")


def _keys_given_twice(value: object) -> tuple[str, ...]:
    return value.keys_given_twice if isinstance(value, _Doubled) else ()


def _within(place: str, key: str) -> str:
    return f"{place}.{_shown(key)}" if place else _shown(key)


def _checked(value: object, place: str, notes: Notes, depth: int = 0) -> JsonValue:
    """A copy of plain dicts, lists and scalars; an error for each value that JSON does not have."""
    if depth > _MAX_DEPTH:
        notes.error(place, f"is nested more than {_MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        for key in _keys_given_twice(value):
            notes.warning(_within(place, key), "is given more than once; the last one counts")
        return {
            _sound(key, place, notes): _checked(item, _within(place, key), notes, depth + 1)
            for key, item in value.items()
        }
    elif isinstance(value, list):
        return [_checked(item, f"{place}[{position}]", notes, depth + 1) for position, item in enumerate(value)]
    elif isinstance(value, _Unusable):
        notes.error(place, f"is {value.reason}, which JSON cannot hold")
    elif isinstance(value, str):
        return _sound(value, place, notes)
    else:
        return cast("JsonValue", value)
    return None


def _sound(text: str, place: str, notes: Notes) -> str:
    if _SURROGATE.search(text):
        notes.error(place, "holds a lone surrogate, which is no character")
    return text


def _shown(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()


# -- the entries


def _metadata(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    metadata = object_or_none(value, place, notes)
    return None if metadata is None else {"schema_version": "1.0.0", **metadata}


def _metadata_or_default(value: JsonValue, place: str, notes: Notes) -> JsonObject:
    return _metadata(value, place, notes) or dict(_METADATA)


def _baseline(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    baseline = as_text(value, place, notes)
    if value is None:
        notes.error(place, "is missing")
    elif baseline is not None and baseline not in _BASELINES and baseline not in IMAGE_BASELINES:
        notes.warning(place, f"{baseline!r} is not a known baseline")
    return baseline and _BASELINES.get(baseline, baseline)


def _merge_baseline(_old: JsonValue, _before: JsonValue, after: JsonValue) -> JsonValue:
    return _BASELINES_BACK.get(after, after) if isinstance(after, str) else after


def _word_of(vocabulary: Vocabulary, kind: str) -> Read:
    def read(value: JsonValue, place: str, notes: Notes) -> JsonValue:
        word = as_text(value, place, notes)
        if word is None:
            return None
        if word.strip() not in vocabulary:
            notes.warning(place, f"{word.strip()!r} is not a known {kind}")
        return word.strip()

    return read


def _checkpoint(value: JsonValue, place: str, notes: Notes) -> None:
    if as_text(value, place, notes) not in ("ckpt", None):
        notes.warning(place, f"is {value!r}, and 'ckpt' everywhere else")


def _flag(value: JsonValue, place: str, notes: Notes) -> bool:
    if value is not None and not isinstance(value, bool):
        notes.wrong_kind(place, "true or false", value)
    return value is True


def _flag_if_set(value: JsonValue, place: str, notes: Notes) -> bool | None:
    return _flag(value, place, notes) or None


def _whole_number(value: JsonValue, place: str, notes: Notes) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    notes.wrong_kind(place, "a whole number", value)
    return None


def _texts(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    if value is None:
        return []
    if not isinstance(value, list):
        notes.wrong_kind(place, "a list of strings", value)
        return None
    for position, item in enumerate(value):
        if not isinstance(item, str):
            notes.wrong_kind(f"{place}[{position}]", "a string", item)
    return list(value)


def _tags(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    tags = _texts(value, place, notes)
    return [tag.strip() if isinstance(tag, str) else tag for tag in tags] if isinstance(tags, list) else None


def _requirements(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """As written, but for the old flag `karras`, which names a scheduler."""
    options = option_values(value, place, notes)
    if options is None or "karras" not in options:
        return options
    karras = options["karras"]
    kept: JsonObject = {name: option for name, option in options.items() if name != "karras"}
    return kept if not isinstance(karras, bool) else {"schedulers": [_KARRAS[karras]], **kept}


_NAME = Field("name", ("name",), model_name)
_DESCRIPTION = Field("description", ("description",), as_text)
_VERSION = Field("version", ("version",), as_text)
_CONFIG = Field("config", ("config",), read_config, merge_config, NO_FILES, writes_default=True)
_LICENSING = Field("licensing", ("licensing",), object_or_none)
_IMAGE: Layout = (
    _NAME,
    _DESCRIPTION,
    _VERSION,
    Field("metadata", ("metadata",), _metadata, default=_METADATA),
    _CONFIG,
    Field("", ("type",), _checkpoint),
    _LICENSING,
    Field("size_on_disk_bytes", ("size_on_disk_bytes",), _whole_number),
    Field("inpainting", ("inpainting",), _flag_if_set, default=False, writes_default=True),
    Field("baseline", ("baseline",), _baseline, _merge_baseline),
    Field("optimization", ("optimization",), as_text),
    Field("tags", ("tags",), _tags, default=[], writes_default=True),
    Field("showcases", ("showcases",), _texts, default=[], writes_default=True),
    Field("min_bridge_version", ("min_bridge_version",), _whole_number),
    Field("trigger", ("trigger",), _texts, default=[], writes_default=True),
    Field("homepage", ("homepage",), as_text),
    Field("nsfw", ("nsfw",), _flag, default=False, writes_default=True),
    Field("style", ("style",), _word_of(MODEL_STYLES, "style")),
    Field("requirements", ("requirements",), _requirements),
)
_COMMON: Layout = (
    _NAME,
    _DESCRIPTION,
    _VERSION,
    Field("metadata", ("metadata",), _metadata_or_default, default=_METADATA),
    _CONFIG,
    _LICENSING,
)
_OWN: dict[Category, Layout] = {
    _C.controlnet: (Field("controlnet_style", ("type", "style"), _word_of(CONTROLNET_STYLES, "control type")),),
    _C.clip: (Field("pretrained_name", ("pretrained_name",), as_text),),
}
_TYPES: dict[Category, str] = {
    _C.image_generation: "ckpt",
    _C.codeformer: "CodeFormers",
    _C.miscellaneous: "layer_diffuse",
}


def _layout(category: Category) -> Layout:
    return _IMAGE if category == _C.image_generation else _COMMON + _OWN.get(category, ())
