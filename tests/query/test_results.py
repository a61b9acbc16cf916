"""Order, slices, terminals and the helpers of the query classes."""

from __future__ import annotations

import pytest

from horde_model_reference.domain.records import (
    ControlNetModelRecord,
    EsrganModelRecord,
    GenericModelRecord,
    ImageGenerationModelRecord,
)
from horde_model_reference.domain.validation import validate_records
from horde_model_reference.errors import UnknownField
from horde_model_reference.query import (
    HORDE_SOURCE_ID,
    ControlNetQuery,
    ImageGenerationQuery,
    ModelQuery,
    build_cross_category_query,
    build_image_query,
    build_query,
)
from horde_model_reference.query_fields import GenericFields, ImageFields, OrderSpec
from tests.query.samples import IMAGES, TEXTS, controlnet, image, images, text, texts

ALL = list(IMAGES)


def test_a_query_is_immutable() -> None:
    """Every step gives a new query and leaves the old one as it was."""
    query = images()
    for step in (query.where(nsfw=True), query.limit(1), query.offset(1), query.order_by("name"), query.tags_any("x")):
        assert step is not query
        assert type(step) is type(query)
    assert query.names() == ALL


def test_missing_values_come_last_and_descending_first() -> None:
    """Records that tie keep the order they had, in both directions."""
    ascending = images().order_by("size_on_disk_bytes").names()
    assert ascending == ["Deliberate", "Painter", "AlbedoBase XL", "Animagine XL", "Flux", "Grown Up"]
    descending = images().order_by("-size_on_disk_bytes").names()
    assert descending == ["Grown Up", "Flux", "Animagine XL", "AlbedoBase XL", "Deliberate", "Painter"]


@pytest.mark.parametrize(
    "keys",
    [
        ("baseline", "-name"),
        (ImageFields.baseline, ImageFields.name.desc()),
        (ImageFields.baseline.asc(), OrderSpec("name", descending=True)),
    ],
)
def test_several_keys_order_by_the_first_then_the_next(keys: tuple[object, ...]) -> None:
    """As strings, as field references and as `OrderSpec`."""
    expected = ["Flux", "Painter", "Grown Up", "Deliberate", "Animagine XL", "AlbedoBase XL"]
    assert images().order_by(*keys).names() == expected  # type: ignore[arg-type]


def test_descending_turns_each_key_around() -> None:
    """Also one that was descending already."""
    assert texts().order_by("parameters_count", descending=True).names() == ["org/large", "org/middle", "small"]
    assert texts().order_by("-parameters_count", descending=True).names() == ["small", "org/middle", "org/large"]


def test_a_second_order_and_a_second_limit_replace_the_first() -> None:
    """And none at all takes the order away."""
    assert images().order_by("name").order_by("-name").limit(3).limit(1).names() == ["Painter"]
    assert images().order_by("name").order_by().limit(1).limit(None).offset(2).offset(None).names() == ALL


def test_order_reaches_into_nested_models() -> None:
    """By the same paths as `where`."""
    records = {n: image(n, metadata={"created_at": at}) for n, at in (("new", 3), ("old", 1), ("lost", None))}
    assert build_image_query(records).order_by("metadata__created_at").names() == ["old", "new", "lost"]


def test_an_order_by_values_without_one_is_refused() -> None:
    """Unknown fields at once, values that do not compare when evaluated."""
    with pytest.raises(UnknownField, match="nmae"):
        images().order_by("nmae")
    query = images().order_by("config")
    with pytest.raises(TypeError, match="cannot order by config"):
        query.to_list()


@pytest.mark.parametrize("limit", [None, 0, 2, 99, -1, -99])
@pytest.mark.parametrize("offset", [None, 0, 2, 99, -2, -99])
def test_limit_and_offset_are_slices(limit: int | None, offset: int | None) -> None:
    """`[offset:][:limit]`, also with negative numbers."""
    assert images().limit(limit).offset(offset).names() == ALL[offset:][:limit]


def test_a_limit_is_a_whole_number() -> None:
    """Refused where it is written."""
    with pytest.raises(TypeError):
        images().limit(1.5)  # type: ignore[arg-type]


