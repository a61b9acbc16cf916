from horde_model_reference.sources.local import ModelReferenceBackend

__all__ = ["ModelReferenceBackend"]
