"""Who hears of changes: callbacks, and coroutines of any loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from horde_model_reference.flow import Call, Flow
from horde_model_reference.reference import Reference
from horde_model_reference.sources.base import Ask, Found
from horde_model_reference.watching import ReferenceChange
from tests.reading.samples import ESRGAN, LONG_AGO, Told, esrgan_told, kept_reference, snapshot

NEWER = {"B": {"name": "B", "description": "second, changed"}, "C": {"name": "C"}}


def _change(reference: Reference, source: Told, documents: object, revision: int = 8) -> None:
    source.gives(snapshot(documents, revision=revision, source="source"))
    reference.read("esrgan", fresh=True)


def test_a_callback_hears_what_is_new_other_and_gone_until_it_is_removed() -> None:
    """On the thread that noticed; what did not change and the first load are no news."""
    reference, heard = kept_reference(source := esrgan_told()), list[ReferenceChange]()
    remove = reference.on_change(heard.append)
    reference.read("esrgan", fresh=True)
    assert heard == []
    _change(reference, source, NEWER)
    assert heard == [ReferenceChange("esrgan", 8, "source", created=("C",), updated=("B",), deleted=("A",))]
    remove()
    remove()
    _change(reference, source, ESRGAN, 9)
    assert len(heard) == 1


def test_when_a_record_was_made_is_no_news() -> None:
    """PRIMARY tells it and GitHub cannot: whoever falls back to GitHub heard that every record had changed."""
    reference, heard = kept_reference(source := esrgan_told()), list[ReferenceChange]()
    reference.read("esrgan", fresh=True)
    reference.on_change(heard.append)
    stamped = {name: {**record, "metadata": {"created_at": 1, "updated_at": 2}} for name, record in ESRGAN.items()}
    _change(reference, source, stamped)
    later = stamped["B"] | {"metadata": {"created_at": 1, "updated_at": 3, "tags": ["new"]}}
    _change(reference, source, stamped | {"B": later}, 9)
    assert [change.updated for change in heard if change.updated] == [("B",)]


def test_a_callback_hears_what_the_thread_brings() -> None:
    """Nobody reads."""
    source, heard = esrgan_told(checked=LONG_AGO), threading.Event()
    reference = kept_reference(source, thread=True)
    reference.on_change(lambda change: heard.set() if change.created == ("C",) else None)
    source.gives(snapshot(NEWER, source="source", revision=8))
    assert heard.wait(10)
    reference.close()


def test_a_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the reader nor the others; the log has it."""
    reference, heard = kept_reference(source := esrgan_told()), list[ReferenceChange]()

    def careless(change: ReferenceChange) -> None:
        raise ZeroDivisionError

    reference.on_change(careless)
    reference.on_change(heard.append)
    _change(reference, source, NEWER)
    assert list(reference.read("esrgan")) == list(NEWER)
    assert len(heard) == 1
    assert "careless" in caplog.text


def test_a_callback_may_read_and_remove_itself() -> None:
    """It sees the new records already."""
    reference, seen = kept_reference(source := esrgan_told()), list[list[str]]()

    def once(change: ReferenceChange) -> None:
        seen.append(list(reference.read("esrgan")))
        remove()

    remove = reference.on_change(once)
    _change(reference, source, NEWER)
    _change(reference, source, ESRGAN, 9)
    assert seen == [list(NEWER)]


def test_the_end_of_one_registration_leaves_another_of_the_same_callback() -> None:
    """Two parts of a program that share a function."""
    reference, heard = kept_reference(source := esrgan_told()), list[ReferenceChange]()
    listen = heard.append
    remove = reference.on_change(listen)
    reference.on_change(listen)
    remove()
    _change(reference, source, NEWER)
    assert len(heard) == 1


def test_a_change_that_two_loads_bring_is_told_once() -> None:
    """A refresh and a fresh read met."""
    read, release, slow = threading.Event(), threading.Event(), threading.Event()

    class Slow(Told):
        def read(self, ask: Ask) -> Flow[Found]:
            found = yield from super().read(ask)
            if slow.is_set():
                slow.clear()
                yield Call(read.set)
                yield Call(partial(release.wait, 10))
            return found

    source = Slow(name="source").gives(snapshot(ESRGAN, source="source", revision=7))
    reference, heard = kept_reference(source), list[ReferenceChange]()
    reference.on_change(heard.append)
    source.gives(snapshot(NEWER, source="source", revision=8))
    slow.set()
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(lambda: reference.read("esrgan", fresh=True))
        assert read.wait(10)
        reference.warm(fresh=True)
        release.set()
        assert list(slower.result(10)) == list(NEWER)
    assert [change.revision for change in heard] == [8]


def test_coroutines_of_several_loops_hear_every_change_in_order() -> None:
    """`async for`, each in its own loop and thread; who stops is forgotten."""
    reference = kept_reference(source := esrgan_told())
    ready = threading.Semaphore(0)

    async def listen() -> list[int | None]:
        stream = reference.changes()
        heard = [asyncio.ensure_future(anext(stream))]
        await asyncio.sleep(0)
        ready.release()
        revisions = [(await asyncio.wait_for(heard[0], 10)).revision]
        async for change in stream:
            revisions.append(change.revision)
            if len(revisions) == 3:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return revisions

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(lambda: asyncio.run(listen())) for _ in range(3)]
        for _ in loops:
            assert ready.acquire(timeout=10)
        for number in range(3):
            _change(reference, source, {"A": {"name": "A", "description": str(number)}}, 8 + number)
        assert [each.result(20) for each in loops] == [[8, 9, 10]] * 3
    assert not reference._watchers


def test_nothing_that_changed_after_the_call_is_missed_by_async_for() -> None:
    """The first step of the loop comes later than the change."""
    reference = kept_reference(source := esrgan_told())

    async def main() -> ReferenceChange:
        stream = reference.changes()
        await asyncio.to_thread(_change, reference, source, NEWER)
        return await asyncio.wait_for(anext(stream), 2)

    assert asyncio.run(main()).revision == 8
