"""The documented import path of the text vocabularies; the code is in `domain.vocabulary`."""

from __future__ import annotations

from horde_model_reference.domain.vocabulary import (
    KNOWN_TEXT_BACKENDS,
    TEXT_BACKENDS,
    is_known_text_backend,
    register_text_backend,
)

__all__ = ["KNOWN_TEXT_BACKENDS", "TEXT_BACKENDS", "is_known_text_backend", "register_text_backend"]
