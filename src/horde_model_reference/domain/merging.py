"""Several sources of one category as one: which record wins a name, and where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["merge"]

R = TypeVar("R")


def merge(sources: Iterable[tuple[str, Mapping[str, R]]]) -> dict[str, tuple[R, str]]:
    """Name -> (record, source id), in the order met. The first source that has a name wins it; records never mix.

    >>> merge([("mine", {"a": 1}), ("horde", {"a": 2, "b": 3})])
    {'a': (1, 'mine'), 'b': (3, 'horde')}
    """
    merged: dict[str, tuple[R, str]] = {}
    for source_id, records in sources:
        for name, record in records.items():
            merged.setdefault(name, (record, source_id))
    return merged
