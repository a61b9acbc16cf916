"""What the service gives out: the parts of a PRIMARY or of a relay, put together in the loop of the app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from horde_model_reference.domain.categories import find_category, get_all_registered_categories
from horde_model_reference.errors import ReferenceUnavailable, SourceUnavailable
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.service.answers import CURRENT, FOREVER, Answer
from horde_model_reference.service.bodies import IDENTITY, Body
from horde_model_reference.service.feed import Feed, OfStoreLog
from horde_model_reference.service.present import OfReferencePresent, OfStorePresent, Present
from horde_model_reference.service.relay import OfReferenceLog
from horde_model_reference.service.renderings import Content, Form, OfReference, OfStore, Rendering, Renderings
from horde_model_reference.service.schemas import AIHordeStatus, HeartbeatResponse, ReferenceState
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.wiring import Parts

__all__ = ["Serving"]


@dataclass(frozen=True)
class Serving:
    """Used in one event loop; work that takes a while is done on threads."""

    parts: Parts
    settings: HordeModelReferenceSettings
    present: Present
    renderings: Renderings
    feed: Feed
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """For long searches: more threads that compute keep the event loop waiting, and search no faster."""

    @classmethod
    def over(cls, parts: Parts, settings: HordeModelReferenceSettings) -> Serving:
        """A PRIMARY where the parts have a store, else a relay. Called in the loop."""
        if parts.store is not None:
            present, log = OfStorePresent(parts.store), OfStoreLog(parts.store)
            feed = Feed(log, present.now)
            parts.store.subscribe(feed.bell.ring)
            return cls(parts, settings, present, OfStore(parts.store, feed.mark), feed)
        relayed = OfReferenceLog(parts.reference)
        relayed.head()  # from here on it knows what happens
        feed = Feed(relayed, partial(asyncio.to_thread, relayed.head))
        return cls(parts, settings, OfReferencePresent(parts.reference), OfReference(parts.reference), feed)

    def close(self) -> None:
        """Let those who wait go, and give back what is held open."""
        self.feed.bell.close()
        self.present.close()

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

    @property
    def has_feed(self) -> bool:
        """Whether there are revisions to count changes by."""
        return self.is_primary or self.present.revision is not None

    async def category(self, form: Form, category: str, at: int | None = None) -> Answer:
        """All records of a category, now or at revision `at`.

        Raises `UnknownCategory`, `RevisionUnknown`, and `ReferenceUnavailable`, also where v1 has nothing to tell.
        """
        rendering = await self.rendering(form, category, at)
        return _told(rendering, rendering.content.body, at)

    async def model(self, category: str, name: str, at: int | None = None) -> Answer:
        """One record, by its key. Raises `ModelNotFound` as well."""
        rendering = await self.rendering(Form.V2, category, at)
        return _told(rendering, Body(rendering.content.document(name)), at)

    async def rendering(self, form: Form, category: str, at: int | None = None) -> Rendering:
        """The same with everything that is known of it."""
        category = find_category(category)
        if at is not None:
            return await asyncio.to_thread(self.renderings.past, form, category, at)
        now = await self.present.now()
        known = self.renderings.known(form, category, now)
        if known is not None:
            return known
        return await asyncio.to_thread(self.renderings.make, form, category, now)

    async def all_renderings(self, categories: Iterable[str]) -> list[Rendering]:
        """Those of these that there are; a relay may lack some. Raises `SourceUnavailable` where it has nothing yet."""
        found, refusals = [], list[SourceUnavailable]()
        for category in categories:
            try:
                found.append(await self.rendering(Form.V2, category))
            except ReferenceUnavailable:
                continue
            except SourceUnavailable as refusal:
                refusals.append(refusal)
        if refusals and not found:
            raise refusals[0]
        return found

    async def warm(self) -> None:
        """Make what everybody asks for, where there is anything yet."""
        with suppress(SourceUnavailable):
            for rendering in await self.all_renderings(get_all_registered_categories()):
                await asyncio.to_thread(lambda content: (content.body, content.listed), rendering.content)

    async def document(self, value: object, revision: int | None = None) -> Answer:
        """Something else that is right as long as nothing changes; bytes are JSON already."""
        if revision is None:
            await self.present.now()
            revision = self.present.revision
        body = Body(value if isinstance(value, bytes) else encode(value))
        return Answer(body, revision, None if revision is None else await self.feed.marked(revision))

    async def heartbeat(self) -> Answer:
        """Whether all is well. Raises `StoreError` where nothing can be read."""
        status = [] if self.is_primary else self.parts.reference.status()
        stale = [each.category for each in status if each.stale]
        revision = await self.feed.bell.look()
        told = HeartbeatResponse(
            status="degraded" if stale else "ok",
            ai_horde=AIHordeStatus(),
            reference=ReferenceState(revision=revision, age=self.age or 0, stale=stale),
        )
        return await self.document(told.model_dump(mode="json"), revision)

    async def manifest(self) -> Answer:
        """Of every category that is served: how many records, bytes, and the entity tag."""
        while True:
            revision = await self.feed.bell.look()
            kinds = get_all_registered_categories()
            renderings = await self.all_renderings([name for name in kinds if not kinds[name].managed_elsewhere])
            categories = {each.content.category: await asyncio.to_thread(_listed, each.content) for each in renderings}
            if await self.feed.bell.look() == revision:
                return await self.document({"revision": revision, "categories": categories}, revision)


def _listed(content: Content) -> dict[str, object]:
    return {"count": len(content.pieces), "bytes": len(content.body.data), "etag": content.body.etag(IDENTITY)}


def _told(rendering: Rendering, body: Body, at: int | None) -> Answer:
    content, revision, mark, checked = rendering
    age = None if checked is None else max(0, int(time.time() - checked))
    return Answer(body, revision, mark, content.updated, age, CURRENT if at is None else FOREVER)
