"""Which names may be used, and for what: model names are free text, category and file names become paths.

Sources of records have names, too: the reference itself is `horde`, an application registers further ones, and `any`
selects all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

from horde_model_reference.errors import UnknownSource, UnsafeName

__all__ = ["ANY_SOURCE", "HORDE_SOURCE_ID", "MAX_NAME_LENGTH", "RESERVED_SOURCE_IDS", "SourceSelector"]
__all__ += ["normalize_source_selector", "require_model_name", "require_relative_file", "require_safe_name"]

MAX_NAME_LENGTH = 512
"""Characters; the longest real name has fewer than 100."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_DECEIVING = {"Cc": "a control", "Cs": "a lone surrogate", "Cf": "an invisible or direction-changing"}
_DEVICE = re.compile(r"[A-Za-z]:")
HORDE_SOURCE_ID = "horde"
ANY_SOURCE = "any"
RESERVED_SOURCE_IDS: frozenset[str] = frozenset({ANY_SOURCE, HORDE_SOURCE_ID})
SourceSelector: TypeAlias = str | Sequence[str]
"""One source id, several in order of precedence, or `any`."""


def require_safe_name(name: str, *, kind: str) -> str:
    """`name`, if it may become part of a path: letters, digits, `_`, `.`, `-`, no leading dot. Raises `UnsafeName`."""
    if not _SAFE.match(name):
        raise UnsafeName(name, f"a {kind} name is letters, digits, '_', '.' and '-', and starts with a letter or digit")
    return name


def require_model_name(name: str) -> str:
    """`name`, if a model may be called that. Slashes, spaces and any script are fine; what deceives a reader is not.

    Raises `UnsafeName` for blank or over-long names, backslashes, control and bidirectional characters.
    """
    if not name.strip():
        raise UnsafeName(name, "a model name cannot be blank")
    if len(name) > MAX_NAME_LENGTH:
        raise UnsafeName(name[:40] + "…", f"a model name has at most {MAX_NAME_LENGTH} characters, not {len(name)}")
    if "\\" in name:
        raise UnsafeName(name, "a model name cannot hold a backslash")
    _refuse_deceiving(name)
    return name


def require_relative_file(name: str) -> str:
    """`name`, if a download of that name (or of none: "") stays in its folder or below. Raises `UnsafeName`."""
    _refuse_deceiving(name)
    if name.startswith("/") or _DEVICE.match(name) or "\\" in name:
        raise UnsafeName(name, "a file name is relative and uses forward slashes")
    if ".." in name.split("/"):
        raise UnsafeName(name, "a file name cannot leave its folder")
    return name


def _refuse_deceiving(name: str) -> None:
    for character in name:
        reason = _DECEIVING.get(unicodedata.category(character))
        if reason:
            raise UnsafeName(name, f"holds {reason} character, U+{ord(character):04X}")


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
