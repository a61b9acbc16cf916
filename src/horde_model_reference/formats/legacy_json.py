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
from functools import cache
from typing import cast

from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as _C
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.vocabulary import CONTROLNET_STYLES, IMAGE_BASELINES, MODEL_STYLES, Vocabulary
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats.json_codec import kind_of
from horde_model_reference.formats.legacy_config import NO_FILES, merge_config, read_config
from horde_model_reference.formats.legacy_fields import (
    Field,
    Layout,
    LegacyFormat,
    Notes,
    Read,
    as_object,
    as_text,
    decoded_text,
    model_name,
    of_kind,
    option_values,
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


class LegacyJson(LegacyFormat):
    """Reads and writes the files of every category but text; which fields an entry has is a table by category."""

    def read(self, data: bytes, *, where: str = "") -> tuple[dict[str, JsonObject], list[Finding]]:
        """Key -> entry as written, and what is wrong with the file. Raises `MalformedInput` if nothing can be read."""
        entries: dict[str, JsonObject] = {}
        findings: list[Finding] = []
        for key, value in _parsed(data, where).items():
            notes = Notes(_shown(key), where)
            _sound(key, "", notes)
            entry = _checked(value, "", notes)
            if not isinstance(entry, dict) and not notes.failed:
                notes.wrong_kind("", "an object", entry)
            elif isinstance(entry, dict) and not notes.failed:
                entries[key] = entry
            findings += notes.findings
        return entries, findings

    def write(self, entries: Mapping[str, JsonObject]) -> bytes:
        """The file as the image repository has it: indented by four, ASCII, a newline at the end."""
        return json.dumps(dict(entries), indent=4).encode() + b"\n"

    def layout(self, category: Category, /) -> Layout:
        """What images have, or what all others have and what is the category's own."""
        return _IMAGE if category == _C.image_generation else _layout(category)


# -- the file


@dataclass(frozen=True)
class _Remark:
    """Stands for a value of which something is to be said."""

    value: object
    reason: str
    severity: Severity


def _parsed(data: bytes, where: str) -> dict[str, object]:
    text = decoded_text(data, where=where)
    try:
        root = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise MalformedInput(f"not valid JSON: {error}", where=where) from None
    except RecursionError:
        raise MalformedInput("not usable JSON: nested too deeply", where=where) from None
    if not isinstance(root, dict):
        raise MalformedInput(f"the root must be an object of entries by name, not {kind_of(root)}", where=where)
    return root


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    times = Counter(key for key, _ in pairs)
    said = ("is given more than once; the last one counts", Severity.WARNING)
    return {key: _Remark(value, *said) if times[key] > 1 else value for key, value in plain.items()}


def _integer(digits: str) -> int | _Remark:
    if len(digits) <= _MAX_DIGITS:
        return int(digits)
    return _Remark(None, f"is an integer of {len(digits)} digits, which nobody can mean", Severity.ERROR)


def _checked(value: object, place: str, notes: Notes, depth: int = 0) -> JsonValue:
    """A copy of plain dicts, lists and scalars; an error for each value that JSON does not have."""
    while isinstance(value, _Remark):
        notes.error(place, value.reason, value.severity)
        value = value.value
    if depth > _MAX_DEPTH:
        notes.error(place, f"is nested more than {_MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        inner = f"{place}." if place else ""
        return {
            _sound(key, place, notes): _checked(item, inner + _shown(key), notes, depth + 1)
            for key, item in value.items()
        }
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


# -- the entries


def _metadata(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    metadata = as_object(value, place, notes)
    return None if metadata is None else {"schema_version": "1.0.0", **metadata}


def _lasting_metadata(value: JsonValue) -> JsonValue:
    """Metadata without the times that a PRIMARY stamps: those are no change that anybody made to the record."""
    if not isinstance(value, dict):
        return value
    return {**_METADATA, **{key: each for key, each in value.items() if key not in ("created_at", "updated_at")}}


def _baseline(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    if value is None:
        notes.error(place, "is missing")
    baseline = as_text(value, place, notes)
    canonical = _BASELINES.get(baseline or "", baseline)
    if canonical is not None and canonical not in IMAGE_BASELINES:
        notes.warning(place, f"{canonical!r} is not a known baseline")
    return canonical


def _word_of(vocabulary: Vocabulary, kind: str) -> Read:
    def read(value: JsonValue, place: str, notes: Notes) -> JsonValue:
        text = as_text(value, place, notes)
        word = None if text is None else text.strip()
        if word is not None and word not in vocabulary:
            notes.warning(place, f"{word!r} is not a known {kind}")
        return word

    return read


def _checkpoint(value: JsonValue, place: str, notes: Notes) -> None:
    if as_text(value, place, notes) not in ("ckpt", None):
        notes.warning(place, f"is {value!r}, and 'ckpt' everywhere else")


_bool = of_kind(bool, "true or false")
_whole_number = of_kind(int, "a whole number")
_list = of_kind(list, "a list of strings")


def _texts(value: JsonValue, place: str, notes: Notes) -> list[JsonValue]:
    texts = _list(value, place, notes) or []
    for position, item in enumerate(texts):
        if not isinstance(item, str):
            notes.wrong_kind(f"{place}[{position}]", "a string", item)
    return [*texts]


def _requirements(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    """As written, but for the old flag `karras`, which names a scheduler."""
    options = option_values(value, place, notes)
    if options is None or "karras" not in options:
        return options
    kept: JsonObject = {name: option for name, option in options.items() if name != "karras"}
    karras = options["karras"]
    return {"schedulers": ["karras" if karras else "normal"], **kept} if isinstance(karras, bool) else kept


_FIRST: Layout = (Field("name", model_name), Field("description"), Field("version"))
_CONFIG = Field("config", read_config, merge_config, NO_FILES, writes_default=True)
_LICENSING = Field("licensing", as_object)
_IMAGE: Layout = (
    *_FIRST,
    Field("metadata", _metadata, default=_METADATA, essence=_lasting_metadata),
    _CONFIG,
    Field("", _checkpoint, default="ckpt", writes_default=True, legacy=("type",)),
    _LICENSING,
    Field("size_on_disk_bytes", _whole_number),
    Field("inpainting", lambda *given: _bool(*given) or None, default=False, writes_default=True),
    Field("baseline", _baseline, lambda _old, _before, after: _BASELINES_BACK.get(str(after), after)),
    Field("optimization"),
    Field("tags", lambda *given: [str(tag).strip() for tag in _texts(*given)], default=[], writes_default=True),
    Field("showcases", _texts, default=[], writes_default=True),
    Field("min_bridge_version", _whole_number),
    Field("trigger", _texts, default=[], writes_default=True),
    Field("homepage"),
    Field("nsfw", lambda *given: _bool(*given) or False, default=False, writes_default=True),
    Field("style", _word_of(MODEL_STYLES, "style")),
    Field("requirements", _requirements),
)
_COMMON: Layout = (
    *_FIRST,
    Field(
        "metadata", lambda *given: _metadata(*given) or dict(_METADATA), default=_METADATA, essence=_lasting_metadata
    ),
    _CONFIG,
    _LICENSING,
)
_OWN: dict[Category, Layout] = {
    _C.controlnet: (Field("controlnet_style", _word_of(CONTROLNET_STYLES, "control type"), legacy=("type", "style")),),
    _C.clip: (Field("pretrained_name"),),
}
_TYPES: dict[Category, str] = {_C.codeformer: "CodeFormers", _C.miscellaneous: "layer_diffuse"}


@cache
def _layout(category: Category) -> Layout:
    known_as = _TYPES.get(category, str(category))
    kind = Field("", lambda *_: None, default=known_as, writes_default=True, legacy=("type",))
    return (*_COMMON, kind, *_OWN.get(category, ()))
