"""`where`: operators, keywords, None, paths, and the errors that say what was meant."""

from __future__ import annotations

import pytest

from horde_model_reference.errors import HordeModelReferenceError, MalformedInput, UnknownField
from horde_model_reference.query import build_image_query
from horde_model_reference.query_fields import FieldRef, ImageFields, TextFields, false, true
from tests.query.samples import IMAGES, image, images, texts

ALL = list(IMAGES)


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({"name": "Flux"}, ["Flux"]),
        ({"baseline": ["flux_1", "stable_diffusion_xl"]}, ["Animagine XL", "AlbedoBase XL", "Flux"]),
        ({"baseline": ("flux_1",)}, ["Flux"]),
        ({"baseline": {"flux_1"}}, ["Flux"]),
        ({"baseline": []}, []),
        ({"baseline__in": iter(["flux_1"])}, ["Flux"]),
        ({"baseline__ne": ["stable_diffusion_1", "flux_1"]}, ["Animagine XL", "AlbedoBase XL"]),
        ({"baseline__ne": "stable_diffusion_1", "name__ne": "Flux"}, ["Animagine XL", "AlbedoBase XL"]),
        ({"size_on_disk_bytes": None}, ["Grown Up"]),
        ({"size_on_disk_bytes": [None, 17]}, ["Grown Up", "Flux"]),
        ({"size_on_disk_bytes__ne": None}, [name for name in ALL if name != "Grown Up"]),
        ({"size_on_disk_bytes__gt": 6}, ["Animagine XL", "Flux"]),
        ({"size_on_disk_bytes__gte": 6}, ["Animagine XL", "AlbedoBase XL", "Flux"]),
        ({"size_on_disk_bytes__lt": 6}, ["Deliberate", "Painter"]),
        ({"size_on_disk_bytes__lte": 6}, ["Deliberate", "AlbedoBase XL", "Painter"]),
        ({"size_on_disk_bytes__gt": 4, "size_on_disk_bytes__lt": 7}, ["AlbedoBase XL"]),
        ({"name__contains": "XL"}, ["Animagine XL", "AlbedoBase XL"]),
        ({"tags__contains": "anime"}, ["Deliberate", "Animagine XL"]),
        ({"homepage__contains": "example"}, ["AlbedoBase XL"]),
        ({"nsfw": True}, ["Grown Up"]),
        ({"nsfw": true}, ["Grown Up"]),
        ({"nsfw": [true]}, ["Grown Up"]),
        ({"model_classification__domain": "image", "nsfw": True}, ["Grown Up"]),
        ({"finetune_series__ne": None, "finetune_series__name": "Flux"}, ["Flux"]),
        ({"requirements__contains": "min_steps", "requirements__min_steps__gte": 8}, ["Grown Up"]),
        ({"tags": [["anime"], ["photo"]]}, ["Animagine XL", "Grown Up"]),
    ],
)
def test_keywords_select_by_field_operator_and_value(keywords: dict[str, object], names: list[str]) -> None:
    """Each operator, alone and in pairs, on present and missing values."""
    assert images().where(**keywords).names() == names


def test_an_alias_names_its_field() -> None:
    """`parameters`, the name in files and over HTTP, finds `parameters_count`."""
    assert texts().where(parameters__gt=8e9).order_by("-parameters").names() == ["org/large", "org/middle"]


@pytest.mark.parametrize("no", [False, false, false()])
def test_a_bool_field_compares_with_each_way_to_say_false(no: object) -> None:
    """`ImageFields.nsfw == false` matched nothing in another implementation; here all three spellings work."""
    expected = [name for name in ALL if name != "Grown Up"]
    assert images().where(ImageFields.nsfw == no).names() == expected
    assert images().where(~(ImageFields.nsfw == true())).names() == expected
    assert images().where(~ImageFields.nsfw).names() == expected


