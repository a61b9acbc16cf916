"""Records by the hundred thousand: what pydantic keeps beside their fields is held once for all that have the same.

Each object notes which of its fields were given, and its unknown fields: in a typical record half of the memory, and
nearly always the same as in the record before. After `share` they hold it together; before anything could change it,
a record takes a copy of its own, so that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

__all__ = ["Sharing", "share"]

_SLOTS = {name: BaseModel.__dict__[name] for name in ("__pydantic_fields_set__", "__pydantic_extra__")}
_NAMES, _EXTRA = _SLOTS.values()


class _Names(set[str]):
    def __copy__(self) -> set[str]:
        return set(self)


class _Nothing(dict[str, Any]):  # always empty, so that there is nothing in it to delete
    def __copy__(self) -> dict[str, Any]:
        return {}


_NOTHING = _Nothing()


class Sharing(BaseModel):
    """A model whose objects may share, and stop before they are changed or hand out what they share."""

    if not TYPE_CHECKING:  # pragma: no branch  (to a type checker it is a plain model)

        def __setattr__(self, name: str, value: object) -> None:
            _stop_sharing(self)
            super().__setattr__(name, value)

        model_extra = property(lambda self: _stop_sharing(self).__pydantic_extra__)
        model_fields_set = property(lambda self: _stop_sharing(self).__pydantic_fields_set__)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return state | {name: copy(state[name]) for name in _SLOTS}


def share(models: Iterable[Sharing]) -> None:
    """Let all of these share what is equal in them."""
    names_of, give_names, extra_of, give_extra = _NAMES.__get__, _NAMES.__set__, _EXTRA.__get__, _EXTRA.__set__
    known: dict[frozenset[str], _Names] = {}
    for model in models:
        names = frozenset(names_of(model))
        shared = known.get(names)
        if shared is None:
            shared = known[names] = _Names(names)
        give_names(model, shared)
        if extra_of(model) == {}:
            give_extra(model, _NOTHING)


def _stop_sharing(model: Sharing) -> Sharing:
    for slot in (_NAMES, _EXTRA):
        value = slot.__get__(model)
        if isinstance(value, _Names | _Nothing):
            slot.__set__(model, copy(value))
    return model
