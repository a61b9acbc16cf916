"""Conditions on records: paths into them, predicates, and the fields of each class as names to compare.

A path is a tuple of names, written `a__b`: a field of the record, then fields of nested models or keys of dicts. One
that ends early, at `None` or at a key that is not there, is an error and never a silent "no match"; a predicate in
front of it (`finetune_series__ne=None`) keeps such records away from it.

Predicates combine with `&`, `|` and `~`. One judges many records at once (`select`), field by field: the loops then run
in C, and a query costs about what a list comprehension costs. Within `&` and `|` the right side sees only the records
whose fate the left side left open, so `ref.is_not_none() & (ref["key"] > 1)` is safe, as with `and`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from itertools import compress, repeat
from typing import Any, Generic, Never, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel

from horde_model_reference.errors import MalformedInput, UnknownField

__all__ = ["AudioFields", "BlipFields", "ClipFields", "CodeformerFields", "ControlNetFields", "EsrganFields"]
__all__ += ["FieldRef", "GenericFields", "GfpganFields", "ImageFields", "MiscellaneousFields", "OrderSpec", "Predicate"]
__all__ += ["SafetyCheckerFields", "TextFields", "VideoFields", "false", "true"]

T = TypeVar("T")
Path: TypeAlias = tuple[str, ...]
Column: TypeAlias = Iterable[object]
Answers: TypeAlias = Iterable[bool]


@lru_cache(maxsize=4096)
def require_field(record_type: type[BaseModel], name: str) -> str:
    """The attribute of that name or alias (`parameters` is `parameters_count`). Raises `UnknownField`."""
    fields = record_type.model_fields
    for attribute, field in fields.items():
        if name in (attribute, field.alias):
            return attribute
    raise UnknownField(name, record_type.__name__, tuple(fields), tuple(get_close_matches(name, fields)))


def parse_path(record_type: type[BaseModel], text: str, operations: Iterable[str] = ()) -> Path:
    """`metadata__created_at` as a path whose first step is a field of that class.

    Raises `UnknownField`, also for a step into a field that has nothing below it; `operations` are what may follow one.
    """
    first, *rest = text.split("__")
    attribute = require_field(record_type, first)
    if rest and not _has_steps(record_type.model_fields[attribute].annotation):
        known = tuple(f"{first}__{operation}" for operation in operations) or tuple(record_type.model_fields)
        raise UnknownField(text, record_type.__name__, known, tuple(get_close_matches(text, known)))
    return (attribute, *rest)


def _has_steps(annotation: object) -> bool:
    """Whether a value of that type may be a dict, a model, or anything."""
    own = get_origin(annotation) or annotation
    if own in (Any, object) or isinstance(own, TypeVar):
        return True
    if isinstance(own, type) and issubclass(own, BaseModel | Mapping):
        return True
    return own not in (list, tuple, set, frozenset) and any(map(_has_steps, get_args(annotation)))


def reader(path: Path, *, strict: bool = True) -> Callable[[Any], Any]:
    """What reads `path` off a record: raises `MalformedInput` where it ends early, or without `strict` gives None."""
    return operator.attrgetter(path[0]) if len(path) == 1 else partial(_walk, path, strict)


def _walk(path: Path, strict: bool, record: object) -> object:
    value: object = getattr(record, path[0])
    for depth, step in enumerate(path[1:], 1):
        # Only data: a path may come from a command line, and must not reach methods or private attributes.
        if isinstance(value, BaseModel) and (step in type(value).model_fields or step in (value.model_extra or ())):
            value = getattr(value, step)
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        elif not strict:
            return None
        else:
            reached, what = "__".join(path[:depth]), "None" if value is None else f"a {type(value).__name__}"
            reason = f"{reached} is {what} and has no {step!r}"
            raise MalformedInput(reason, record=str(getattr(record, "name", "")), field="__".join(path))
    return value


class Predicate:
    """A condition on records. `predicate(record)` judges one of them.

    `select` gives one answer a record, to be read once, or raises `TypeError` for values that cannot be compared.
    `fields` are the record fields it reads, so that a query can refuse a wrong one before it runs.
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
    """The same answer for every record: `true` and `false`, which also stand for the values in a comparison.

    Calling them without a record gives themselves: `ImageFields.nsfw == false()` means the same.
    """

    __slots__ = ("answer",)

    def __init__(self, answer: bool) -> None:
        super().__init__(lambda records: repeat(answer, len(records)))
        self.answer = answer

    def __call__(self, *record: object) -> Any:
        """This for a record, itself for none."""
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
        super().__init__(lambda records: map(bool, map(reader(path), records)), path[:1])
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


