"""The documented import path of source ids and selectors; the code is in `domain`."""

from horde_model_reference.domain.source_ids import *  # noqa: F403  (a re-export: __all__ there is the API)
