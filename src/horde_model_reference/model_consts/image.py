"""A documented import path of the vocabularies; the code is in `domain.vocabulary`."""

from horde_model_reference.domain.vocabulary import *
