"""The documented import path of the record classes; the code is in `domain`."""

from horde_model_reference.domain.record_parts import *
from horde_model_reference.domain.records import *
