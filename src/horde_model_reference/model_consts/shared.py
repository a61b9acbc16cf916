"""The documented import path of the vocabularies that kinds of models share; the code is in `domain.vocabulary`."""

from __future__ import annotations

from horde_model_reference.domain.vocabulary import (
    KNOWN_TAGS,
    MODEL_STYLE,
    get_known_tags,
    is_known_model_style,
    is_known_tag,
    register_model_style,
    register_tag,
)

__all__ = [
    "KNOWN_TAGS",
    "MODEL_STYLE",
    "get_known_tags",
    "is_known_model_style",
    "is_known_tag",
    "register_model_style",
    "register_tag",
]
