"""After a change, a crowd that asks for the same is answered by making it once."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from horde_model_reference.service.answers import Answer, Body, Ready
from horde_model_reference.service.front import Front
from horde_model_reference.service.meter import Meter
from horde_model_reference.service.primary import OfStore
from horde_model_reference.stores.sql import SqlStore

CROWD = 16


class Maker:
    """An application that takes its time, and counts how often it is asked."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked, self.fails = 0, fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await asyncio.sleep(0.05)
        if self.fails and self.asked > 1:
            raise RuntimeError("made nothing")
        await Ready(Answer(Body(b'{"asked":%d}' % self.asked), revision=1))(scope, receive, send)


async def _ask(front: Front, path: str) -> bytes:
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    if (found := front.find(scope)) is None:
        await front.ask(scope, receive, send, time.perf_counter())
    else:
        await found[0].tell(scope, send)
    return b"".join(message.get("body", b"") for message in told)


def _crowd(folder: Path, maker: Maker) -> list[bytes | BaseException]:
    """What a crowd hears that asks right after a change for what was prepared before it."""

    async def run() -> list[bytes | BaseException]:
        store = SqlStore(f"sqlite:///{folder / 'reference.sqlite3'}")
        with closing(store), closing(OfStore(store)) as origin:
            front = Front(maker, origin, Meter(dict), list, has_cors=False, logs_access=False)
            await _ask(front, "/prepared")
            await _ask(front, "/prepared")
            with store.begin(actor="test") as unit:
                unit.put("blip", "a", "{}")
            asked = (_ask(front, "/prepared") for _ in range(CROWD))
            return list(await asyncio.gather(*asked, return_exceptions=True))

    return asyncio.run(run())


def test_a_crowd_is_answered_by_making_it_once(tmp_path: Path) -> None:
    """One for the first question, one after the change: who comes meanwhile waits for that."""
    maker = Maker()
    assert _crowd(tmp_path, maker) == [b'{"asked":2}'] * CROWD
    assert maker.asked == 2


def test_a_crowd_does_not_wait_for_what_failed(tmp_path: Path) -> None:
    """Each of them asks then, and hears of it."""
    maker = Maker(fails=True)
    heard = _crowd(tmp_path, maker)
    assert [type(each) for each in heard] == [RuntimeError] * CROWD
    assert maker.asked == 1 + CROWD
