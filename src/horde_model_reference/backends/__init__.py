"""The documented import path of backends: how an application plugs in a place of its own that records come from."""

from horde_model_reference.backends.base import ModelReferenceBackend

__all__ = ["ModelReferenceBackend"]
