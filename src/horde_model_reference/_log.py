"""Where this package logs: below one logger that stays silent until the application configures logging."""

from __future__ import annotations

import logging

__all__ = ["logger"]

_ROOT = logging.getLogger("horde_model_reference")
_ROOT.addHandler(logging.NullHandler())  # without it Python prints warnings of programs that configured nothing


def logger(part: str) -> logging.Logger:
    """The logger `horde_model_reference.<part>`."""
    return _ROOT.getChild(part)
