"""Sources of records beside the reference: the interface, a static one, and the registry of them."""

from __future__ import annotations

from horde_model_reference.domain.names import ANY_SOURCE, HORDE_SOURCE_ID, SourceSelector
from horde_model_reference.providers.base import ModelProvider
from horde_model_reference.providers.pending_provider import PENDING_SOURCE_ID, PendingModelProvider
from horde_model_reference.providers.registry import ModelProviderRegistry
from horde_model_reference.providers.static_provider import StaticModelProvider

__all__ = ["ANY_SOURCE", "HORDE_SOURCE_ID", "PENDING_SOURCE_ID"]
__all__ += ["ModelProvider", "ModelProviderRegistry", "PendingModelProvider", "SourceSelector", "StaticModelProvider"]
