"""The query engine works by columns; a plain loop, record by record, must come to the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.records import ImageGenerationModelRecord
from horde_model_reference.query import build_image_query
from horde_model_reference.query_fields import FieldRef, ImageFields, Predicate
from tests.query.samples import image

SIZES = st.none() | st.integers(0, 4)
WORDS = st.sampled_from(["a", "b", "ab"])

RECORDS = st.lists(
    st.builds(
        lambda size, version, nsfw, tags: image("x", size_on_disk_bytes=size, version=version, nsfw=nsfw, tags=tags),
        SIZES,
        st.none() | WORDS,
        st.booleans(),
        st.lists(WORDS, max_size=3),
    ),
    max_size=12,
).map(lambda records: [record.model_copy(update={"name": f"m{i}"}) for i, record in enumerate(records)])

Judge = Callable[[ImageGenerationModelRecord], bool]


def _unless_none(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda found, value: found is not None and test(found, value)


PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": _unless_none(operator.gt),
    "gte": _unless_none(operator.ge),
    "lt": _unless_none(operator.lt),
    "lte": _unless_none(operator.le),
    "in": lambda found, values: found in values,
    "contains": _unless_none(lambda found, item: item in found),
}

CONDITIONS = st.one_of(
    st.tuples(st.just("size_on_disk_bytes"), st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(0, 4)),
    st.tuples(st.just("size_on_disk_bytes"), st.sampled_from(["eq", "ne"]), SIZES),
    st.tuples(st.just("size_on_disk_bytes"), st.just("in"), st.lists(SIZES, max_size=3)),
    st.tuples(st.just("version"), st.sampled_from(["eq", "ne", "gt", "lte", "contains"]), WORDS),
    st.tuples(st.just("tags"), st.just("contains"), WORDS),
    st.tuples(st.just("nsfw"), st.just("eq"), st.booleans()),
)


def _plain(field: str, name: str, value: Any) -> Judge:
    return lambda record: PLAIN[name](getattr(record, field), value)


def _ours(field: str, name: str, value: Any) -> Predicate:
    ref = FieldRef[Any](field)
    methods: dict[str, Callable[[Any], Predicate]] = {
        "eq": ref.__eq__,
        "ne": ref.__ne__,
        "gt": ref.__gt__,
        "gte": ref.__ge__,
        "lt": ref.__lt__,
        "lte": ref.__le__,
        "in": ref.in_,
        "contains": ref.contains,
    }
    return methods[name](value)


Pair = tuple[Predicate, Judge]


def _both(a: Pair, b: Pair) -> Pair:
    return a[0] & b[0], lambda record: a[1](record) and b[1](record)


def _either(a: Pair, b: Pair) -> Pair:
    return a[0] | b[0], lambda record: a[1](record) or b[1](record)


def _opposite(a: Pair) -> Pair:
    return ~a[0], lambda record: not a[1](record)


EXPRESSIONS: st.SearchStrategy[Pair] = st.recursive(
    CONDITIONS.map(lambda condition: (_ours(*condition), _plain(*condition))),
    lambda inner: st.builds(_both, inner, inner) | st.builds(_either, inner, inner) | st.builds(_opposite, inner),
    max_leaves=6,
)


@given(RECORDS, EXPRESSIONS)
def test_expressions_select_what_a_loop_would(records: list[ImageGenerationModelRecord], pair: Pair) -> None:
    """Any nesting of `&`, `|` and `~` over any comparisons, and record by record as well as all at once."""
    predicate, judge = pair
    expected = [record.name for record in records if judge(record)]
    assert build_image_query({r.name: r for r in records}).where(predicate).names() == expected
    assert [record.name for record in records if predicate(record)] == expected


@given(RECORDS, st.lists(CONDITIONS, max_size=3))
def test_keywords_select_what_a_loop_would(
    records: list[ImageGenerationModelRecord], conditions: list[tuple[str, str, Any]]
) -> None:
    """The keyword form of the same conditions, one `where` after another."""
    query = build_image_query({r.name: r for r in records})
    for field, name, value in conditions:
        query = query.where(**{f"{field}__{name}": value})
    judges = [_plain(*condition) for condition in conditions]
    assert query.names() == [record.name for record in records if all(judge(record) for judge in judges)]


KEYS = st.lists(st.tuples(st.sampled_from(["size_on_disk_bytes", "version", "nsfw"]), st.booleans()), max_size=3)


@given(RECORDS, KEYS, st.none() | st.integers(-5, 5), st.none() | st.integers(-5, 5))
def test_order_and_slices_are_those_of_plain_sorting(
    records: list[ImageGenerationModelRecord], keys: list[tuple[str, bool]], limit: int | None, offset: int | None
) -> None:
    """Sorted by each key from the last to the first, missing values at the end or, descending, at the start."""
    expected = records
    for field, descending in reversed(keys):
        values = [
            (getattr(r, field) is None, getattr(r, field) or 0 if field != "version" else r.version or "")
            for r in expected
        ]
        ranks = sorted(range(len(expected)), key=values.__getitem__, reverse=descending)
        expected = [expected[rank] for rank in ranks]
    query = build_image_query({r.name: r for r in records}).limit(limit).offset(offset)
    query = query.order_by(*("-" * descending + field for field, descending in keys))
    assert query.names() == [record.name for record in expected[offset:][:limit]]


@given(RECORDS, st.lists(WORDS, max_size=2))
def test_tags_are_those_of_set_algebra(records: list[ImageGenerationModelRecord], tags: list[str]) -> None:
    """Any, all and none, by sets."""
    query, wanted = build_image_query({r.name: r for r in records}), set(tags)
    assert query.tags_any(tags).names() == [r.name for r in records if wanted & set(r.tags or ())]
    assert query.tags_none(tags).names() == [r.name for r in records if not wanted & set(r.tags or ())]
    assert query.tags_all(tags).names() == [r.name for r in records if r.tags and wanted <= set(r.tags)]
    assert query.where(~ImageFields.tags).names() == [r.name for r in records if not r.tags]
