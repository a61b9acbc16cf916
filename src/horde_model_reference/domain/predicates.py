"""Predicates: what a record must be to be selected, as values that combine with `&`, `|` and `~`.

A predicate judges many records at once (`select`), field by field instead of record by record: the loops then run in
C, which makes a query cost about what a hand-written list comprehension costs. Within `&` and `|` the right side sees
only the records whose fate the left side left open, so `ref.is_not_none() & (ref["key"] > 1)` is safe, as with `and`.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from types import MappingProxyType
from typing import Any, Generic, Never, TypeAlias, TypeVar, overload

from horde_model_reference.domain.record_fields import Path, column

__all__ = ["FieldRef", "OrderSpec", "Predicate", "false", "true"]

T = TypeVar("T")


class Predicate(ABC):
    """A condition on records. `predicate(record)` judges one of them."""

    __slots__ = ()

    @abstractmethod
    def select(self, records: Sequence[object]) -> Iterable[bool]:
        """One answer a record, in order, to be read once. Raises `TypeError` for values that cannot be compared."""

    def fields(self) -> frozenset[str]:
        """The record fields it reads, so that a query can refuse a wrong one before it runs."""
        return frozenset()

    def __call__(self, record: object, /) -> bool:
        return next(iter(self.select((record,))))

    def __and__(self, other: Predicate) -> Predicate:
        return Both(self, other)

    def __or__(self, other: Predicate) -> Predicate:
        return Either(self, other)

    def __invert__(self) -> Predicate:
        return Opposite(self)

    def __bool__(self) -> Never:
        raise TypeError("a predicate has no truth value: combine predicates with &, | and ~, each in parentheses")


@dataclass(frozen=True, slots=True, eq=False)
class Both(Predicate):
    """`left & right`."""

    left: Predicate
    right: Predicate

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        left = list(self.left.select(records))
        right = iter(self.right.select(list(compress(records, left))))
        return [kept and next(right) for kept in left]

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True, slots=True, eq=False)
class Either(Predicate):
    """`left | right`."""

    left: Predicate
    right: Predicate

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        left = list(self.left.select(records))
        right = iter(self.right.select(list(compress(records, map(operator.not_, left)))))
        return [kept or next(right) for kept in left]

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True, slots=True, eq=False)
class Opposite(Predicate):
    """`~inner`."""

    inner: Predicate

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        return map(operator.not_, self.inner.select(records))

    def fields(self) -> frozenset[str]:
        return self.inner.fields()


@dataclass(frozen=True, slots=True, eq=False)
class Judged(Predicate):
    """A condition that is a function of the record."""

    judge: Callable[[Any], object]

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        return map(bool, map(self.judge, records))


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Predicate):
    """The same answer for every record: `true` and `false`.

    They also stand for the values `True` and `False` in a comparison (`ImageFields.nsfw == false`), and calling them
    without a record gives themselves, so that `false()` means the same.
    """

    answer: bool

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        return repeat(self.answer, len(records))

    @overload
    def __call__(self) -> Constant: ...

    @overload
    def __call__(self, record: object, /) -> bool: ...

    def __call__(self, *record: object) -> bool | Constant:
        return self.answer if record else self


true = Constant(True)
false = Constant(False)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Predicate):
    """A field against a value, by one of `OPERATORS`."""

    path: Path
    operation: str
    value: object

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        try:
            return OPERATORS[self.operation](column(records, self.path), self.value)
        except TypeError as error:
            raise TypeError(f"{'__'.join(self.path)} {self.operation} {self.value!r}: {error}") from error

    def fields(self) -> frozenset[str]:
        return frozenset(self.path[:1])


@dataclass(frozen=True, slots=True, eq=False)
class TagsOverlap(Predicate):
    """How a record's tags meet the `wanted` ones: by `any`, `all` or `none` of `TAG_TESTS`."""

    mode: str
    wanted: frozenset[str]

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        test = TAG_TESTS[self.mode]
        return [test(self.wanted, tags or ()) for tags in map(operator.attrgetter("tags"), records)]

    def fields(self) -> frozenset[str]:
        return frozenset({"tags"})


