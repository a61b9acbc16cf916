"""Small records for the query tests, valid but for what a test is about."""

from __future__ import annotations

from horde_model_reference.domain.records import (
    ControlNetModelRecord,
    ImageGenerationModelRecord,
    TextGenerationModelRecord,
)
from horde_model_reference.query import ImageGenerationQuery, TextModelQuery, build_image_query, build_text_query

__all__ = ["IMAGES", "TEXTS", "controlnet", "image", "images", "text", "texts"]


def image(name: str, **fields: object) -> ImageGenerationModelRecord:
    """An image record; baseline and nsfw have values that tests can leave alone."""
    return ImageGenerationModelRecord.model_validate(
        {"name": name, "baseline": "stable_diffusion_1", "nsfw": False} | fields
    )


def text(name: str, parameters: int = 7_000_000_000, **fields: object) -> TextGenerationModelRecord:
    """A text record of that many parameters."""
    return TextGenerationModelRecord.model_validate({"name": name, "parameters": parameters} | fields)


def controlnet(name: str, **fields: object) -> ControlNetModelRecord:
    """A ControlNet record."""
    return ControlNetModelRecord.model_validate({"name": name} | fields)


IMAGES = {
    record.name: record
    for record in (
        image("Deliberate", tags=["generalist", "anime"], size_on_disk_bytes=4, style="generalist"),
        image("Animagine XL", baseline="stable_diffusion_xl", tags=["anime"], size_on_disk_bytes=7, style="anime"),
        image("AlbedoBase XL", baseline="stable_diffusion_xl", size_on_disk_bytes=6, homepage="https://example.org"),
        image("Grown Up", nsfw=True, tags=["photo"], requirements={"min_steps": 8, "schedulers": ["karras"]}),
        image("Flux", baseline="flux_1", size_on_disk_bytes=17, finetune_series={"name": "Flux", "version": "1"}),
        image("Painter", inpainting=True, size_on_disk_bytes=4, requirements={"max_steps": 30}),
    )
}

TEXTS = {
    record.name: record
    for record in (
        text("small", 3_000_000_000, text_model_group="Tiny", baseline="Qwen"),
        text("org/middle", 8_030_000_000, text_model_group="Llama", baseline="Llama", settings={"temperature": 0.7}),
        text("org/large", 70_000_000_000, text_model_group="Llama", baseline="Llama", nsfw=True),
    )
}


def images() -> ImageGenerationQuery:
    """A query of `IMAGES`."""
    return build_image_query(IMAGES)


def texts() -> TextModelQuery:
    """A query of `TEXTS`."""
    return build_text_query(TEXTS)
