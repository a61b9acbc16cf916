"""`ModelReferenceManager` as clients use it: one instance, strategies, reads in every form, modes."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from horde_model_reference import MODEL_REFERENCE_CATEGORY, ModelReferenceManager, PrefetchStrategy, StaticModelProvider
from horde_model_reference.backends import ModelReferenceBackend
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.domain.records import EsrganModelRecord
from horde_model_reference.errors import ConfigurationLocked, ReferenceUnavailable, UnknownSource
from horde_model_reference.settings import HordeModelReferenceSettings, ReplicateMode
from horde_model_reference.sources.local import StarterSource
from horde_model_reference.wiring import Mode, assemble
from tests.reading.samples import ESRGAN, RECORDS
from tests.reading.simulators import Loopback, Primary, http

NONE = PrefetchStrategy.NONE


class Backend(ModelReferenceBackend):
    """An application's own backend, as the brief user writes one."""

    def __init__(self, documents: dict[str, object] | None = None) -> None:
        self.documents = RECORDS if documents is None else documents
        self.asked: list[str] = []

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> JsonObject | None:
        self.asked.append(str(category))
        return self.documents.get(category)  # type: ignore[return-value]


# -- one instance --


def test_there_is_one_instance_and_unspecified_parameters_never_conflict(root: Path) -> None:
    """`ModelReferenceManager()` after any first call gives the instance."""
    assert not ModelReferenceManager.has_instance()
    with pytest.raises(RuntimeError, match="not constructed"):
        ModelReferenceManager.get_instance()
    first = ModelReferenceManager(base_path=root, offline=True, prefetch_strategy=NONE, replicate_mode="REPLICA")
    assert ModelReferenceManager() is first
    assert ModelReferenceManager(offline=True, prefetch_strategy=NONE) is first
    assert ModelReferenceManager(base_path=str(root), replicate_mode=ReplicateMode.REPLICA) is first
    assert ModelReferenceManager.get_instance() is first
    assert ModelReferenceManager.has_instance()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("offline", False),
        ("base_path", "/elsewhere"),
        ("replicate_mode", "PRIMARY"),
        ("prefetch_strategy", "sync"),
        ("backend", Backend()),
    ],
)
def test_a_different_explicit_value_is_refused_by_name(root: Path, parameter: str, value: object) -> None:
    """The error names the parameter, the value in force and the value asked for."""
    first = ModelReferenceManager(base_path=root, offline=True, prefetch_strategy=NONE)
    with pytest.raises(RuntimeError, match=parameter) as caught:
        ModelReferenceManager(**{parameter: value})  # type: ignore[arg-type]
    assert isinstance(caught.value, ConfigurationLocked)
    assert caught.value.in_force == getattr(first, parameter)
    assert ModelReferenceManager() is first


def test_a_failed_construction_leaves_nothing(root: Path) -> None:
    """Bad values, and a SYNC prefetch that finds nothing at all."""
    with pytest.raises(ValueError, match="sometimes"):
        ModelReferenceManager(prefetch_strategy="sometimes")
    with pytest.raises(ValueError, match="SECONDARY"):
        ModelReferenceManager(replicate_mode="secondary")
    with pytest.raises(ReferenceUnavailable):
        ModelReferenceManager(backend=Backend({}), prefetch_strategy=PrefetchStrategy.SYNC)
    assert not ModelReferenceManager.has_instance()
    assert ModelReferenceManager(base_path=root, offline=True).offline


def test_positional_parameters_are_a_type_error() -> None:
    """All are keywords."""
    with pytest.raises(TypeError):
        ModelReferenceManager(Backend())  # type: ignore[call-arg]


def test_racing_constructions_give_one_instance(root: Path) -> None:
    """Sixteen threads begin at once."""
    barrier = threading.Barrier(16)

    def construct() -> ModelReferenceManager:
        barrier.wait(10)
        return ModelReferenceManager(base_path=root, offline=True)

    with ThreadPoolExecutor(16) as pool:
        found = {id(each.result(20)) for each in [pool.submit(construct) for _ in range(16)]}
    assert len(found) == 1


