"""Providers, their registry, source selectors, and the merge of several sources."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

import pytest

from horde_model_reference.domain.records import (
    EsrganModelRecord,
    GenericModelRecord,
    GfpganModelRecord,
    TextGenerationModelRecord,
)
from horde_model_reference.errors import MalformedInput, UnknownSource
from horde_model_reference.providers import (
    ANY_SOURCE,
    HORDE_SOURCE_ID,
    ModelProvider,
    ModelProviderRegistry,
    StaticModelProvider,
)
from horde_model_reference.query import build_query
from horde_model_reference.source_consts import RESERVED_SOURCE_IDS, normalize_source_selector


def upscalers(*names: str) -> dict[str, EsrganModelRecord]:
    """Records by name."""
    return {name: EsrganModelRecord(name=name) for name in names}


def static(source_id: str, *names: str) -> StaticModelProvider:
    """A provider of upscalers of these names."""
    return StaticModelProvider(source_id, {"esrgan": upscalers(*names)})


class Moody(ModelProvider):
    """A provider that answers with what a test puts into `mood`: records, None, or an error to raise."""

    def __init__(self, mood: Mapping[str, GenericModelRecord] | Exception | None = None) -> None:
        self.mood = mood
        self.asked: list[bool] = []

    @property
    def source_id(self) -> str:
        return "moody"

    def provided_categories(self) -> set[str]:
        return {"esrgan"}

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> Mapping[str, GenericModelRecord] | None:
        self.asked.append(force_refresh)
        if isinstance(self.mood, Exception):
            raise self.mood
        return self.mood


@pytest.fixture
def registry() -> ModelProviderRegistry:
    """An empty registry."""
    return ModelProviderRegistry()


@pytest.mark.parametrize(
    ("selector", "sources"),
    [
        ("horde", ("horde",)),
        ("mine", ("mine",)),
        (["mine", "horde", "mine"], ("mine", "horde")),
        ("any", ("horde", "mine", "beta")),
        (["beta", "any"], ("beta", "horde", "mine")),
    ],
)
def test_a_selector_names_each_source_once_in_order(selector: str | list[str], sources: tuple[str, ...]) -> None:
    """`any` is the reference and all providers; in a list it fills up what was not named."""
    assert normalize_source_selector(selector, ("mine", "beta")) == sources


@pytest.mark.parametrize("selector", ["nobody", ["horde", "nobody"], ""])
def test_an_unknown_source_is_named(selector: str | list[str]) -> None:
    """The error knows the id and the ids there are."""
    with pytest.raises(UnknownSource) as caught:
        normalize_source_selector(selector, ("mine",))
    assert caught.value.source_id in selector
    assert caught.value.known == ("horde", "mine")
    assert isinstance(caught.value, ValueError)


def test_a_selector_cannot_be_empty() -> None:
    """No source at all is a mistake, and not an empty answer."""
    with pytest.raises(ValueError, match="at least one"):
        normalize_source_selector([])


def test_the_first_source_that_has_a_name_wins_it(registry: ModelProviderRegistry) -> None:
    """In the order met, with the source of each record; records never mix."""
    mine, horde = upscalers("a", "c"), upscalers("b", "a")
    registry.register(StaticModelProvider("mine", {"esrgan": mine}))
    merged = registry.collect("esrgan", ["mine", "horde"], horde=lambda: horde, record_type=EsrganModelRecord)
    assert list(merged) == ["a", "c", "b"]
    assert merged["a"][0] is mine["a"]
    assert [source for _, source in merged.values()] == ["mine", "mine", "horde"]


@pytest.mark.parametrize("source_id", [*sorted(RESERVED_SOURCE_IDS), "", "  "])
def test_reserved_and_empty_source_ids_are_refused(registry: ModelProviderRegistry, source_id: str) -> None:
    """By the provider itself, and so by the registry."""
    with pytest.raises(ValueError, match="source id"):
        registry.register(static(source_id))
    assert registry.ids() == ()


def test_a_source_id_is_taken_once_unless_replaced(registry: ModelProviderRegistry) -> None:
    """Order is that of registration; a replacement keeps its place."""
    first, second = static("mine"), static("mine", "x")
    registry.register(first)
    registry.register(static("beta"))
    with pytest.raises(ValueError, match="replace=True"):
        registry.register(second)
    assert registry.get("mine") is first
    registry.register(second, replace=True)
    assert registry.get("mine") is second
    assert registry.ids() == ("mine", "beta")


def test_unregistering_tells_whether_there_was_one(registry: ModelProviderRegistry) -> None:
    """Unknown ids are no error, here and in `get`."""
    registry.register(static("mine"))
    assert registry.unregister("mine") is True
    assert registry.unregister("mine") is False
    assert registry.get("mine") is None


def test_a_provider_has_the_documented_manners() -> None:
    """What the interface gives to each."""
    provider = static("mine", "x")
    assert provider.validate_source_id() == "mine"
    assert provider.serves_category("esrgan")
    assert not provider.serves_category("clip")
    assert provider.supports_writes() is False
    assert provider.provided_categories() == {"esrgan"}


def test_a_static_provider_gives_a_new_dict_each_time() -> None:
    """Whoever changes what it was given harms nobody else."""
    provider = static("mine", "x")
    first = provider.fetch_category("esrgan")
    assert first is not None
    first.clear()
    assert list(provider.fetch_category("esrgan", force_refresh=True) or ()) == ["x"]
    assert provider.fetch_category("clip") is None


def test_a_static_provider_reads_raw_records() -> None:
    """By the class of the category and the keys of the file format; a missing name is the key."""
    raw = {"text_generation": {"a": {"parameters": 8}, "b": {"name": "b", "parameters": 9}}}
    records = StaticModelProvider.from_raw("mine", raw).fetch_category("text_generation") or {}  # type: ignore[arg-type]
    assert all(isinstance(record, TextGenerationModelRecord) for record in records.values())
    assert [record.name for record in records.values()] == ["a", "b"]


def test_a_raw_record_that_is_refused_is_named() -> None:
    """Source, category, record and field."""
    with pytest.raises(MalformedInput) as caught:
        StaticModelProvider.from_raw("mine", {"text_generation": {"a": {"parameters": "many"}}})
    assert (caught.value.where, caught.value.record, caught.value.field) == ("mine/text_generation", "a", "parameters")


def test_several_sources_read_as_one(registry: ModelProviderRegistry) -> None:
    """With the source of each record, ready for a query."""
    registry.register(static("mine", "a", "b"))
    horde = upscalers("b", "c")
    collected = registry.collect("esrgan", ["mine", "horde"], horde=lambda: horde, record_type=EsrganModelRecord)
    query = build_query(list(collected.values()), EsrganModelRecord)
    assert [(r.name, s) for r, s in query.to_list_with_source()] == [("a", "mine"), ("b", "mine"), ("c", "horde")]
    everything = registry.collect("esrgan", ANY_SOURCE, horde=lambda: horde, record_type=EsrganModelRecord)
    assert {name: source for name, (_, source) in everything.items()} == {"b": "horde", "c": "horde", "a": "mine"}


def test_the_reference_is_read_only_where_selected(registry: ModelProviderRegistry) -> None:
    """A provider's records are to be had while the reference is not."""

    def unavailable() -> dict[str, EsrganModelRecord]:
        raise AssertionError("not selected, and yet read")

    registry.register(static("mine", "a"))
    assert list(registry.collect("esrgan", "mine", horde=unavailable, record_type=EsrganModelRecord)) == ["a"]


