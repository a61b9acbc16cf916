"""The documented import path of the record classes; the code is in `domain.records`."""

from horde_model_reference.domain.records import *  # noqa: F403  (a re-export: __all__ there is the API)
