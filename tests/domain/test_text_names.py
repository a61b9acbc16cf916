"""The parser of text-model names: each step of the table, and the counts over the real reference."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.text_names import parse_text_model_name, strip_backend_prefix, text_model_group

PIECES = [
    ("Llama-3-8B-Instruct-Q4_K_M", ("Llama-3", "8B", None, "Q4_K_M", "Instruct")),
    ("Acme-70b-chat", ("Acme", "70B", None, None, "chat")),
    ("Acme-1b7", ("Acme", "1B7", None, None, None)),
    ("Acme-0.5B", ("Acme", "0.5B", None, None, None)),
    ("Acme-8x22B", ("Acme-8x2", "2B", None, None, None)),
    ("Acme-8x7B", ("Acme", "8X7B", None, None, None)),
    ("Acme-8x22B-7B", ("Acme-8x2-7B", "2B", None, None, None)),
    ("Acme-A4B", ("Acme-A4B", None, None, None, None)),
    ("Acme-7Bx", ("Acme-7Bx", None, None, None, None)),
    ("Acme-v2-V1.5", ("Acme-v2", None, "V1.5", None, None)),
    ("Acme-v2.x", ("Acme-v2.x", None, None, None, None)),
    ("Acme-v03", ("Acme", None, "v03", None, None)),
    ("Acme-q8_0", ("Acme", None, None, "Q8_0", None)),
    ("Acme-q5", ("Acme", None, None, "Q5", None)),
    ("Acme-gguf-int4", ("Acme-int4", None, None, "GGUF", None)),
    ("Acme-fp16", ("Acme", None, None, "FP16", None)),
    ("Acme_q4_gguf", ("Acme_q4_gguf", None, None, None, None)),
    ("Acme-turbo-Thinking", ("Acme-turbo", None, None, None, "Thinking")),
    ("Acme-preview", ("Acme", None, None, None, "preview")),
    ("7B", ("7B", "7B", None, None, None)),
    ("Acme---x..y", ("Acme-x.y", None, None, None, None)),
]


@pytest.mark.parametrize(("name", "pieces"), PIECES)
def test_a_name_falls_into_its_pieces(name: str, pieces: tuple[str | None, ...]) -> None:
    """Each row is one rule of the contract: what is taken, in which case, and what is left."""
    parsed = parse_text_model_name(name)
    assert (parsed.base_name, parsed.size, parsed.version, parsed.quant, parsed.variant) == pieces
    assert parsed.original_name == name


@pytest.mark.parametrize(
    ("name", "base"),
    [("4.2.0-Acme", "Acme"), ("Acme-x-0528", "Acme-x"), ("Acme-08-2024", "Acme"), ("Acme-2024-08-70B", "Acme")],
)
def test_dates_and_leading_versions_are_taken_out(name: str, base: str) -> None:
    """They are no part of what a model has in common with its other sizes."""
    assert parse_text_model_name(name).base_name == base


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("acme/One-7B-v2", "One"),
        ("aphrodite/acme/One-13B", "One"),
        ("koboldcpp/One-13B", "One"),
        ("Koboldcpp/One-13B", "One"),
        ("acme/", "acme/"),
        ("One", "One"),
    ],
)
def test_a_group_is_the_base_name_without_backend_and_author(name: str, group: str) -> None:
    """All sizes, versions and announced spellings of a model share a group."""
    assert text_model_group(name) == group


def test_one_backend_prefix_is_taken_off_in_its_own_case() -> None:
    """Only one, and only in lower case."""
    assert strip_backend_prefix("aphrodite/koboldcpp/x") == "koboldcpp/x"
    assert strip_backend_prefix("Aphrodite/x") == "Aphrodite/x"


@given(st.text(max_size=80))
def test_any_text_can_be_parsed_and_leaves_a_base_name(name: str) -> None:
    """The parser never fails, and a name that is not empty has a base name."""
    assert bool(parse_text_model_name(name).base_name) == bool(name)
    assert isinstance(text_model_group(name), str)


def test_the_real_names_fall_into_the_known_groups(real_data: Path) -> None:
    """719 names make 419 groups, 107 with several members, and as many of each piece as the contract counts."""
    with (real_data / "text" / "models.csv").open(encoding="utf-8", newline="") as file:
        names = {row["name"].strip() for row in csv.DictReader(file)}
    groups = Counter(map(text_model_group, names))
    parsed = [parse_text_model_name(name.partition("/")[2] or name) for name in names]
    assert (len(names), len(groups), sum(count > 1 for count in groups.values())) == (719, 419, 107)
    counts = {piece: sum(bool(getattr(p, piece)) for p in parsed) for piece in ("size", "variant", "version", "quant")}
    assert counts == {"size": 669, "variant": 117, "version": 214, "quant": 7}


def test_a_name_that_no_model_may_have_costs_no_square() -> None:
    """131,072 digits, as a cell of a file may hold, once took five minutes."""
    name = "1" * 131_072
    assert parse_text_model_name(name).base_name == name
