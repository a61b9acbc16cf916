"""The two repositories on GitHub as a backend of their own, whatever PRIMARY says."""

from __future__ import annotations

from horde_model_reference.settings import get_settings
from horde_model_reference.wiring import ReferenceBackend, reference_of_github

__all__ = ["GitHubBackend"]


class GitHubBackend(ReferenceBackend):
    """The legacy files, converted; nothing is remembered on the disk. The settings say where and how long."""

    def __init__(self) -> None:
        reference, github = reference_of_github(get_settings())
        super().__init__(reference, github=github)
