"""Predicates: what a record must be to be selected, as values that combine with `&`, `|` and `~`.

A predicate judges many records at once (`select`), field by field instead of record by record: the loops then run in
C, which makes a query cost about what a hand-written list comprehension costs. Within `&` and `|` the right side sees
only the records whose fate the left side left open, so `ref.is_not_none() & (ref["key"] > 1)` is safe, as with `and`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any, Generic, Never, TypeAlias, TypeVar, overload

from horde_model_reference.domain.record_fields import Path, column

__all__ = ["FieldRef", "OrderSpec", "Predicate", "false", "true"]

T = TypeVar("T")
Column: TypeAlias = Iterable[object]
Answers: TypeAlias = Iterable[bool]
Read: TypeAlias = Callable[[Sequence[object], Path], Column]


class Predicate:
    """A condition on records. `predicate(record)` judges one of them.

    `select` gives one answer a record, in order, to be read once; it raises `TypeError` for values that cannot be
    compared. `fields` are the record fields it reads, so that a query can refuse a wrong one before it runs.
    """

    __slots__ = ("fields", "select")

    def __init__(self, select: Callable[[Sequence[object]], Answers], fields: Iterable[str] = ()) -> None:
        self.select = select
        self.fields = frozenset(fields)

    def __call__(self, record: object, /) -> bool:
        return next(iter(self.select((record,))))

    def __and__(self, other: Predicate) -> Predicate:
        def both(records: Sequence[object]) -> Answers:
            left = list(self.select(records))
            right = iter(other.select(list(compress(records, left))))
            return [kept and next(right) for kept in left]

        return Predicate(both, self.fields | other.fields)

    def __or__(self, other: Predicate) -> Predicate:
        return ~(~self & ~other)

    def __invert__(self) -> Predicate:
        return Predicate(lambda records: map(operator.not_, self.select(records)), self.fields)

    def __bool__(self) -> Never:
        raise TypeError("a predicate has no truth value: combine predicates with &, | and ~, each in parentheses")


class Constant(Predicate):
    """The same answer for every record: `true` and `false`.

    They also stand for the values `True` and `False` in a comparison (`ImageFields.nsfw == false`), and calling them
    without a record gives themselves, so that `false()` means the same.
    """

    __slots__ = ("answer",)

    def __init__(self, answer: bool) -> None:
        super().__init__(lambda records: repeat(answer, len(records)))
        self.answer = answer

    @overload
    def __call__(self) -> Constant: ...

    @overload
    def __call__(self, record: object, /) -> bool: ...

    def __call__(self, *record: object) -> bool | Constant:
        return self.answer if record else self


true = Constant(True)
false = Constant(False)


class FieldRef(Predicate, Generic[T]):
    """A field of a record class, to compare: `ImageFields.nsfw == False`, `TextFields.parameters_count >= 7e9`.

    By itself it is the predicate "the value is truthy", so `where(ImageFields.nsfw)` and `~ImageFields.nsfw` work.
    `ref["key"]` goes on into a dict or a nested model. A comparison of order never matches `None`.
    """

    __slots__ = ("path",)

    def __init__(self, *path: str) -> None:
        super().__init__(lambda records: map(bool, column(records, path)), path[:1])
        self.path: Path = path

    def __getitem__(self, step: str) -> FieldRef[object]:
        return FieldRef(*self.path, step)

    def __repr__(self) -> str:
        return f"FieldRef({'__'.join(self.path)!r})"

    __hash__ = object.__hash__
    __iter__ = None  # else Python would ask `ref[0]`, `ref[1]`, ... for ever

    def __eq__(self, value: object) -> Predicate:  # type: ignore[override]  # a condition, as in SQLAlchemy, and no truth
        return comparison(self.path, "eq", value)

    def __ne__(self, value: object) -> Predicate:  # type: ignore[override]  # a condition, as in SQLAlchemy, and no truth
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


def comparison(path: Path, operation: str, value: object, read: Read = column) -> Predicate:
    """A field against a value, by one of `OPERATORS`. Raises `ValueError` for `in` with a string."""
    if isinstance(value, Constant):
        value = value.answer
    if operation in ("in", "not_in"):
        value = _as_choices(path, value)

    def select(records: Sequence[object]) -> Answers:
        try:
            return OPERATORS[operation](read(records, path), value)
        except TypeError as error:
            raise TypeError(f"{'__'.join(path)} {operation} {value!r}: {error}") from error

    return Predicate(select, path[:1])


def _as_choices(path: Path, values: object) -> tuple[object, ...]:
    if isinstance(values, str | bytes):
        raise ValueError(f"{'__'.join(path)}: 'in' needs a list of values, not the string {values!r}")
    if not isinstance(values, Iterable):
        raise TypeError(f"{'__'.join(path)}: 'in' needs a list of values, not {values!r}")
    return tuple(value.answer if isinstance(value, Constant) else value for value in values)


def _is_any_of(values: Column, choices: tuple[object, ...]) -> Answers:
    values = list(values)
    try:
        return list(map(frozenset(choices).__contains__, values))
    except TypeError:  # something in them is a list or a model and has no hash
        return [value in choices for value in values]


def _holds_unless_none(test: Callable[[Any, Any], bool]) -> Callable[[Column, Any], Answers]:
    def holds(values: Column, operand: object) -> Answers:
        values = list(values)
        if None not in values:
            return list(map(test, values, repeat(operand)))
        return [value is not None and test(value, operand) for value in values]

    return holds


OPERATORS: Mapping[str, Callable[[Column, Any], Answers]] = {
    "eq": lambda values, value: map(operator.eq, values, repeat(value)),
    "ne": lambda values, value: map(operator.ne, values, repeat(value)),
    "gt": _holds_unless_none(operator.gt),
    "gte": _holds_unless_none(operator.ge),
    "lt": _holds_unless_none(operator.lt),
    "lte": _holds_unless_none(operator.le),
    "in": _is_any_of,
    "not_in": lambda values, choices: map(operator.not_, _is_any_of(values, choices)),
    "contains": _holds_unless_none(operator.contains),
}
"""Operator -> its answers for a whole column of values."""
