"""The documented import path of the names under which text workers announce a model; the code is in `domain`."""

from horde_model_reference.domain.text_names import *
from horde_model_reference.domain.vocabulary import TEXT_BACKENDS as TEXT_BACKENDS  # noqa: PLC0414  (said to be re-exported)
