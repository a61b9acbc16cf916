"""A documented import path of the vocabularies; the code is in `domain.vocabulary`."""

from horde_model_reference.domain.vocabulary import *  # noqa: F403  (a re-export: __all__ there is the API)
