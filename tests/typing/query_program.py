"""A program as a user writes it; `test_query_types` has mypy check it. It is not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

from horde_model_reference.domain.records import (
    EsrganModelRecord,
    GenericModelRecord,
    ImageGenerationModelRecord,
    TextGenerationModelRecord,
)
from horde_model_reference.query import (
    ImageGenerationQuery,
    ModelQuery,
    TextModelQuery,
    build_cross_category_query,
    build_image_query,
    build_query,
    build_text_query,
)
from horde_model_reference.query_fields import FieldRef, ImageFields, Predicate, TextFields, false


def ask(
    images: Mapping[str, ImageGenerationModelRecord],
    texts: list[tuple[TextGenerationModelRecord, str]],
    upscalers: Mapping[str, EsrganModelRecord],
) -> None:
    """Each way to build, narrow and end a query."""
    query = build_image_query(images).where(ImageFields.nsfw == false, baseline="flux_1").tags_any("anime")
    assert_type(query, ImageGenerationQuery)
    assert_type(query.order_by("-name").limit(3).sfw().to_list(), list[ImageGenerationModelRecord])
    assert_type(query.first(), ImageGenerationModelRecord | None)
    assert_type(query.to_list_with_source(), list[tuple[ImageGenerationModelRecord, str]])
    assert_type([record.baseline.upper() for record in query], list[str])
    query.where(lambda record: record.inpainting)
    query.order_by(ImageFields.name, ImageFields.size_on_disk_bytes.desc())

    big = build_text_query(texts).where(TextFields.parameters_count >= 7e9, ~TextFields.nsfw)
    assert_type(big, TextModelQuery)
    assert_type(big.in_group("Llama").to_dict(), dict[str, TextGenerationModelRecord])
    assert_type(build_query(images, ImageGenerationModelRecord), ModelQuery[ImageGenerationModelRecord])
    assert_type(build_query(upscalers, EsrganModelRecord), ModelQuery[EsrganModelRecord])
    assert_type(build_cross_category_query({"esrgan": upscalers}).to_list(), list[GenericModelRecord])

    assert_type(ImageFields.nsfw, FieldRef[bool])
    assert_type(ImageFields.baseline == "flux_1", Predicate)
    assert_type(ImageFields.name.in_(["a"]) & ~ImageFields.nsfw, Predicate)
    _ = TextFields.parameters_count > "7B"  # type: ignore[operator]
    _ = ImageFields.nsfww  # type: ignore[attr-defined]
