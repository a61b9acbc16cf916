"""The reading object: what is held, when the source is asked, and what survives which fault."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from horde_model_reference.errors import ModelNotFound, ReferenceUnavailable, UnknownCategory
from horde_model_reference.flow import Call, Flow, NoNetwork
from horde_model_reference.reference import Reference
from horde_model_reference.sources.base import Ask, Found
from tests.reading.samples import ESRGAN, Scripted

Method = Callable[..., Any]


def make(source: Scripted | None = None, max_age: float = 60.0) -> tuple[Reference, Scripted]:
    """A reference over a scripted source."""
    source = source or Scripted()
    return Reference(source, NoNetwork(), max_age=max_age), source


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Method:
    """Calls a method by name, or its async twin in a loop of its own."""
    if request.param == "sync":
        return lambda reference, method, *args, **options: getattr(reference, method)(*args, **options)
    return lambda reference, method, *args, **options: asyncio.run(
        getattr(reference, f"{method}_async")(*args, **options)
    )


def test_a_warm_read_asks_nobody_and_gives_a_dict_of_its_own(ask: Method) -> None:
    """Whoever changes what was returned harms nobody; the records themselves are shared."""
    reference, source = make()
    first = ask(reference, "read", "esrgan")
    record = first["A"]
    first.clear()
    second = ask(reference, "read", "esrgan")
    assert list(second) == ["A", "B"]
    assert second["A"] is record
    assert ask(reference, "model", "esrgan", "A") is record
    assert source.asked == ["esrgan"]


def test_fresh_and_age_ask_the_source_again(ask: Method) -> None:
    """Where nothing changed the records stay the same objects; where something did, it is seen."""
    reference, source = make()
    record = ask(reference, "read", "esrgan")["A"]
    assert ask(reference, "read", "esrgan", fresh=True)["A"] is record
    source.documents["esrgan"] = {"C": {"name": "C"}}
    assert list(ask(reference, "read", "esrgan")) == ["A", "B"]
    assert list(ask(reference, "read", "esrgan", fresh=True)) == ["C"]
    aging, source = make(max_age=0)
    for _ in range(3):
        ask(aging, "read", "esrgan")
    assert len(source.asked) == 3


def test_a_failure_after_a_success_keeps_the_data_and_is_told(ask: Method) -> None:
    """A read fails only where there never was anything to give."""
    reference, source = make()
    ask(reference, "read", "esrgan")
    source.refuses = True
    assert list(ask(reference, "read", "esrgan", fresh=True)) == ["A", "B"]
    (status,) = reference.status()
    assert (status.category, status.records, status.source) == ("esrgan", 2, "scripted")
    assert status.age >= 0
    assert "has no esrgan" in status.fault
    source.refuses = False
    ask(reference, "read", "esrgan", fresh=True)
    assert not reference.status()[0].fault


def test_keeping_old_data_is_logged_once_in_the_words_that_clients_look_for(
    ask: Method, caplog: pytest.LogCaptureFixture
) -> None:
    """The log analyser of reGen counts lines with `cache is stale`."""
    reference, source = make()
    ask(reference, "read", "esrgan")
    source.refuses = True
    for _ in range(3):
        ask(reference, "read", "esrgan", fresh=True)
    assert caplog.text.count("cache is stale") == 1


def test_the_error_of_a_category_that_cannot_be_had_reads_as_clients_expect(ask: Method) -> None:
    """Logs of GPU workers are searched for it; the reason is beside it."""
    reference, _ = make(Scripted(refuses=True))
    for category in ("esrgan", "lora", "nonsense"):
        with pytest.raises(RuntimeError) as caught:
            ask(reference, "read", category)
        expected = f"Model reference for category {category} not found or could not be parsed."
        assert str(caught.value) == expected
        assert isinstance(caught.value, ReferenceUnavailable)
        assert caught.value.reason


def test_raw_documents_are_new_each_time_and_an_unknown_category_is_a_key_error(ask: Method) -> None:
    """Unknown fields are in them as written."""
    reference, source = make()
    source.documents["esrgan"] = {"A": {"name": "A", "mood": {"deep": [1]}}}
    raw = ask(reference, "raw", "esrgan")
    raw["A"]["mood"]["deep"].append(2)
    assert ask(reference, "raw", "esrgan") == {"A": {"name": "A", "mood": {"deep": [1]}}}
    with pytest.raises(KeyError) as caught:
        ask(reference, "raw", "nonsense")
    assert isinstance(caught.value, UnknownCategory)


def test_an_absent_model_is_told_from_an_absent_category(ask: Method) -> None:
    """With the names that are much like it."""
    reference, _ = make()
    with pytest.raises(ModelNotFound, match="Model on not found in category image_generation") as caught:
        ask(reference, "model", "image_generation", "on")
    assert caught.value.close == ("one",)
    with pytest.raises(ReferenceUnavailable):
        ask(reference, "model", "gfpgan", "x")


def test_warming_loads_what_can_be_had(ask: Method) -> None:
    """One category at least: else the reason of the first is raised. Twice costs nothing for what is held."""
    reference, source = make()
    assert not reference.is_warm()
    ask(reference, "warm")
    assert reference.is_warm()
    assert reference.is_warm("esrgan")
    assert not reference.is_warm("clip")
    assert len(source.asked) == 13
    held = reference.held()
    assert list(held["esrgan"] or ()) == ["A", "B"]
    assert held["clip"] is None
    assert "lora" in held
    ask(reference, "warm")
    assert source.asked.count("esrgan") == 1
    empty, _ = make(Scripted(refuses=True))
    with pytest.raises(ReferenceUnavailable):
        ask(empty, "warm")


def test_many_callers_of_both_colours_cause_one_load() -> None:
    """Threads and loops at once on a cold category."""
    begun, release = threading.Event(), threading.Event()

    class Slow(Scripted):
        def read(self, ask: Ask) -> Flow[Found]:
            yield Call(begun.set)
            yield Call(partial(release.wait, 10))
            return (yield from super().read(ask))

    reference, source = make(Slow())
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(reference.read, "esrgan")
        begun.wait(10)
        threads = [pool.submit(reference.read, "esrgan") for _ in range(4)]
        loops = [pool.submit(lambda: asyncio.run(reference.read_async("esrgan"))) for _ in range(3)]
        release.set()
        results = [each.result(10) for each in (first, *threads, *loops)]
    assert all(list(result) == ["A", "B"] for result in results)
    assert len({id(result) for result in results}) == len(results)
    assert source.asked == ["esrgan"]


def test_a_synchronous_read_inside_a_coroutine_does_not_hang() -> None:
    """Not even while another coroutine of the same loop is loading the same category."""
    release = threading.Event()

    class Slow(Scripted):
        def read(self, ask: Ask) -> Flow[Found]:
            if not self.asked:
                self.asked.append("slow")
                yield Call(partial(release.wait, 10))
            return (yield from super().read(ask))

    reference, source = make(Slow())

    async def main() -> None:
        task = asyncio.create_task(reference.read_async("esrgan"))
        while not source.asked:
            await asyncio.sleep(0.001)
        assert list(reference.read("esrgan")) == ["A", "B"]
        release.set()
        assert list(await task) == ["A", "B"]

    asyncio.run(main())


def test_a_load_that_was_overtaken_does_not_bring_back_an_earlier_revision() -> None:
    """The slower of two loads read revision 1, the faster one 2, and ended first."""
    read, release = threading.Event(), threading.Event()

    class Overtaken(Scripted):
        def read(self, ask: Ask) -> Flow[Found]:
            first = self.revision == 1
            found = yield from super().read(ask)
            if first:
                yield Call(read.set)
                yield Call(partial(release.wait, 10))
            return found

    reference, source = make(Overtaken(revision=1))

    async def slow() -> list[str]:
        return list(await reference.read_async("esrgan"))

    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(lambda: asyncio.run(slow()))
        read.wait(10)
        source.revision, source.documents["esrgan"] = 2, {**ESRGAN, "C": {"name": "C"}}
        assert list(reference.read("esrgan")) == ["A", "B", "C"]
        release.set()
        assert slower.result(10) == ["A", "B", "C"]
    assert list(reference.read("esrgan")) == ["A", "B", "C"]


def test_references_are_independent() -> None:
    """As many as you like, each with its own source."""
    one, _ = make()
    other, _ = make(Scripted({"esrgan": {"Z": {"name": "Z"}}}))
    assert list(one.read("esrgan")) == ["A", "B"]
    assert list(other.read("esrgan")) == ["Z"]


def test_a_load_that_began_before_a_commit_does_not_hide_it() -> None:
    """Who writes, reads what was written: also while another thread is still reading what was there before."""
    read, release = threading.Event(), threading.Event()

    class Slow(Scripted):
        def read(self, ask: Ask) -> Flow[Found]:
            found = yield from super().read(ask)
            if not read.is_set():
                yield Call(read.set)
                yield Call(partial(release.wait, 10))
            return found

    reference, source = make(Slow())
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(reference.read, "esrgan")
        read.wait(10)
        source.documents["esrgan"] = {**ESRGAN, "C": {"name": "C"}}
        reference.expire()
        assert list(reference.read("esrgan")) == ["A", "B", "C"]
        release.set()
        slower.result(10)
    assert list(reference.read("esrgan")) == ["A", "B", "C"]
