"""The documented import path of the record classes; the code is in `domain.records`."""

from horde_model_reference.domain.records import *