def test_tests_of_clients_may_reset_assign_and_subclass(root: Path) -> None:
    """`reset()`, `_instance = None`, a mock as the instance, methods replaced on the instance, a subclass."""
    first = ModelReferenceManager(base_path=root, offline=True)
    ModelReferenceManager.reset()
    second = ModelReferenceManager(base_path=root, offline=True)
    assert second is not first
    assert first.get_model_reference("esrgan")
    ModelReferenceManager._instance = None
    assert not ModelReferenceManager.has_instance()
    mock = MagicMock(spec=ModelReferenceManager)
    ModelReferenceManager._instance = mock
    assert ModelReferenceManager() is mock
    assert ModelReferenceManager.get_instance() is mock
    ModelReferenceManager._instance = None

    class Mine(ModelReferenceManager):
        pass

    mine = Mine(base_path=root, offline=True)
    assert isinstance(mine, Mine)
    assert ModelReferenceManager() is mine
    mine.get_model_reference = lambda *args, **options: {}  # type: ignore[method-assign]
    assert mine.get_model_reference("esrgan") == {}


def test_a_mock_with_this_spec_sees_every_documented_name() -> None:
    """The names are attributes of the class, and the async ones are seen to be async."""
    mock = MagicMock(spec=ModelReferenceManager)
    names = [n for n in dir(ModelReferenceManager) if n.startswith(("get_", "query", "is_warm", "warm", "register"))]
    assert {
        "query",
        "query_all",
        "get_model",
        "get_model_or_none",
        "get_model_or_none_async",
        "get_model_reference",
    } <= set(names)
    for name in (*names, "image_generation_models", "deferred_prefetch_handle", "backend", "offline"):
        assert hasattr(mock, name), name
    assert inspect.iscoroutinefunction(mock.get_model_reference_async)


# -- when it loads --


@pytest.mark.parametrize("strategy", PrefetchStrategy)
def test_each_strategy_loads_when_it_says(strategy: PrefetchStrategy) -> None:
    """The handle is there, truthy and awaitable for ASYNC and DEFERRED, and each category is asked for once."""
    backend = Backend()
    manager = ModelReferenceManager(backend=backend, prefetch_strategy=strategy)
    handle = manager.deferred_prefetch_handle
    assert bool(handle) is (strategy in (PrefetchStrategy.ASYNC, PrefetchStrategy.DEFERRED))
    assert manager.prefetch_strategy is strategy
    if strategy is PrefetchStrategy.SYNC:
        assert manager.is_warm()
    if handle is None:
        manager.get_model_reference("esrgan")
        assert backend.asked.count("esrgan") == 1
        assert len(backend.asked) == (13 if strategy is PrefetchStrategy.SYNC else 1)
        assert not manager.prefetch_pending
        return
    assert strategy is PrefetchStrategy.ASYNC or manager.prefetch_pending

    async def wait() -> None:
        await handle

    asyncio.run(wait())
    asyncio.run(wait())  # from another loop, a second time
    manager.ensure_ready()
    assert not manager.prefetch_pending
    assert manager.is_warm("esrgan")
    assert sorted(backend.asked) == sorted(set(backend.asked))
    assert len(backend.asked) == 13


@pytest.mark.parametrize("strategy", [PrefetchStrategy.ASYNC, PrefetchStrategy.DEFERRED])
def test_a_prefetch_that_finds_nothing_says_so_and_may_be_repeated(strategy: PrefetchStrategy) -> None:
    """Whoever awaits the handle gets the error, each time, until there is something."""
    backend = Backend({})
    manager = ModelReferenceManager(backend=backend, prefetch_strategy=strategy)
    handle = manager.deferred_prefetch_handle
    assert handle is not None

    async def wait() -> None:
        await handle

    for _ in range(2):
        with pytest.raises(ReferenceUnavailable):
            asyncio.run(wait())
    backend.documents = RECORDS
    asyncio.run(wait())
    assert manager.is_warm("esrgan")


