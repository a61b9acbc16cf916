"""The documented import path of the image vocabularies; the code is in `domain.vocabulary`."""

from __future__ import annotations

from horde_model_reference.domain.vocabulary import (
    CONTROLNET_STYLE,
    IMAGE_GENERATION_BASELINE_NATIVE_RESOLUTION_LOOKUP,
    KNOWN_IMAGE_GENERATION_BASELINE,
    KNOWN_IMAGE_SCHEDULER,
    BaselineDescriptor,
    get_all_registered_baselines,
    get_baseline_descriptor,
    get_baseline_native_resolution,
    get_baselines_by_resolution,
    is_known_controlnet_style,
    is_known_image_baseline,
    is_known_image_scheduler,
    register_controlnet_style,
    register_image_baseline,
    register_image_scheduler,
)

__all__ = [
    "CONTROLNET_STYLE",
    "IMAGE_GENERATION_BASELINE_NATIVE_RESOLUTION_LOOKUP",
    "KNOWN_IMAGE_GENERATION_BASELINE",
    "KNOWN_IMAGE_SCHEDULER",
    "BaselineDescriptor",
    "get_all_registered_baselines",
    "get_baseline_descriptor",
    "get_baseline_native_resolution",
    "get_baselines_by_resolution",
    "is_known_controlnet_style",
    "is_known_image_baseline",
    "is_known_image_scheduler",
    "register_controlnet_style",
    "register_image_baseline",
    "register_image_scheduler",
]
