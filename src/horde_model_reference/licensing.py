"""The documented import path of the licensing values; the code is in `domain.record_parts`."""

from horde_model_reference.domain.record_parts import *
