"""Single rows of models.csv, and the entries of db.json that they become."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.findings import Severity
from horde_model_reference.formats.legacy import LEGACY_CSV, v1_body

FORM = LEGACY_CSV


def convert(key: str = "acme/One-7B", **cells: Any) -> tuple[Any, list[str]]:
    """The document of a row and its findings."""
    document, findings = FORM.to_v2("text_generation", key, {"name": key, "parameters_bn": "7", **cells})
    assert (document is None) == any(finding.severity is Severity.ERROR for finding in findings)
    return document, [f"{finding.field}: {finding.reason}" for finding in findings]


def test_a_text_document_has_the_keys_of_the_contract_in_order() -> None:
    """Empty cells stay empty strings; what was not given is left out."""
    document, findings = convert()
    assert findings == []
    assert list(document.items()) == [
        ("record_type", "text_generation"),
        ("name", "acme/One-7B"),
        ("description", ""),
        ("version", ""),
        ("metadata", {"schema_version": "2.1.0"}),
        ("config", {"download": []}),
        ("model_classification", {"domain": "text", "purpose": "generation"}),
        ("baseline", ""),
        ("parameters", 7_000_000_000),
        ("nsfw", False),
        ("style", ""),
        ("display_name", ""),
        ("url", ""),
        ("tags", []),
        ("text_model_group", "One"),
    ]


@pytest.mark.parametrize(
    ("cell", "parameters"),
    [("8.03", 8_030_000_000), (" 12 ", 12_000_000_000), ("0.07", 70_000_000), ("1e-3", 1_000_000), ("1e3", 10**12)],
)
def test_parameters_are_exact(cell: str, parameters: int) -> None:
    """In floating point 8.03 billion is one short."""
    assert convert(parameters_bn=cell)[0]["parameters"] == parameters


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_parameters_come_back_as_written(billions: Any) -> None:
    """From number to cell and to the same number, without trailing zeros."""
    document, _ = convert(parameters_bn=f"{billions:f}")
    cell = FORM.from_v2("text_generation", "x", document, None)["parameters_bn"]
    assert convert(parameters_bn=cell)[0]["parameters"] == document["parameters"]
    assert not str(cell).endswith(".0")


@pytest.mark.parametrize("cell", ["seven", "NaN", "sNaN", "Infinity", "-1", "1e7", "1e999999999", "9" * 50])
def test_a_number_that_is_none_sets_the_row_aside(cell: str) -> None:
    """The sister implementation lost the whole file to NaN."""
    document, findings = convert(parameters_bn=cell)
    assert document is None
    assert findings[0].startswith("parameters_bn: must be a number of billions, not ")


def test_no_number_is_zero_with_a_warning() -> None:
    """Blank, or no such column."""
    for cell in (" ", None):
        document, findings = convert(parameters_bn=cell)
        assert (document["parameters"], findings) == (0, ["parameters_bn: is blank; 0 is assumed"])


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("tags", " a, b,,a ", ["a", "b", "a"]),
        ("nsfw", " TRUE ", True),
        ("nsfw", "yes", False),
        ("instruct_format", " Gemma", " Gemma"),
        ("instruct_format", "", None),
        ("settings", "{}", {}),
        ("settings", '{"a": [1, "x"], "b": true}', {"a": [1, "x"], "b": True}),
        ("settings", " ", None),
        ("context_window", '{"native": 4096}', {"native": 4096}),
        ("version", " 2", " 2"),
    ],
)
def test_a_cell_means_this_in_v2(column: str, cell: str, value: object) -> None:
    """Only names, numbers, tags and flags are stripped."""
    document, findings = convert(**{column: cell})
    assert document.get(column) == value
    assert findings == []


@pytest.mark.parametrize(
    ("column", "cell", "finding"),
    [
        ("settings", "{", "settings: not valid JSON"),
        ("settings", "[]", "settings: must be an object, not a list"),
        ("settings", "null", "settings: must be an object, not null"),
        ("settings", '{"a": null}', "settings.a: must be a scalar or a list of scalars, not null"),
        ("settings", '{"a": NaN}', "settings: not valid JSON"),
        ("settings", "[" * 100_000, "settings: not valid JSON"),
        ("capabilities", '"x"', "capabilities: must be an object, not a string"),
    ],
)
def test_a_json_cell_that_is_none_sets_the_row_aside(column: str, cell: str, finding: str) -> None:
    """The finding names the column."""
    document, findings = convert(**{column: cell})
    assert document is None
    assert findings[0].startswith(finding)


@pytest.mark.parametrize("key", ["aphrodite/acme/One", "koboldcpp/One", "a\0b", "a\u202eb", "a\\b"])
def test_a_name_that_cannot_be_used_sets_the_row_aside(key: str) -> None:
    """A backend's prefix is no part of a name; a name must not deceive its reader."""
    document, findings = convert(key)
    assert document is None
    assert findings[0].startswith("name: ")


