"""The documented import path of field references and the field namespaces; the code is in `domain`."""

from horde_model_reference.domain.predicates import *  # noqa: F403  (a re-export: __all__ there is the API)
from horde_model_reference.domain.query_fields import *  # noqa: F403
