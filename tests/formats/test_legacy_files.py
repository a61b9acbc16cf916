"""Reading and writing whole legacy files: bad input costs as little as possible, good input is kept as written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.findings import Finding, JsonObject, Severity
from horde_model_reference.errors import MalformedInput, UnknownCategory
from horde_model_reference.formats.legacy import COLUMNS, LEGACY_CSV, LegacyFormat, legacy_format
from horde_model_reference.formats.legacy_json import LEGACY_JSON

GOOD = b'"good": {"name": "good"}'
HEADER = b"name,parameters_bn,settings\r\n"

REFUSED_JSON = {
    "empty": b"",
    "only a byte order mark": b"\xef\xbb\xbf",
    "truncated": b'{"a": {"name": "a"',
    "not UTF-8": b'{"a": {"name": "\xff"}}',
    "a list": b"[]",
    "a string": b'"a"',
    "a number beyond measure": b"NaN",
    "100,000 levels": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "two roots": b"{} {}",
}
REFUSED_CSV = {
    "empty": b"",
    "blank": b"\r\n \r\n",
    "not UTF-8": b"name\r\n\xff\r\n",
    "JSON": b'{"a": {}}',
    "no name column": b"title,url\r\na,b\r\n",
    "a column twice": b"name,url,url\r\na,b,c\r\n",
    "a header that is no row": b'"name"x,url\r\na,b\r\n',
}
SET_ASIDE = {
    "a list": (b"[]", "", "not a list"),
    "a string": (b'"x"', "", "not a string"),
    "null": (b"null", "", "not null"),
    "NaN": (b'{"size": NaN}', "size", "NaN"),
    "infinite": (b'{"size": [1e999]}', "size[0]", "too large"),
    "5,000 digits": (b'{"size": ' + b"9" * 5_000 + b"}", "size", "too large"),
    "100 levels": (b'{"deep": ' + b"[" * 100 + b"]" * 100 + b"}", "deep" + "[0]" * 64, "64 levels"),
    "half a surrogate pair": (b'{"style": "\\ud800"}', "style", "surrogate"),
    "half a surrogate pair in a key": (b'{"\\ud800": 1}', "", "surrogate"),
    "bare NaN": (b"NaN", "", "NaN"),
}


def errors(findings: list[Finding]) -> list[tuple[str, str, str]]:
    """(record, field, reason) of the errors."""
    return [(f.record, f.field, f.reason) for f in findings if f.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("form", "data"),
    [(LEGACY_JSON, data) for data in REFUSED_JSON.values()] + [(LEGACY_CSV, data) for data in REFUSED_CSV.values()],
    ids=[f"JSON: {name}" for name in REFUSED_JSON] + [f"CSV: {name}" for name in REFUSED_CSV],
)
def test_a_file_that_is_none_is_refused_by_name(form: LegacyFormat, data: bytes) -> None:
    """Nothing can be read from it, so it is an error that names the file."""
    with pytest.raises(MalformedInput) as caught:
        form.read(data, "legacy/f")
    assert caught.value.where == "legacy/f"


@pytest.mark.parametrize(("entry", "field", "reason"), SET_ASIDE.values(), ids=SET_ASIDE)
def test_an_entry_that_is_none_costs_itself_alone(entry: bytes, field: str, reason: str) -> None:
    """The others are served, and the finding names file, record and field."""
    entries, findings = LEGACY_JSON.read(b'{"bad": ' + entry + b", " + GOOD + b"}", "f.json")
    assert entries == {"good": {"name": "good"}}
    [(record, place, text)] = errors(findings)
    assert (record, place) == ("bad", field)
    assert reason in text
    assert all(finding.file == "f.json" for finding in findings)


def test_an_entry_whose_name_is_no_text_is_set_aside() -> None:
    """Half a surrogate pair in the name: the finding shows it escaped, so that it can be printed."""
    entries, findings = LEGACY_JSON.read(b'{"a\\udc00": {}, ' + GOOD + b"}", "")
    assert list(entries) == ["good"]
    assert findings[0].record == "a\\udc00"


def test_the_last_of_two_entries_counts_at_the_place_of_the_first() -> None:
    """As JSON readers do it, but said aloud; a doubled field inside an entry too, down to any depth."""
    data = b'{"a": {"v": 1}, "b": {"c": {"x": 1, "x": 2, "\\u0001": 3}}, "a": {"v": 2}}'
    entries, findings = LEGACY_JSON.read(data, "")
    assert list(entries.items()) == [("a", {"v": 2}), ("b", {"c": {"x": 2, "\x01": 3}})]
    assert [(f.severity, f.record, f.field) for f in findings] == [
        (Severity.WARNING, "a", ""),
        (Severity.WARNING, "b", "c.x"),
    ]
    assert type(entries["b"]["c"]) is dict


def test_byte_order_mark_crlf_and_ten_megabytes_are_fine_in_json() -> None:
    """What editors do, and what a long description is."""
    long = "x" * 10_000_000
    entries, findings = LEGACY_JSON.read(b'\xef\xbb\xbf{\r\n"a": {"description":\r\n"' + long.encode() + b'"}}\r\n', "")
    assert entries == {"a": {"description": long}}
    assert not findings


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,a\\u0d8\n1eN.-', max_size=60).map(str.encode))
def test_json_reading_raises_malformed_input_or_nothing(data: bytes) -> None:
    """Whatever the bytes are; and what could be read is written and read again the same."""
    _stable(LEGACY_JSON, data)


@given(
    st.binary(max_size=200)
    | st.text(alphabet='",\r\nab {}1\0', max_size=60).map(lambda rows: HEADER + rows.encode())
    | st.lists(st.tuples(st.text(), st.text()), max_size=4).map(
        lambda rows: (
            LEGACY_CSV.write({str(n): {"name": a, "url": b} for n, (a, b) in enumerate(rows)})
            if all(_encodable(a + b) for a, b in rows)
            else b""
        )
    )
)
def test_csv_reading_raises_malformed_input_or_nothing(data: bytes) -> None:
    """Whatever the bytes are; and what could be read is written and read again the same."""
    _stable(LEGACY_CSV, data)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _stable(form: LegacyFormat, data: bytes) -> None:
    try:
        entries, _ = form.read(data, "")
    except MalformedInput:
        return
    again, findings = form.read(form.write(entries), "")
    assert (again == entries and not findings) or not entries


def test_json_is_written_as_the_repository_has_it() -> None:
    """Four spaces, ASCII, a newline at the end."""
    assert LEGACY_JSON.write({"é": {"n": [1]}}) == (
        b'{\n    "\\u00e9": {\n        "n": [\n            1\n        ]\n    }\n}\n'
    )


ROWS = {
    "too few cells": (b"cut,7", "2 cells, expected 3"),
    "too many cells": (b"a,7,,x", "4 cells, expected 3"),
    "a blank name": (b" ,7,", "the name is blank"),
    "a quote that is never closed": (b'"bad,7,', "no row of CSV"),
    "text after a quoted cell": (b'bad,"7"x,', "no row of CSV"),
    "a cell beyond the limit": (b"bad,7," + b"x" * 10_000_000, "no row of CSV"),
}


@pytest.mark.parametrize(("row", "reason"), ROWS.values(), ids=ROWS)
def test_a_row_that_is_none_costs_itself_alone(row: bytes, reason: str) -> None:
    """Rows before and after it are served; the finding names the line, and no record: nobody knows which it was."""
    data = HEADER + b"first,1,\r\n" + row + b"\r\n\r\nlast,2,\r\n"
    entries, findings = LEGACY_CSV.read(data, "models.csv")
    assert list(entries) == ["first", "last"]
    [finding] = findings
    assert (finding.file, finding.record, finding.field) == ("models.csv", "", "line 3")
    assert reason in finding.reason


def test_cells_are_kept_verbatim() -> None:
    """Spaces, quotes, line ends and NUL inside cells; the key is the stripped name."""
    data = b'\xef\xbb\xbfname,url,mine\n" a/b ","x ""y""\r\nz",\0\n'
    entries, findings = LEGACY_CSV.read(data, "")
    assert entries == {"a/b": {"name": " a/b ", "url": 'x "y"\r\nz', "mine": "\0"}}
    assert not findings


def test_the_last_of_two_rows_counts_at_the_place_of_the_first() -> None:
    """As the text repository has it four times."""
    entries, findings = LEGACY_CSV.read(HEADER + b"a,1,\nb,1,\na,2,\n", "")
    assert [(name, entry["parameters_bn"]) for name, entry in entries.items()] == [("a", "2"), ("b", "1")]
    assert [str(finding) for finding in findings] == ["a: is listed more than once; line 4 counts"]


def test_csv_is_written_as_the_repository_has_it() -> None:
    """Known columns first, in their order, then what else the rows have; cells that a row lacks stay empty."""
    entries: dict[str, JsonObject] = {"a": {"mine": "1", "name": "a,b"}, "c": {"name": "c", "url": "u"}}
    assert LEGACY_CSV.write(entries) == b'name,url,mine\r\n"a,b",,1\r\nc,u,\r\n'
    assert LEGACY_CSV.write({}) == ",".join(COLUMNS).encode() + b"\r\n"


def test_each_category_has_its_format_or_none() -> None:
    """Text is CSV, the other published ones JSON; the rest exists in v2 only."""
    assert legacy_format("text_generation") is LEGACY_CSV
    assert legacy_format("blip") is LEGACY_JSON
    for category in ("lora", "video_generation", "nonsense"):
        with pytest.raises(UnknownCategory):
            legacy_format(category)


def test_a_deeply_nested_entry_is_plain_json_for_others() -> None:
    """What is read can be written by the standard library: no stand-in is left in it."""
    entries, _ = LEGACY_JSON.read(b'{"a": {"b": [{"c": [1, 2.5, true, null, "x"]}]}}', "")
    assert json.loads(json.dumps(entries)) == {"a": {"b": [{"c": [1, 2.5, True, None, "x"]}]}}


def test_many_quotes_that_nobody_closes_cost_no_square() -> None:
    """Each row once ran to the end of the file before it failed: 100,000 lines took seven minutes."""
    entries, findings = LEGACY_CSV.read(HEADER + b'a","\n' * 5_000 + b"last,2,\n", "")
    assert not entries.keys() - {"last"}
    assert len(findings) >= 4_000
    long = HEADER + b'a,1,"' + b"x\n" * 150 + b'"\n'
    assert list(LEGACY_CSV.read(long, "")[0]) == ["a"]
