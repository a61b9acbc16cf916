"""Source ids: which names a source of records may have, and how a reader selects among them.

The reference itself is the source `horde`; everything else comes from providers that an application registers.
`any` selects all of them. Neither name can be taken by a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from horde_model_reference.errors import UnknownSource

__all__ = ["ANY_SOURCE", "HORDE_SOURCE_ID", "RESERVED_SOURCE_IDS", "SourceSelector", "normalize_source_selector"]

HORDE_SOURCE_ID = "horde"
ANY_SOURCE = "any"
RESERVED_SOURCE_IDS: frozenset[str] = frozenset({ANY_SOURCE, HORDE_SOURCE_ID})

SourceSelector: TypeAlias = str | Sequence[str]
"""One source id, several in order of precedence, or `any`."""


def normalize_source_selector(selector: SourceSelector, registered: Sequence[str] = ()) -> tuple[str, ...]:
    """The source ids that `selector` means, each once, first has precedence.

    `any` stands for `horde` and then the `registered` providers in their order; in a list it adds those not yet named.
    Raises `UnknownSource` for an id that is neither `horde` nor registered, `ValueError` for an empty list.
    """
    known = (HORDE_SOURCE_ID, *registered)
    chosen: dict[str, None] = {}
    for source_id in (selector,) if isinstance(selector, str) else selector:
        if source_id != ANY_SOURCE and source_id not in known:
            raise UnknownSource(source_id, known)
        chosen.update(dict.fromkeys(known if source_id == ANY_SOURCE else (source_id,)))
    if not chosen:
        raise ValueError("a source selector names at least one source")
    return tuple(chosen)
