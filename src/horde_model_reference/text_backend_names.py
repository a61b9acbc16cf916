"""The names under which text workers announce a model: its own, and one a backend with the backend's prefix.

The reference lists each model once, by its own name; usage statistics and the v1 format know all three.
"""

from __future__ import annotations

from horde_model_reference.domain.text_names import BACKEND_PREFIXES, strip_backend_prefix
from horde_model_reference.domain.vocabulary import TEXT_BACKENDS
from horde_model_reference.errors import UnsafeName

__all__ = ["TEXT_BACKENDS", "TEXT_LEGACY_BACKEND_PREFIXES", "get_model_name_variants", "has_legacy_text_backend_prefix"]
__all__ += ["strip_backend_prefix", "validate_not_backend_prefixed"]

TEXT_LEGACY_BACKEND_PREFIXES: dict[TEXT_BACKENDS, str] = {backend: f"{backend}/" for backend in TEXT_BACKENDS}


def has_legacy_text_backend_prefix(name: str) -> bool:
    """Whether the name is a backend's variant of a model's name; letter case counts."""
    return name.startswith(BACKEND_PREFIXES)


def get_model_name_variants(canonical_name: str) -> list[str]:
    """The model's own name and each backend's: `a/m` gives `["a/m", "aphrodite/a/m", "koboldcpp/m"]`."""
    without_author = canonical_name.partition("/")[2] or canonical_name
    return [canonical_name, f"aphrodite/{canonical_name}", f"koboldcpp/{without_author}"]


def validate_not_backend_prefixed(name: str) -> str:
    """`name`, if it is a model's own. Raises `UnsafeName` (a `ValueError`) for a backend's variant."""
    if has_legacy_text_backend_prefix(name):
        raise UnsafeName(name, "a model is listed once, by its name without the prefix of a backend")
    return name
