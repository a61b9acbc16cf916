"""The documented import path of the licensing values; the code is in `domain.licensing`."""

from horde_model_reference.domain.licensing import *
