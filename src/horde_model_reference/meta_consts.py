"""The documented import path of categories and vocabularies; the code is in `domain`."""

from horde_model_reference.domain.categories import *  # noqa: F403  (a re-export: __all__ there is the API)
from horde_model_reference.domain.vocabulary import *  # noqa: F403