def test_terminals_tell_the_same_selection() -> None:
    """List, iteration, names, dict, count, exists and first agree."""
    query = images().where(baseline="stable_diffusion_xl")
    records = [IMAGES["Animagine XL"], IMAGES["AlbedoBase XL"]]
    assert query.to_list() == list(query) == list(query.to_dict().values()) == records
    assert query.names() == list(query.to_dict())
    assert (query.count(), query.exists(), query.first()) == (2, True, records[0])
    assert query.first() is IMAGES["Animagine XL"], "records are not copied"


def test_an_empty_selection_has_no_first() -> None:
    """None, as clients expect, and not an error."""
    query = images().where(name="nobody")
    assert (query.to_list(), query.first(), query.exists(), query.count()) == ([], None, False, 0)


def test_a_query_evaluates_anew() -> None:
    """Records are mutable; a query remembers its conditions and not its result."""
    record = image("x")
    query = build_image_query({"x": record}).where(nsfw=True)
    assert not query.exists()
    record.nsfw = True
    assert query.exists()


def test_distinct_gives_each_value_once_in_the_order_met() -> None:
    """A list counts by its elements; records without values of a plain field count as None."""
    assert images().distinct("baseline") == ["stable_diffusion_1", "stable_diffusion_xl", "flux_1"]
    assert images().distinct(ImageFields.tags) == ["generalist", "anime", "photo"]
    assert images().limit(3).distinct("homepage") == [None, "https://example.org"]


def test_group_by_puts_records_under_each_of_their_values() -> None:
    """A record with a list is under each element, once."""
    groups = images().group_by("tags")
    names = {key: [record.name for record in records] for key, records in groups.items()}
    assert names == {"generalist": ["Deliberate"], "anime": ["Deliberate", "Animagine XL"], "photo": ["Grown Up"]}
    assert len(build_image_query({"x": image("x", tags=["a", "a"])}).group_by("tags")["a"]) == 1


@pytest.mark.parametrize("field", ["requirements", "config", "config__download"])
def test_values_that_cannot_be_keys_are_refused(field: str) -> None:
    """Dicts and nested models, also inside a list; the error names field and record."""
    download = {"file_name": "a", "file_url": "https://example.org/a"}
    query = build_image_query({"x": image("x", requirements={"a": 1}, config={"download": [download]})})
    for terminal in (query.distinct, query.group_by):
        with pytest.raises(ValueError, match=f"{field} of 'x' cannot be a key"):
            terminal(field)
    with pytest.raises(UnknownField):
        query.distinct(GenericFields.name.desc().field + "s")


def test_distinct_refuses_a_field_reference_of_another_class() -> None:
    """The same check as in `where`."""
    with pytest.raises(UnknownField):
        texts().distinct(ImageFields.showcases)


def test_each_record_tells_its_source() -> None:
    """`horde` where records came by name, else what they came with, in order."""
    assert images().limit(1).to_list_with_source() == [(IMAGES["Deliberate"], HORDE_SOURCE_ID)]
    twin, other = image("same"), image("same")
    query = build_image_query([(twin, "mine"), (other, "horde")])
    assert [(record is twin, source) for record, source in query.to_list_with_source()] == [
        (True, "mine"),
        (False, "horde"),
    ]


def test_image_queries_ask_the_usual_questions() -> None:
    """Each method is a condition by a readable name."""
    assert images().for_baseline("flux_1", "stable_diffusion_xl").count() == 3
    assert images().for_style("anime").names() == ["Animagine XL"]
    assert images().inpainting().names() == ["Painter"]
    assert images().inpainting(False).count() == 5
    assert images().nsfw().names() == ["Grown Up"]
    assert images().sfw().count() == 5


def test_text_queries_ask_the_usual_questions() -> None:
    """Group, size, baseline, safety."""
    assert texts().in_group("Llama").names() == ["org/middle", "org/large"]
    assert texts().parameters_between(3e9, 8.03e9).names() == ["small", "org/middle"]
    assert texts().parameters_between(at_least=9e9).names() == ["org/large"]
    assert texts().parameters_between(at_most=9e9).count() == 2
    assert texts().for_baseline("Qwen").names() == ["small"]
    assert texts().nsfw().names() == ["org/large"]
    assert texts().sfw().count() == 2