def test_a_category_that_a_provider_does_not_serve_is_empty(registry: ModelProviderRegistry) -> None:
    """It is not asked, and that is no failure."""
    moody = Moody(RuntimeError("must not be asked"))
    registry.register(moody)
    assert registry.fetch("moody", "clip", record_type=GenericModelRecord) == {}
    assert moody.asked == []
    assert registry.failed_sources() == {}


def test_an_unregistered_source_cannot_be_fetched(registry: ModelProviderRegistry) -> None:
    """The same error as for a selector."""
    with pytest.raises(UnknownSource, match="moody"):
        registry.fetch("moody", "clip", record_type=GenericModelRecord)


def test_a_failing_provider_is_reported_and_costs_the_others_nothing(
    registry: ModelProviderRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """One log line when it begins to fail and one when it answers again, however often it is asked between."""
    moody = Moody(OSError("no route"))
    registry.register(moody)
    registry.register(static("mine", "a"))
    with caplog.at_level(logging.INFO, logger="horde_model_reference"):
        for _ in range(3):
            names = registry.collect(
                "esrgan", ["moody", "mine"], horde=upscalers, record_type=EsrganModelRecord, force_refresh=True
            )
            assert list(names) == ["a"]
        assert registry.failed_sources() == registry.failed_sources("esrgan") == {"moody": "OSError: no route"}
        assert registry.failed_sources("clip") == {}
        moody.mood = upscalers("b")
        assert list(registry.fetch("moody", "esrgan", record_type=EsrganModelRecord)) == ["b"]
        moody.mood = None
        assert registry.fetch("moody", "esrgan", record_type=EsrganModelRecord) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert moody.asked == [True, True, True, False, False]
    assert registry.failed_sources() == {}


def test_a_provider_that_is_gone_has_not_failed(registry: ModelProviderRegistry) -> None:
    """Unregistering and replacing both begin afresh."""
    registry.register(Moody(OSError("no route")))
    registry.fetch("moody", "esrgan", record_type=EsrganModelRecord)
    registry.register(Moody(), replace=True)
    assert registry.failed_sources() == {}
    registry.register(Moody(OSError("no route")), replace=True)
    registry.fetch("moody", "esrgan", record_type=EsrganModelRecord)
    registry.unregister("moody")
    assert registry.failed_sources() == {}


def test_a_record_of_the_wrong_class_is_an_error_of_the_program(registry: ModelProviderRegistry) -> None:
    """It names source, category, record and both classes."""
    registry.register(Moody({"x": GfpganModelRecord(name="x")}))
    with pytest.raises(RuntimeError, match="moody: esrgan/x is a GfpganModelRecord, not a EsrganModelRecord"):
        registry.fetch("moody", "esrgan", record_type=EsrganModelRecord)


def test_a_registry_bears_many_threads() -> None:
    """Registrations, reads and removals at once neither fail nor get lost."""
    registry, errors = ModelProviderRegistry(), list[Exception]()

    def come_and_go(number: int) -> None:
        try:
            for _ in range(50):
                registry.register(static(f"s{number}", "a"), replace=True)
                registry.collect("esrgan", f"s{number}", horde=upscalers, record_type=EsrganModelRecord)
                registry.failed_sources()
                registry.ids()
                registry.unregister(f"s{number}")
            registry.register(static(f"s{number}"))
        except Exception as error:  # noqa: BLE001  (handed to the test's own thread)
            errors.append(error)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(registry.ids()) == ["s0", "s1", "s2", "s3"]


def test_the_constants_are_the_documented_ones() -> None:
    """Clients compare with them."""
    assert (HORDE_SOURCE_ID, ANY_SOURCE, sorted(RESERVED_SOURCE_IDS)) == ("horde", "any", ["any", "horde"])