def test_field_references_take_every_operator() -> None:
    """The expressions select what the keyword forms do."""
    size = ImageFields.size_on_disk_bytes
    assert images().where(size < 6).names() == ["Deliberate", "Painter"]
    assert images().where(size <= 4).names() == ["Deliberate", "Painter"]
    assert images().where(size > 7).names() == ["Flux"]
    assert images().where(size >= 7).names() == ["Animagine XL", "Flux"]
    assert images().where(size.is_none()).names() == ["Grown Up"]
    assert images().where(size.is_not_none(), size != 4, ~size.in_([6, 7])).names() == ["Flux"]
    assert images().where(ImageFields.name.contains("XL")).names() == ["Animagine XL", "AlbedoBase XL"]
    assert images().where(ImageFields.inpainting).names() == ["Painter"]


def test_a_field_reference_goes_on_into_a_dict() -> None:
    """`ref["key"]` is the expression form of `field__key`."""
    settings = TextFields.settings
    assert texts().where(settings.is_not_none() & (settings["temperature"] == 0.7)).names() == ["org/middle"]


def test_and_and_or_judge_on_the_right_only_what_the_left_left_open() -> None:
    """As with `and` and `or`: a guard on the left keeps records away from a path that would fail for them."""
    series, key = ImageFields.finetune_series, ImageFields.finetune_series["name"]
    assert images().where(series.is_not_none() & (key == "Flux")).names() == ["Flux"]
    unserious = images().where(series.is_none() | (key != "Flux")).names()
    assert unserious == [name for name in ALL if name != "Flux"]


def test_predicates_nest_and_negate() -> None:
    """`&`, `|` and `~` together."""
    xl = ImageFields.baseline == "stable_diffusion_xl"
    big = ImageFields.size_on_disk_bytes > 6
    assert images().where((xl & ~big) | (~xl & big)).names() == ["AlbedoBase XL", "Flux"]


def test_functions_are_predicates() -> None:
    """A callable is asked for each record, and its answer taken for its truth."""
    assert images().where(lambda record: record.tags).names() == ["Deliberate", "Animagine XL", "Grown Up"]


def test_true_and_false_are_predicates_too() -> None:
    """They are the neutral ends from which to build `&` and `|` up."""
    assert images().where(true).names() == ALL
    assert not images().where(false()).exists()
    assert images().where(false | (ImageFields.name == "Flux")).names() == ["Flux"]


def test_a_predicate_judges_a_single_record() -> None:
    """Calling it with a record answers for that record."""
    assert (ImageFields.nsfw == True)(IMAGES["Grown Up"]) is True  # noqa: E712
    assert true(IMAGES["Flux"]) is True
    assert false(IMAGES["Flux"]) is False


def test_a_predicate_refuses_to_be_a_truth_value() -> None:
    """`and`, `not` and chained comparisons would silently drop a condition."""
    with pytest.raises(TypeError, match="&"):
        images().where(ImageFields.nsfw == False and ImageFields.name == "Flux")  # noqa: E712
    with pytest.raises(TypeError, match="&"):
        images().where(3 < ImageFields.size_on_disk_bytes < 5)


def test_an_unknown_field_is_refused_at_once_with_the_close_and_the_valid_names() -> None:
    """Before any record is looked at, even without records; the error carries its facts."""
    with pytest.raises(UnknownField, match="Did you mean baseline") as caught:
        build_image_query({}).where(basline="flux_1")
    assert caught.value.name == "basline"
    assert "baseline" in caught.value.close
    assert {"name", "nsfw", "tags"} <= set(caught.value.known)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, HordeModelReferenceError)


@pytest.mark.parametrize(
    "predicate",
    [
        TextFields.parameters_count > 1,
        ~(TextFields.parameters_count > 1),
        ImageFields.nsfw | TextFields.parameters_count,
        ImageFields.nsfw & (FieldRef[object]("parameters_count") == 1),
    ],
)
def test_a_field_reference_of_another_class_is_refused_too(predicate: FieldRef[object]) -> None:
    """However deep in an expression it stands; it does not read as a silent None."""
    with pytest.raises(UnknownField, match="parameters_count"):
        images().where(predicate)


