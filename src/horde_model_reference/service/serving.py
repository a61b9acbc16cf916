"""What the service gives out: the parts of a PRIMARY or of a relay, put together in the loop of the app."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.service.answers import FOREVER, Answer, Body, Ready
from horde_model_reference.service.feed import Feed
from horde_model_reference.service.primary import OfStore
from horde_model_reference.service.relay import OfReference
from horde_model_reference.service.renderings import Content, Form, Origin
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.wiring import Parts

__all__ = ["Serving"]


@dataclass(frozen=True)
class Serving:
    """Used in one event loop; work that takes a while is done on threads."""

    parts: Parts
    settings: HordeModelReferenceSettings
    origin: Origin
    feed: Feed
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """For long searches: more threads that compute keep the event loop waiting, and search no faster."""

    @classmethod
    def over(cls, parts: Parts, settings: HordeModelReferenceSettings) -> Serving:
        """A PRIMARY where the parts have a store, else a relay. Called in the loop."""
        origin = OfReference(parts.reference) if parts.store is None else OfStore(parts.store)
        feed = Feed(origin)
        if parts.store is not None:
            parts.store.subscribe(feed.bell.ring)
        return cls(parts, settings, origin, feed)

    def close(self) -> None:
        """Let those who wait go, and give back what is held open."""
        self.feed.bell.close()
        self.origin.close()

    @property
    def is_primary(self) -> bool:
        """Whether it owns the reference."""
        return self.parts.store is not None

    @property
    def age(self) -> int | None:
        """How many seconds ago all that a relay holds was last known to be current; None for a PRIMARY."""
        if self.is_primary:
            return None
        return max((int(each.age) for each in self.parts.reference.status()), default=0)

    async def category(self, form: Form, category: str, at: int | None = None, name: str | None = None) -> Ready:
        """All records of a category, or the one of that name. Raises as `Origin.rendering`, and `ModelNotFound`."""
        content, revision, mark, checked = await self.origin.rendering(form, category, at)
        body = content.body if name is None else Body(content.document(name))
        age = None if checked is None else max(0, int(time.time() - checked))
        answer = Answer(body, revision, mark, content.updated, age)
        return Ready(answer if at is None else replace(answer, lasting=FOREVER))

    async def warm(self) -> None:
        """Make what everybody asks for, where there is anything yet."""
        with suppress(SourceUnavailable):
            for rendering in await self.origin.renderings(get_all_registered_categories()):
                await asyncio.to_thread(lambda content: (content.body, content.listed), rendering.content)

    async def document(self, value: object, revision: int | None = None) -> Ready:
        """Something else that is right as long as nothing changes; bytes are JSON already."""
        if revision is None:
            await self.origin.now()
            revision = self.origin.revision
        body = Body(value if isinstance(value, bytes) else encode(value))
        return Ready(Answer(body, revision, None if revision is None else await self.feed.marked(revision)))

    async def heartbeat(self) -> Ready:
        """Whether all is well. Raises `StoreError` where nothing can be read."""
        status = [] if self.is_primary else self.parts.reference.status()
        stale, revision = [each.category for each in status if each.stale], await self.feed.bell.look()
        told = {
            "status": "degraded" if stale else "ok",
            "ai_horde": {"degraded": False, "consecutive_failures": 0, "seconds_until_retry": None},
            "reference": {"revision": revision, "age": self.age or 0, "stale": stale},
        }
        return await self.document(told, revision)

    async def manifest(self) -> Ready:
        """Of every category that is served: how many records, bytes, and the entity tag."""
        while True:
            revision = await self.feed.bell.look()
            kinds = get_all_registered_categories()
            renderings = await self.origin.renderings(name for name in kinds if not kinds[name].managed_elsewhere)
            categories = {each.content.category: await asyncio.to_thread(_listed, each.content) for each in renderings}
            if await self.feed.bell.look() == revision:
                return await self.document({"revision": revision, "categories": categories}, revision)


def _listed(content: Content) -> dict[str, object]:
    return {"count": len(content.pieces), "bytes": len(content.body.data), "etag": content.body.etag()}
