from horde_model_reference.wiring import ReferenceBackend as HTTPBackend

__all__ = ["HTTPBackend"]
