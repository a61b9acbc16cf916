"""The fields of a record class, and how `a__b` reaches into them.

A path is a tuple of names: the first is a field of the record, each further one a field of a nested model or a key of
a dict. A path that ends early, at `None` or at a key that is not there, is an error and never a silent "no match";
a predicate in front of it (`finetune_series__ne=None`) keeps such records away from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeAlias

from pydantic import BaseModel

from horde_model_reference.errors import HordeModelReferenceError, MalformedInput

__all__ = ["Path", "UnknownField", "attribute_names", "column", "parse_path", "reader", "require_field"]

Path: TypeAlias = tuple[str, ...]

_MISSING = object()


class UnknownField(HordeModelReferenceError, ValueError):
    """A query named a field that its records do not have; `close` are fields with much the same name."""

    def __init__(self, name: str, record_type: str, known: Collection[str]) -> None:
        self.name = name
        self.known = tuple(known)
        self.close = tuple(difflib.get_close_matches(name, self.known))
        hint = f" Did you mean {', '.join(self.close)}?" if self.close else ""
        super().__init__(f"{record_type} has no field {name!r}.{hint} Valid fields are {', '.join(self.known)}.")


@lru_cache(maxsize=256)
def attribute_names(record_type: type[BaseModel]) -> Mapping[str, str]:
    """Field name or alias -> attribute, so that `parameters` finds `parameters_count`."""
    fields = record_type.model_fields
    aliases = {field.alias: name for name, field in fields.items() if field.alias}
    return MappingProxyType(aliases | {name: name for name in fields})


def require_field(record_type: type[BaseModel], name: str) -> str:
    """The attribute that `name` means for records of that class. Raises `UnknownField`."""
    attribute = attribute_names(record_type).get(name)
    if attribute is None:
        raise UnknownField(name, record_type.__name__, record_type.model_fields)
    return attribute


def parse_path(record_type: type[BaseModel], text: str) -> Path:
    """`metadata__created_at` as a path whose first step is a field of that class. Raises `UnknownField`."""
    first, *rest = text.split("__")
    return (require_field(record_type, first), *rest)


@lru_cache(maxsize=1024)
def reader(path: Path) -> Callable[[Any], Any]:
    """What reads `path` off a record."""
    first = attrgetter(path[0])
    return first if len(path) == 1 else lambda record: _walk(record, first(record), path)


def column(records: Iterable[object], path: Path) -> Iterable[object]:
    """What `path` reads off each record; for a plain field the loop is C, and `getattr` the fastest in it."""
    return map(getattr, records, repeat(path[0])) if len(path) == 1 else map(reader(path), records)


def _walk(record: object, value: object, path: Path) -> object:
    for depth, step in enumerate(path[1:], 1):
        found = _below(value, step)
        if found is _MISSING:
            reached = "__".join(path[:depth])
            reason = f"{reached} is {_described(value)} and has no {step!r}"
            raise MalformedInput(reason, record=str(getattr(record, "name", "")), field="__".join(path))
        value = found
    return value


def _below(value: object, step: str) -> object:
    if isinstance(value, Mapping):
        return value.get(step, _MISSING)
    # Only data: a path may come from a command line, and must not reach methods or private attributes.
    if isinstance(value, BaseModel) and (step in type(value).model_fields or step in (value.model_extra or ())):
        return getattr(value, step)
    return _MISSING


def _described(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
