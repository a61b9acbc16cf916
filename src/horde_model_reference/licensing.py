"""The documented import path of the licensing values; the code is in `domain.licensing`."""

from horde_model_reference.domain.licensing import *  # noqa: F403  (a re-export: __all__ there is the API)