def comparison(path: Path, operation: str, value: object, *, strict: bool = True) -> Predicate:
    """A field, read as by `reader`, against a value, by one of `OPERATORS`. `ValueError` for `in` with a string."""
    read, text = reader(path, strict=strict), "__".join(path)
    if isinstance(value, Constant):
        value = value.answer
    if operation in ("in", "not_in"):
        if isinstance(value, str | bytes):
            raise ValueError(f"{text}: 'in' needs a list of values, not the string {value!r}")
        if not isinstance(value, Iterable):
            raise TypeError(f"{text}: 'in' needs a list of values, not {value!r}")
        value = tuple(each.answer if isinstance(each, Constant) else each for each in value)

    def select(records: Sequence[object]) -> Answers:
        try:
            return OPERATORS[operation](map(read, records), value)
        except TypeError as error:
            raise TypeError(f"{text} {operation} {value!r}: {error}") from error

    return Predicate(select, path[:1])


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


class _Namespace:
    """Field references by name, for editors and type checkers: the annotations are the table.

    Numbers are declared `float`, which takes an `int` as well.
    """

    def __init_subclass__(cls) -> None:
        for name in cls.__annotations__:
            setattr(cls, name, FieldRef(name))


class GenericFields(_Namespace):
    """Fields that every record has."""

    record_type: FieldRef[str]
    name: FieldRef[str]
    description: FieldRef[str | None]
    version: FieldRef[str | None]
    finetune_series: FieldRef[object]
    metadata: FieldRef[object]
    config: FieldRef[object]
    model_classification: FieldRef[object]
    size_on_disk_bytes: FieldRef[float | None]
    licensing: FieldRef[object]


class _BaselineFields(GenericFields):
    baseline: FieldRef[str | None]
    nsfw: FieldRef[bool]
    tags: FieldRef[list[str] | None]


class ImageFields(_BaselineFields):
    """Fields of `image_generation`."""

    inpainting: FieldRef[bool | None]
    optimization: FieldRef[str | None]
    showcases: FieldRef[list[str] | None]
    min_bridge_version: FieldRef[float | None]
    trigger: FieldRef[list[str] | None]
    homepage: FieldRef[str | None]
    style: FieldRef[str | None]
    requirements: FieldRef[object]


class TextFields(_BaselineFields):
    """Fields of `text_generation`."""

    parameters_count: FieldRef[float]
    style: FieldRef[str | None]
    display_name: FieldRef[str | None]
    url: FieldRef[str | None]
    instruct_format: FieldRef[str | None]
    settings: FieldRef[object]
    text_model_group: FieldRef[str | None]
    name_schema_exception: FieldRef[str | None]
    context_window: FieldRef[object]
    interaction_modes: FieldRef[object]
    capabilities: FieldRef[object]
    guidance: FieldRef[object]


class ControlNetFields(GenericFields):
    """Fields of `controlnet`."""

    controlnet_style: FieldRef[str | None]


class ClipFields(GenericFields):
    """Fields of `clip`."""

    pretrained_name: FieldRef[str | None]


AudioFields = VideoFields = _BaselineFields
BlipFields = CodeformerFields = EsrganFields = GfpganFields = MiscellaneousFields = SafetyCheckerFields = GenericFields
