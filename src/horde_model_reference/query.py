"""The documented import path of the query builders; the code is in `domain`."""

from horde_model_reference.domain.names import HORDE_SOURCE_ID as HORDE_SOURCE_ID  # noqa: PLC0414  (said to be re-exported)
from horde_model_reference.domain.query import *