def test_many_coroutines_may_await_one_handle() -> None:
    """It loads once; and a synchronous call beside them does not hang."""
    backend = Backend()
    manager = ModelReferenceManager(backend=backend, prefetch_strategy=PrefetchStrategy.DEFERRED)
    handle = manager.deferred_prefetch_handle
    assert handle is not None

    async def wait() -> None:
        await handle

    async def main() -> None:
        tasks = [asyncio.create_task(wait()) for _ in range(10)]
        await asyncio.gather(*tasks)
        manager.ensure_ready()
        assert manager.get_model_reference("esrgan")

    asyncio.run(main())
    assert len(backend.asked) == 13


# -- reads --


def test_every_read_has_its_four_forms(root: Path) -> None:
    """Raising and not, in both colours, agree."""
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")

    async def twins(category: str) -> tuple[object, ...]:
        return (
            await manager.get_model_reference_or_none_async(category),
            await manager.get_raw_model_reference_json_or_none_async(category),
        )

    async def raising() -> tuple[object, ...]:
        return (
            await manager.get_model_reference_async("esrgan"),
            await manager.get_raw_model_reference_json_async("esrgan"),
        )

    records, raw = manager.get_model_reference("esrgan"), manager.get_raw_model_reference_json("esrgan")
    assert list(records) == ["A", "B"]
    assert raw == ESRGAN
    assert asyncio.run(raising()) == asyncio.run(twins("esrgan")) == (records, raw)
    assert (manager.get_model_reference_or_none("esrgan"), manager.get_raw_model_reference_json_or_none("esrgan")) == (
        records,
        raw,
    )
    for category in ("lora", "nonsense", "video_generation"):
        assert manager.get_model_reference_or_none(category) is None
        assert manager.get_raw_model_reference_json_or_none(category) is None
        assert asyncio.run(twins(category)) == (None, None)
    with pytest.raises(RuntimeError):
        manager.get_model_reference("nonsense")
    with pytest.raises(KeyError):
        manager.get_raw_model_reference_json("nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        manager.query("nonsense")


def test_one_model_has_its_four_forms(root: Path) -> None:
    """A missing model, a missing category and an unknown one are None or the documented `RuntimeError`."""
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    mine = StaticModelProvider.from_raw("mine", {"esrgan": {"C": {"name": "C"}}})
    manager.register_provider(mine)

    async def forms(category: str, name: str, source: str = "horde") -> tuple[object, ...]:
        found = await manager.get_model_or_none_async(category, name, source=source)
        return manager.get_model_or_none(category, name, source=source), found

    record = manager.get_model("esrgan", "A")
    assert record is manager.get_model_reference("esrgan")["A"] is asyncio.run(manager.get_model_async("esrgan", "A"))
    assert asyncio.run(forms("esrgan", "A")) == (record, record)
    assert asyncio.run(forms("esrgan", "C", "mine")) == (manager.get_model("esrgan", "C", source="mine"),) * 2
    for category, name in (("esrgan", "a"), ("lora", "A"), ("nonsense", "A")):
        assert asyncio.run(forms(category, name)) == (None, None)
        with pytest.raises(RuntimeError):
            manager.get_model(category, name)
        with pytest.raises(RuntimeError):
            asyncio.run(manager.get_model_async(category, name))
    with pytest.raises(ValueError, match="nobody"):
        manager.get_model_or_none("esrgan", "A", source="nobody")


def test_reading_everything(root: Path) -> None:
    """`{}` for what cannot be had, None in the other form; lora and ti only in the form that lists every category."""
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    everything = manager.get_all_model_references()
    assert list(everything) == [c for c in MODEL_REFERENCE_CATEGORY if c not in ("lora", "ti")]
    assert list(everything[MODEL_REFERENCE_CATEGORY.esrgan]) == ["A", "B"]
    assert everything["video_generation"] == {}
    whole = manager.get_all_model_references_or_none()
    assert list(whole) == list(MODEL_REFERENCE_CATEGORY)
    assert (whole["lora"], whole["video_generation"]) == (None, None)
    assert asyncio.run(manager.get_all_model_references_async()) == everything
    assert asyncio.run(manager.get_all_model_references_or_none_async()) == whole
    everything["esrgan"].clear()
    assert manager.esrgan_models


def test_reading_everything_again_asks_for_everything() -> None:
    """`overwrite_existing` refreshes what is held."""
    backend = Backend()
    manager = ModelReferenceManager(backend=backend)
    manager.get_all_model_references()
    backend.documents = {**RECORDS, "esrgan": {"C": {"name": "C"}}}
    assert list(manager.get_all_model_references()["esrgan"]) == ["A", "B"]
    assert list(manager.get_all_model_references(overwrite_existing=True)["esrgan"]) == ["C"]


def test_where_nothing_can_be_had_reading_everything_is_empty() -> None:
    """And never raises."""
    manager = ModelReferenceManager(backend=Backend({}))
    assert not any(manager.get_all_model_references().values())
    assert not any(asyncio.run(manager.get_all_model_references_async()).values())
    assert set(manager.get_all_model_references_or_none().values()) == {None}


def test_queries_and_typed_properties_read_the_same_records(root: Path) -> None:
    """The SDK asks `query(image_generation).where(name=X).first()`."""
    manager = ModelReferenceManager(base_path=root, offline=True)
    query = manager.query(MODEL_REFERENCE_CATEGORY.image_generation)
    found = query.where(name="one").first()
    assert found is manager.image_generation_models["one"]
    assert found is manager.get_model("image_generation", "one")
    assert query.where(name="none").first() is None
    names = [record.name for record in manager.query_all().to_list()]
    assert {"A", "B", "one", "two"} <= set(names)


def test_providers_are_read_beside_the_reference(root: Path) -> None:
    """By id, as a list in which the first wins, or as `any`; unknown ids are errors, also in the `_or_none` form."""
    manager = ModelReferenceManager(base_path=root, offline=True)
    mine = {"A": EsrganModelRecord(name="A", description="mine"), "M": EsrganModelRecord(name="M")}
    manager.register_provider(StaticModelProvider("mine", {"esrgan": mine}))
    manager.register_provider(StaticModelProvider("mine", {"esrgan": mine}), replace=True)
    assert manager.get_model_reference("esrgan", source="mine") == mine
    both = manager.get_model_reference("esrgan", source=["mine", "horde"])
    assert (set(both), both["A"].description) == ({"A", "B", "M"}, "mine")
    assert manager.get_model_reference("esrgan", source="any")["A"].description is None
    assert manager.get_model("esrgan", "M", source="mine").name == "M"
    with pytest.raises(RuntimeError, match="Model B not found"):
        manager.get_model("esrgan", "B", source="mine")
    assert asyncio.run(manager.get_model_reference_async("esrgan", source="mine")) == mine
    pairs = manager.query("esrgan", source=["mine", "horde"]).to_list_with_source()
    assert {record.name: source for record, source in pairs} == {"A": "mine", "M": "mine", "B": "horde"}
    assert {r.name for r in manager.query_all(source="mine").to_list()} == {"A", "M"}
    for read in (manager.get_model_reference, manager.get_model_reference_or_none):
        with pytest.raises(ValueError, match="other") as caught:
            read("esrgan", source="other")
        assert isinstance(caught.value, UnknownSource)
    assert manager.get_provider("mine") is not None
    assert manager.get_provider("other") is None
    assert (manager.unregister_provider("mine"), manager.unregister_provider("mine")) == (True, False)
    assert manager.failed_sources() == {}


# -- modes --


def test_a_primary_reads_its_store(tmp_path: Path) -> None:
    """The starter catalogue goes in, and comes out through every read; writes are supported."""
    manager = ModelReferenceManager(base_path=tmp_path, replicate_mode="PRIMARY", offline=False)
    store = manager._parts.store
    assert store is not None
    with store.begin(actor="test") as unit:
        for category in ("esrgan", "image_generation"):
            for name, document in json.loads(StarterSource.body(category) or b"").items():
                unit.put(category, name, json.dumps(document))
    assert manager.backend.supports_writes()
    starter = json.loads(StarterSource.body("image_generation") or b"")
    assert manager.get_raw_model_reference_json("image_generation", overwrite_existing=True) == starter
    assert set(manager.get_model_reference("image_generation")) == set(starter)
    assert manager.get_model_reference("clip") == {}
    assert manager.get_model_reference_or_none("lora") is None
    assert manager.last_updated("esrgan") == manager.last_updated()
    metadata = manager.get_metadata("esrgan")
    assert metadata is not None
    assert manager.get_metadata("clip") is None
    manager._parts.close()


def test_a_replica_reads_primary_remembers_it_and_survives_its_end(tmp_path: Path) -> None:
    """304 where nothing changed; dead, broken or gone: it still reads; so does a new reader offline, from the disk."""
    primary = Primary(dict(RECORDS))
    settings = HordeModelReferenceSettings(cache_ttl_seconds=3600)
    with Loopback(primary) as server:
        settings.primary_api_url = f"{server.url}/api"
        reference = assemble(Mode(ReplicateMode.REPLICA, False, tmp_path), settings).reference
        assert list(reference.read("esrgan")) == ["A", "B"]
        asyncio.run(reference.warm_async())
        asked = len(server.requests)
        record = reference.model("image_generation", "one")
        assert reference.read("image_generation", fresh=True)["one"] is record
        assert "if-none-match" in server.requests[-1].headers
        assert len(server.requests) == asked + 2  # one for the feed, which this PRIMARY does not have
        sources = {status.category: status.source for status in reference.status()}
        assert sources["esrgan"] == settings.primary_api_url
        for broken in (http(503), b"garbage\r\n\r\n", http(200, b"<html>")):
            primary.broken = broken
            assert list(reference.read("esrgan", fresh=True)) == ["A", "B"]
    assert list(reference.read("esrgan", fresh=True)) == ["A", "B"]
    assert all(status.fault for status in reference.status() if status.category == "esrgan")
    offline = ModelReferenceManager(base_path=tmp_path, offline=True)
    assert {c for c, r in offline.get_all_model_references().items() if c in RECORDS and set(r) == set(RECORDS[c])} == {  # type: ignore[call-overload]
        "esrgan",
        "image_generation",
    }
    assert offline.backend.get_statistics()["github_fallbacks"] == 0
    assert not offline.backend.supports_writes()


def test_a_replica_that_finds_nobody_reads_the_starter_catalogue(tmp_path: Path) -> None:
    """A first run without any network reads something."""
    settings = HordeModelReferenceSettings(primary_api_url="http://127.0.0.1:9/api")
    reference = assemble(Mode(ReplicateMode.REPLICA, False, tmp_path), settings).reference
    assert reference.read("image_generation")
    assert reference.status()[0].source == "the starter catalogue"


def test_a_backend_of_the_application_is_what_is_read() -> None:
    """And it is what `manager.backend` gives."""
    backend = Backend()
    manager = ModelReferenceManager(backend=backend)
    assert manager.backend is backend
    assert list(manager.esrgan_models) == ["A", "B"]
    assert not backend.supports_writes()
    assert backend.get_statistics() == {}
    assert ModelReferenceManager(backend=backend) is manager
    assert manager.get_metadata("esrgan") is None
    assert manager.last_updated() is None
