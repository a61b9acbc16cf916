"""JSON in and out, strictly.

Reading refuses what `json` lets through (NaN, Infinity, lone surrogates, a byte that is not UTF-8) and what would hurt
the process (100,000 levels of nesting, integers of thousands of digits), always as `MalformedInput`.
"""

from __future__ import annotations

from typing import cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from horde_model_reference.domain.findings import JsonObject, JsonValue, not_finite
from horde_model_reference.errors import MalformedInput

__all__ = ["decode", "decode_object", "encode", "encode_pretty", "kind_of"]

_BOM = b"\xef\xbb\xbf"


def decode(data: bytes | str, *, where: str = "") -> JsonValue:
    """The JSON value in `data`; a UTF-8 byte order mark is skipped. Raises `MalformedInput`."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if not raw.strip():
        raise MalformedInput("empty, expected JSON", where=where)
    try:
        value = cast("JsonValue", from_json(raw.removeprefix(_BOM), allow_inf_nan=False, cache_strings="keys"))
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"not valid JSON: {error}", where=where) from None
    if b"Infinity" in to_json(value) and next(not_finite(value), None) is not None:  # written faster than walked
        raise MalformedInput("a number is too large to be kept", where=where)
    return value


def decode_object(data: bytes | str, *, where: str = "") -> JsonObject:
    """Like `decode`, for a document whose root must be an object."""
    value = decode(data, where=where)
    if not isinstance(value, dict):
        raise MalformedInput(f"the root must be an object, not {kind_of(value)}", where=where)
    return value


def encode(value: object, *, where: str = "") -> bytes:
    """Compact UTF-8 JSON, keys in the order they have: the form that is stored, hashed and served."""
    try:
        body = to_json(value)
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)  # refuses them where they are numbers, not words
        return body
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise MalformedInput(f"cannot be written as JSON: {error}", where=where) from None


def encode_pretty(value: object, *, indent: int = 2) -> bytes:
    """The same for people and for files that other programs read: indented, with a newline at the end."""
    return to_json(value, indent=indent) + b"\n"


def kind_of(value: object) -> str:
    """What JSON calls such a value, with its article, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number"}
    return names.get(type(value), "null" if value is None else "a number")
