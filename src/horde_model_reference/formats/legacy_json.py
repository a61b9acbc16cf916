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
from dataclasses import dataclass, replace
from typing import cast

from horde_model_reference.domain.categories import MODEL_REFERENCE_CATEGORY as _C
from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue
from horde_model_reference.domain.records import normalize_scheduler_requirements
from horde_model_reference.domain.vocabulary import CONTROLNET_STYLES, IMAGE_BASELINES, MODEL_STYLES, Vocabulary
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats import legacy_fields
from horde_model_reference.formats.json_codec import kind_of
from horde_model_reference.formats.legacy_config import NO_FILES, merge_config, read_config
from horde_model_reference.formats.legacy_fields import Field, Layout, LegacyFormat, Notes, Read

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

    def write(self, entries: Mapping[str, JsonObject]) -> bytes:
        """The file as the image repository has it: indented by four, ASCII, a newline at the end."""
        return json.dumps(dict(entries), indent=4).encode() + b"\n"

    def layout(self, category: Category, /) -> Layout:
        if category == _C.image_generation:
            return _IMAGE
        known_as = _TYPES.get(category, str(category))
        return (*_COMMON, replace(_TYPE, read=lambda *_: None, default=known_as), *_OWN.get(category, ()))


# -- the file


@dataclass(frozen=True)
class _Doubled:
    """Stands for a value whose key is given more than once."""

    value: object


def _parsed(data: bytes, where: str) -> dict[str, object]:
    text = legacy_fields.decoded_text(data, where=where)
    try:
        root = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise MalformedInput(f"not valid JSON: {error}", where=where) from None
    except RecursionError:
        raise MalformedInput("not usable JSON: nested too deeply", where=where) from None
    if not isinstance(root, dict):
        raise MalformedInput(f"the root must be an object of entries by name, not {kind_of(root)}", where=where)
    return root


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


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


# -- the entries


def _metadata(value: JsonValue, place: str, notes: Notes) -> JsonObject | None:
    metadata = legacy_fields.as_object(value, place, notes)
    return None if metadata is None else {"schema_version": "1.0.0", **metadata}


def _lasting_metadata(value: JsonValue) -> JsonValue:
    """Metadata without the times that a PRIMARY stamps: those are no change that anybody made to the record."""
    if not isinstance(value, dict):
        return value
    return {**_METADATA, **{key: each for key, each in value.items() if key not in ("created_at", "updated_at")}}


def _known(word: str | None, vocabulary: Vocabulary, kind: str, place: str, notes: Notes) -> str | None:
    if word is not None and word not in vocabulary:
        notes.warning(place, f"{word!r} is not a known {kind}")
    return word


def _baseline(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    if value is None:
        notes.error(place, "is missing")
    baseline = legacy_fields.as_text(value, place, notes)
    return _known(_BASELINES.get(baseline or "", baseline), IMAGE_BASELINES, "baseline", place, notes)


def _word_of(vocabulary: Vocabulary, kind: str) -> Read:
    def read(value: JsonValue, place: str, notes: Notes) -> JsonValue:
        text = legacy_fields.as_text(value, place, notes)
        return _known(None if text is None else text.strip(), vocabulary, kind, place, notes)

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


def _requirements(value: JsonValue, place: str, notes: Notes) -> JsonValue:
    return cast("JsonValue", normalize_scheduler_requirements(legacy_fields.option_values(value, place, notes)))


_FIRST: Layout = (Field("name", legacy_fields.model_name), Field("description"), Field("version"))
_METADATA_FIELD = Field("metadata", _metadata, default=_METADATA, essence=_lasting_metadata)
_CONFIG = Field("config", read_config, merge_config, NO_FILES, writes_default=True)
_TYPE = Field("", _checkpoint, default="ckpt", writes_default=True, legacy=("type",))
_LICENSING = Field("licensing", legacy_fields.as_object)
_IMAGE: Layout = (
    *_FIRST,
    _METADATA_FIELD,
    _CONFIG,
    _TYPE,
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
    replace(_METADATA_FIELD, read=lambda *given: _metadata(*given) or dict(_METADATA)),
    _CONFIG,
    _LICENSING,
)
_OWN: dict[Category, Layout] = {
    _C.controlnet: (Field("controlnet_style", _word_of(CONTROLNET_STYLES, "control type"), legacy=("type", "style")),),
    _C.clip: (Field("pretrained_name"),),
}
_TYPES: dict[Category, str] = {_C.codeformer: "CodeFormers", _C.miscellaneous: "layer_diffuse"}