class FieldRef(Predicate, Generic[T]):
    """A field of a record class, to compare: `ImageFields.nsfw == False`, `TextFields.parameters_count >= 7e9`.

    By itself it is the predicate "the value is truthy", so `where(ImageFields.nsfw)` and `~ImageFields.nsfw` work.
    `ref["key"]` goes on into a dict or a nested model. A comparison of order never matches `None`.
    """

    __slots__ = ("path",)

    def __init__(self, *path: str) -> None:
        self.path: Path = path

    def select(self, records: Sequence[object]) -> Iterable[bool]:
        return map(bool, column(records, self.path))

    def fields(self) -> frozenset[str]:
        return frozenset(self.path[:1])

    def __getitem__(self, step: str) -> FieldRef[object]:
        return FieldRef(*self.path, step)

    def __repr__(self) -> str:
        return f"FieldRef({'__'.join(self.path)!r})"

    __hash__ = object.__hash__

    def __eq__(self, value: object) -> Predicate:  # type: ignore[override]
        return comparison(self.path, "eq", value)

    def __ne__(self, value: object) -> Predicate:  # type: ignore[override]
        return comparison(self.path, "ne", value)

    def __lt__(self, value: T) -> Predicate:
        return comparison(self.path, "lt", value)

    def __le__(self, value: T) -> Predicate:
        return comparison(self.path, "lte", value)

    def __gt__(self, value: T) -> Predicate:
        return comparison(self.path, "gt", value)

    def __ge__(self, value: T) -> Predicate:
        return comparison(self.path, "gte", value)

    def in_(self, values: Iterable[T]) -> Predicate:
        """The value is one of `values`. Raises `ValueError` for a string, which is rarely meant letter by letter."""
        return comparison(self.path, "in", values)

    def contains(self, item: object) -> Predicate:
        """A part of a string, an element of a list, a key of a dict. `None` contains nothing."""
        return comparison(self.path, "contains", item)

    def is_none(self) -> Predicate:
        """The value is missing."""
        return comparison(self.path, "eq", None)

    def is_not_none(self) -> Predicate:
        """The value is there."""
        return comparison(self.path, "ne", None)

    def asc(self) -> OrderSpec:
        """For `order_by`: smallest first, missing last."""
        return OrderSpec("__".join(self.path))

    def desc(self) -> OrderSpec:
        """For `order_by`: missing first, then the largest."""
        return OrderSpec("__".join(self.path), descending=True)


@dataclass(frozen=True, slots=True)
class OrderSpec:
    """One key of an order: a field or `a__b` path. Missing values come last; descending, they come first."""

    field: str
    descending: bool = False


Column: TypeAlias = Iterable[object]
Answers: TypeAlias = Callable[[Column, Any], Iterable[bool]]


def _equals(values: Column, value: object) -> Iterable[bool]:
    return map(operator.eq, values, repeat(value))


def _differs(values: Column, value: object) -> Iterable[bool]:
    return map(operator.ne, values, repeat(value))


def _is_any_of(values: Column, choices: tuple[object, ...]) -> Iterable[bool]:
    values = list(values)
    try:
        return list(map(frozenset(choices).__contains__, values))
    except TypeError:  # something in them is a list or a model and has no hash
        return [value in choices for value in values]


def _is_none_of(values: Column, choices: tuple[object, ...]) -> Iterable[bool]:
    return map(operator.not_, _is_any_of(values, choices))


def _holds_unless_none(test: Callable[[Any, Any], bool]) -> Answers:
    def holds(values: Column, operand: object) -> Iterable[bool]:
        values = list(values)
        if None not in values:
            return list(map(test, values, repeat(operand)))
        return [value is not None and test(value, operand) for value in values]

    return holds


OPERATORS: Mapping[str, Answers] = MappingProxyType(
    {
        "eq": _equals,
        "ne": _differs,
        "gt": _holds_unless_none(operator.gt),
        "gte": _holds_unless_none(operator.ge),
        "lt": _holds_unless_none(operator.lt),
        "lte": _holds_unless_none(operator.le),
        "in": _is_any_of,
        "not_in": _is_none_of,
        "contains": _holds_unless_none(operator.contains),
    }
)
"""Operator -> its answers for a whole column of values."""


TAG_TESTS: Mapping[str, Callable[[frozenset[str], Sequence[str]], bool]] = MappingProxyType(
    {
        "any": lambda wanted, tags: not wanted.isdisjoint(tags),
        "all": lambda wanted, tags: bool(tags) and wanted.issubset(tags),
        "none": lambda wanted, tags: wanted.isdisjoint(tags),
    }
)
"""No tag wanted: `any` holds for no record, `none` for every one, `all` for those that have tags."""


def comparison(path: Path, operation: str, value: object) -> Comparison:
    """The comparison of a field with a value, the value checked now. Raises `ValueError` for `in` with a string."""
    if isinstance(value, Constant):
        value = value.answer
    if operation in ("in", "not_in"):
        value = _as_choices(path, value)
    return Comparison(path, operation, value)


def _as_choices(path: Path, values: object) -> tuple[object, ...]:
    if isinstance(values, str | bytes):
        reason = f"{'__'.join(path)}: 'in' needs a list of values, not the string {values!r}"
        raise ValueError(reason)  # noqa: TRY004  (the contract's class)
    if not isinstance(values, Iterable):
        raise TypeError(f"{'__'.join(path)}: 'in' needs a list of values, not {values!r}")
    return tuple(value.answer if isinstance(value, Constant) else value for value in values)