def test_a_document_without_original_becomes_a_row_of_the_file() -> None:
    """All columns of the file, and others only where they say something."""
    row = FORM.from_v2("text_generation", "a/b", {"name": "a/b", "parameters": 1_500_000_000, "nsfw": True}, None)
    assert row == {
        "name": "a/b",
        "parameters_bn": "1.5",
        "display_name": "",
        "url": "",
        "baseline": "",
        "description": "",
        "style": "",
        "tags": "",
        "instruct_format": "",
        "settings": "",
        "nsfw": "true",
    }
    assert FORM.from_v2("text_generation", "a/b", {"name": "a/b"}, {"name": "a/b", "parameters_bn": "x"})["url"] == ""


def body(*names: str, include_group: bool = False, **fields: Any) -> Any:
    """The v1 body of documents of these names with these fields."""
    documents = {name: convert(name)[0] | fields for name in names}
    return v1_body("text_generation", documents, {}, include_group=include_group)


def test_a_model_has_three_entries_in_v1() -> None:
    """By itself and under the names that workers announce; defaults are spelt out."""
    rendered = body("acme/One-7B_x")
    assert list(rendered) == ["acme/One-7B_x", "aphrodite/acme/One-7B_x", "koboldcpp/One-7B_x"]
    assert rendered["koboldcpp/One-7B_x"] == {
        "name": "koboldcpp/One-7B_x",
        "model_name": "One-7B_x",
        "baseline": "",
        "parameters": 7_000_000_000,
        "description": "",
        "version": "1",
        "style": "generalist",
        "nsfw": False,
        "tags": ["7B"],
        "display_name": "One 7B x",
    }


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"parameters": 0}, "parameters", None),
        ({"parameters": None}, "tags", ["0B"]),
        ({"tags": None}, "tags", ["7B"]),
        ({"parameters": 500_000_000}, "tags", ["0B"]),
        ({"parameters": 1_500_000_000, "tags": ["b", "a", "b"], "style": "chat"}, "tags", ["2B", "a", "b", "chat"]),
        ({"display_name": "Given"}, "display_name", "Given"),
        ({"settings": {}}, "settings", "absent"),
        ({"settings": {"top_k": 1}}, "settings", {"top_k": 1}),
        ({"url": "u"}, "url", "u"),
        ({"nsfw": True}, "nsfw", True),
        ({"context_window": {"native": 1}}, "context_window", {"native": 1}),
    ],
)
def test_an_entry_of_v1_says_this(fields: dict[str, Any], field: str, value: object) -> None:
    """Sizes are rounded half to even; what is empty is left out where the published file leaves it out."""
    assert body("One", **fields)["One"].get(field, "absent") == value


def test_the_later_of_two_authors_has_the_shared_entry() -> None:
    """A display name without words is left out."""
    rendered = body("a/--", "b/--")
    assert len(rendered) == 5
    assert "display_name" not in rendered["koboldcpp/--"]


def test_groups_are_added_on_request() -> None:
    """Prefixed copies are members; the baseline is common where all that have one agree."""
    rendered = body("a/One-7B-Q4_0", "a/One-13B", "a/Two", include_group=True)
    assert rendered["a/One-13B"]["text_model_group"] == "One"
    assert list(rendered) == list(body("a/One-7B-Q4_0", "a/One-13B", "a/Two"))
    assert rendered["koboldcpp/One-13B"]["text_model_group_summary"] == {
        "member_count": 6,
        "available_sizes": ["13B", "7B"],
        "available_quants": ["Q4_0"],
        "common_baseline": None,
    }
    same = body("a/Two", include_group=True, baseline="base")
    assert same["a/Two"]["text_model_group_summary"]["common_baseline"] == "base"
