from horde_model_reference.wiring import GitHubBackend

__all__ = ["GitHubBackend"]
