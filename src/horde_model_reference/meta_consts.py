"""The documented import path of categories and vocabularies; the code is in `domain`."""

from horde_model_reference.domain.categories import *
from horde_model_reference.domain.vocabulary import *