def test_controlnet_queries_ask_for_a_style() -> None:
    """The one field they add."""
    records = {name: controlnet(name, controlnet_style=style) for name, style in (("a", "canny"), ("b", "depth"))}
    assert ControlNetQuery(ControlNetModelRecord, records).for_style("depth").names() == ["b"]


def test_any_record_class_can_be_queried() -> None:
    """Those without a query class of their own have the general one."""
    record = EsrganModelRecord(name="4x")
    query = build_query({"4x": record}, EsrganModelRecord)
    assert query.where(name="4x").first() is record
    with pytest.raises(UnknownField, match="tags"):
        query.tags_any("x")
    assert repr(query.where(name="4x")) == "<ModelQuery of 1 EsrganModelRecord, 1 conditions>"


def test_a_record_class_has_the_query_class_nearest_to_it() -> None:
    """Also a class that an application derived; its own fields can be asked for."""

    class Rated(ImageGenerationModelRecord):
        stars: int = 0

    rated = {name: Rated(name=name, baseline="flux_1", nsfw=False, stars=stars) for name, stars in (("a", 1), ("b", 5))}
    query = build_query(rated, Rated)
    assert isinstance(query, ImageGenerationQuery)
    assert query.sfw().where(stars__gt=3).names() == ["b"]
    assert type(build_query({}, EsrganModelRecord)) is ModelQuery


def test_a_cross_category_query_runs_in_category_order() -> None:
    """Whatever order the mapping has, unknown categories last; names may repeat, and sources are kept."""
    newer = GenericModelRecord.model_validate(
        EsrganModelRecord(name="new").model_dump() | {"record_type": "upscale_video"}
    )
    upscaler = EsrganModelRecord(name="Flux")
    query = build_cross_category_query(
        {
            "upscale_video": {"new": newer},
            "text_generation": TEXTS,
            "image_generation": IMAGES,
            "esrgan": [(upscaler, "mine")],
        }
    )
    assert query.names() == ["Flux", *ALL, *TEXTS, "new"]
    assert query.where(name="Flux").to_list_with_source() == [(upscaler, "mine"), (IMAGES["Flux"], "horde")]
    assert query.to_dict()["Flux"] is upscaler
    assert query.where(GenericFields.size_on_disk_bytes > 7).names() == ["Flux"]
    assert set(query.distinct("record_type")) == {"esrgan", "image_generation", "text_generation", "upscale_video"}
    with pytest.raises(UnknownField):
        query.where(nsfw=True)


def test_a_name_holds_any_characters() -> None:
    """Slashes are nothing special."""
    assert texts().where(name="org/large").first() == text(
        "org/large", 70_000_000_000, text_model_group="Llama", baseline="Llama", nsfw=True
    )


_NEWER = {
    "a baseline": {"baseline": "hyper_diffusion_9"},
    "a style": {"style": "holographic"},
    "a scheduler": {"requirements": {"schedulers": ["quantum"]}},
    "a category": {"record_type": "smell_generation"},
    "a schema": {"metadata": {"schema_version": "3.0.0"}},
}


@pytest.mark.parametrize("newer", _NEWER.values(), ids=_NEWER)
def test_what_this_version_does_not_know_is_read_and_can_be_hidden(newer: dict[str, object]) -> None:
    """A newer PRIMARY may send it; a worker that cannot run it asks for the others alone."""
    fields: dict[str, object] = {"name": "new", "mood": "an unknown field hides nothing", **newer}
    records = {"old": image("old", metadata={"schema_version": "2.9.1"}), "new": image(**fields)}  # type: ignore[arg-type]
    query = build_image_query(records)
    assert query.names() == ["old", "new"]
    assert query.supported_only().names() == ["old"]


def test_a_domain_of_a_later_version_is_hidden_too() -> None:
    """Through the validation of a whole category, which keeps it as text."""
    smell = b'{"name": "n", "model_classification": {"domain": "smell", "purpose": "generation"}}'
    body = b'{"n": ' + smell + b', "o": {"name": "o"}}'
    records, findings = validate_records("esrgan", body)
    assert (list(records), findings) == (["n", "o"], [])
    assert build_query(records, EsrganModelRecord).supported_only().names() == ["o"]
