"""The documented import path of field references and the field namespaces; the code is in `domain`."""

from horde_model_reference.domain.predicates import *
