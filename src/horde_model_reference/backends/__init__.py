"""The documented import path of backends: raw records by category, from wherever they come."""

from horde_model_reference.sources.local import ModelReferenceBackend
from horde_model_reference.wiring import GitHubBackend
from horde_model_reference.wiring import ReferenceBackend as HTTPBackend

__all__ = ["GitHubBackend", "HTTPBackend", "ModelReferenceBackend"]