def test_what_is_no_predicate_is_refused() -> None:
    """A bare bool is usually a comparison that lost its field."""
    with pytest.raises(TypeError, match="where"):
        images().where(True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"finetune_series__name": "Flux"}, "finetune_series is None and has no 'name'"),
        ({"requirements__ne": None, "requirements__nope": 1}, "requirements is a dict and has no 'nope'"),
        ({"config__model_dump": 1}, "has no 'model_dump'"),
        ({"finetune_series__ne": None, "finetune_series__name__x": "Flux"}, "finetune_series__name is a str"),
    ],
)
def test_a_path_that_ends_early_is_an_error_of_the_record(keywords: dict[str, object], told: str) -> None:
    """When evaluated, not when built; it names the record and the field, and reaches no methods."""
    query = images().where(**keywords)
    with pytest.raises(MalformedInput, match=told) as caught:
        query.to_list()
    assert caught.value.record in IMAGES
    assert caught.value.field == list(keywords)[-1]


@pytest.mark.parametrize("keyword", ["name__startswith", "size_on_disk_bytes__les", "tags__0", "nsfw__x__gt"])
def test_a_step_into_a_single_value_is_an_unknown_field_when_built(keyword: str) -> None:
    """It was once told when evaluated, as the fault of the first record."""
    with pytest.raises(UnknownField, match="nsfw" if keyword.startswith("nsfw") else keyword):
        images().where(**{keyword: 1})


def test_a_path_reaches_fields_that_a_nested_model_does_not_know() -> None:
    """Unknown fields survive in records, and can be asked for."""
    record = image("x")
    record.metadata.__pydantic_extra__ = {"curator": "me"}
    assert build_image_query({"x": record}).where(metadata__curator="me").exists()


@pytest.mark.parametrize("value", ["flux_1", b"flux_1"])
def test_in_with_a_string_is_refused(value: object) -> None:
    """It would be taken letter by letter."""
    with pytest.raises(ValueError, match="not the string"):
        images().where(baseline__in=value)


def test_in_needs_something_to_iterate() -> None:
    """A single value is a `TypeError`, named."""
    with pytest.raises(TypeError, match="baseline"):
        images().where(baseline__in=5)


@pytest.mark.parametrize(
    "keywords",
    [{"name__gt": 5}, {"size_on_disk_bytes__lt": "big"}, {"size_on_disk_bytes__gt": None}, {"nsfw__contains": 1}],
)
def test_values_that_cannot_be_compared_are_a_type_error(keywords: dict[str, object]) -> None:
    """When evaluated; it names the field."""
    query = images().where(**keywords)
    with pytest.raises(TypeError, match=next(iter(keywords)).split("__")[0]):
        query.to_list()


def test_tags_select_any_all_or_none() -> None:
    """Given as words, as a list, or as both."""
    assert images().tags_any("anime").names() == ["Deliberate", "Animagine XL"]
    assert images().tags_any(["photo"], "generalist").names() == ["Deliberate", "Grown Up"]
    assert images().tags_all(["anime", "generalist"]).names() == ["Deliberate"]
    assert images().tags_none("anime", "photo").names() == ["AlbedoBase XL", "Flux", "Painter"]


def test_no_tags_mean_nothing_tagged_records_and_everything() -> None:
    """The three ends of an empty list."""
    assert images().tags_any([]).names() == []
    assert images().tags_all([]).names() == ["Deliberate", "Animagine XL", "Grown Up"]
    assert images().tags_none([]).names() == ALL


def test_records_whose_tags_are_missing_have_none() -> None:
    """A text record's tags may be null."""
    assert texts().tags_any("x").names() == []
    assert texts().tags_none("x").count() == 3


def test_a_field_reference_says_what_it_is() -> None:
    """Its repr is its path, and it can be a key."""
    assert repr(ImageFields.requirements["min_steps"]) == "FieldRef('requirements__min_steps')"
    assert len({ImageFields.nsfw: 1, ImageFields.name: 2}) == 2


def test_a_field_reference_cannot_be_iterated() -> None:
    """`tags_any(ImageFields.tags)` and `order_by(*ImageFields.name)` once ran until the memory was full."""
    with pytest.raises(TypeError, match="not iterable"):
        iter(ImageFields.tags)  # type: ignore[call-overload]
