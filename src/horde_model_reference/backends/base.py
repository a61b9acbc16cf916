from horde_model_reference.sources.plugin import ModelReferenceBackend

__all__ = ["ModelReferenceBackend"]
