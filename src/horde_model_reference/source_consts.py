"""The documented import path of source ids and selectors; the code is in `domain`."""

from horde_model_reference.domain.names import *
