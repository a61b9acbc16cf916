"""The names under which text workers announce a model: its own, and one a backend with the backend's prefix.

The reference lists each model once, by its own name; usage statistics and the v1 format know all three.
"""

from __future__ import annotations

from horde_model_reference.domain.vocabulary import TEXT_BACKENDS
from horde_model_reference.errors import UnsafeName

__all__ = [
    "TEXT_BACKENDS",
    "TEXT_LEGACY_BACKEND_PREFIXES",
    "get_model_name_variants",
    "has_legacy_text_backend_prefix",
    "strip_backend_prefix",
    "validate_not_backend_prefixed",
]

TEXT_LEGACY_BACKEND_PREFIXES: dict[TEXT_BACKENDS, str] = {backend: f"{backend}/" for backend in TEXT_BACKENDS}

_PREFIXES = tuple(TEXT_LEGACY_BACKEND_PREFIXES.values())


def has_legacy_text_backend_prefix(name: str) -> bool:
    """Whether the name is a backend's variant of a model's name; letter case counts."""
    return name.startswith(_PREFIXES)


def strip_backend_prefix(name: str) -> str:
    """The name without one backend prefix: `koboldcpp/Nemo-12B` gives `Nemo-12B`; other names come back unchanged."""
    return name.partition("/")[2] if has_legacy_text_backend_prefix(name) else name


def get_model_name_variants(canonical_name: str) -> list[str]:
    """The model's own name and each backend's. KoboldCpp drops the author.

    Example: `a/m` gives `["a/m", "aphrodite/a/m", "koboldcpp/m"]`.
    """
    without_author = canonical_name.partition("/")[2] or canonical_name
    aphrodite = TEXT_LEGACY_BACKEND_PREFIXES[TEXT_BACKENDS.aphrodite] + canonical_name
    koboldcpp = TEXT_LEGACY_BACKEND_PREFIXES[TEXT_BACKENDS.koboldcpp] + without_author
    return [canonical_name, aphrodite, koboldcpp]


def validate_not_backend_prefixed(name: str) -> str:
    """`name`, if it is a model's own. Raises `UnsafeName` (a `ValueError`) for a backend's variant."""
    if has_legacy_text_backend_prefix(name):
        raise UnsafeName(name, "a model is listed once, by its name without the prefix of a backend")
    return name
