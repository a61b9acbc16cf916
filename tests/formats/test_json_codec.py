"""JSON in and out, strictly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.errors import MalformedInput
from horde_model_reference.formats.json_codec import decode, decode_object, encode, encode_pretty, kind_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)

REFUSED = {
    "empty": b"",
    "blank": b" \n",
    "truncated": b'{"a": ',
    "not UTF-8": b'{"a": "\xff"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[-Infinity]",
    "too large, in an object": b'{"a": 1e999}',
    "too large, in a list": b"[[1e999]]",
    "100,000 levels": b"[" * 100_000,
    "an integer of 5,000 digits": b"1" * 5_000,
    "half a surrogate pair": b'"\\ud800"',
    "two values": b"1 2",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_json_is_refused_by_name(data: bytes) -> None:
    """Each bad input is a MalformedInput that names the file, never another exception."""
    with pytest.raises(MalformedInput) as caught:
        decode(data, where="f.json")
    assert caught.value.where == "f.json"


def test_a_byte_order_mark_crlf_and_ten_megabytes_are_fine() -> None:
    """What editors and big descriptions do to a file does not make it wrong."""
    assert decode(b'\xef\xbb\xbf{"a":\r\n1e300}\r\n') == {"a": 1e300}
    assert decode('{"a": "' + "x" * 10_000_000 + '"}') == {"a": "x" * 10_000_000}


@pytest.mark.parametrize(
    ("data", "kind"),
    [("[]", "a list"), ('"x"', "a string"), ("1", "a number"), ("1.5", "a number"), ("true", "true"), ("null", "null")],
)
def test_a_document_must_be_an_object(data: str, kind: str) -> None:
    """The error says what the root is instead."""
    with pytest.raises(MalformedInput, match=kind):
        decode_object(data)


def test_an_object_is_read_as_one() -> None:
    """The good case, and what JSON calls it."""
    assert decode_object('{"a": [1]}') == {"a": [1]}
    assert kind_of({}) == "an object"


@given(JSON)
def test_what_is_written_reads_back(value: JsonValue) -> None:
    """Compact and pretty alike."""
    assert decode(encode(value)) == value
    assert decode(encode_pretty(value, indent=4)) == value


def test_what_json_cannot_hold_is_not_written() -> None:
    """An object that refers to itself, and half a surrogate pair, are the caller's error."""
    circle: list[object] = []
    circle.append(circle)
    for value in (circle, "\ud800"):
        with pytest.raises(MalformedInput):
            encode(value, where="x")


@pytest.mark.parametrize("number", [b"1" * 250 + b"e99", b"1e0400", b"-" + b"9" * 400 + b".0"])
def test_a_number_that_overflows_is_refused_however_it_is_written(number: bytes) -> None:
    """250 digits and `e99` once came through as infinity, and were stored as the word `Infinity`."""
    with pytest.raises(MalformedInput, match="too large"):
        decode(b'{"A": ' + number + b"}")


@pytest.mark.parametrize("value", [math.inf, {"a": [math.nan]}])
def test_a_number_that_is_not_finite_is_never_written(value: object) -> None:
    """The store would keep a document that nobody can read; as words they are fine."""
    with pytest.raises(MalformedInput):
        encode(value)
    assert encode(["NaN", "Infinity"]) == b'["NaN","Infinity"]'
