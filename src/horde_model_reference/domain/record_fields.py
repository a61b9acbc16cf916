"""The fields of a record class, and how `a__b` reaches into them.

A path is a tuple of names: the first is a field of the record, each further one a field of a nested model or a key of
a dict. A path that ends early, at `None` or at a key that is not there, is an error and never a silent "no match";
a predicate in front of it (`finetune_series__ne=None`) keeps such records away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache, partial
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel

from horde_model_reference.errors import MalformedInput, UnknownField

__all__ = ["Path", "column", "column_or_none", "parse_path", "reader", "require_field"]

Path: TypeAlias = tuple[str, ...]


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
    if own in (list, tuple, set, frozenset):
        return False
    if own in (Any, object) or isinstance(own, TypeVar):
        return True
    return (isinstance(own, type) and issubclass(own, BaseModel | Mapping)) or any(
        map(_has_steps, get_args(annotation))
    )


def reader(path: Path, *, strict: bool = True) -> Callable[[Any], Any]:
    """What reads `path` off a record."""
    return attrgetter(path[0]) if len(path) == 1 else partial(_walk, path, strict)


def column(records: Iterable[object], path: Path) -> Iterable[object]:
    """What `path` reads off each record; for a plain field the loop is C, and `getattr` the fastest in it."""
    return map(getattr, records, repeat(path[0])) if len(path) == 1 else map(reader(path), records)


def column_or_none(records: Iterable[object], path: Path) -> Iterable[object]:
    """As `column`, with None where a path ends early."""
    return map(reader(path, strict=False), records)


def _walk(path: Path, strict: bool, record: object) -> object:
    value: object = getattr(record, path[0])
    for depth, step in enumerate(path[1:], 1):
        # Only data: a path may come from a command line, and must not reach methods or private attributes.
        if isinstance(value, BaseModel) and (step in type(value).model_fields or step in (value.model_extra or ())):
            value = getattr(value, step)
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        elif strict:
            reached, what = "__".join(path[:depth]), "None" if value is None else f"a {type(value).__name__}"
            reason = f"{reached} is {what} and has no {step!r}"
            raise MalformedInput(reason, record=str(getattr(record, "name", "")), field="__".join(path))
        else:
            return None
    return value
