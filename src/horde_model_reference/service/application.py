"""The ASGI application. Its parts are assembled from the settings when it starts, not when it is made."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from horde_model_reference import __version__
from horde_model_reference.errors import ReferenceUnavailable
from horde_model_reference.service.changes import Streams, changes_router, polled
from horde_model_reference.service.errors import answer_errors
from horde_model_reference.service.front import Front, access_log
from horde_model_reference.service.meter import Meter
from horde_model_reference.service.queue import pending_router, queue_router
from horde_model_reference.service.routes import VERSIONS, metadata_router, reference_router, root_router
from horde_model_reference.service.searching import search_router, searched
from horde_model_reference.service.serving import Serving
from horde_model_reference.service.writes import legacy_writes_router, writes_router
from horde_model_reference.settings import CanonicalFormat, HordeModelReferenceSettings, get_settings
from horde_model_reference.transport import HttpNetwork
from horde_model_reference.wiring import Mode, Parts, assemble, queue_of, users_of

__all__ = ["Service", "create_app"]

_SWITCH_SECONDS = 0.0005
"""For so long the event loop waits at most for a thread that computes: with Python's 5 ms each turn of it would."""


class Service(FastAPI):
    """The application, with the fast path in front of the framework as long as it runs."""

    front: Front | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        front = self.front
        if front is None or scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        began = time.perf_counter()
        if (found := front.find(scope)) is None:
            return await front.ask(scope, receive, send, began)
        ready, operation = found
        return front.done(scope, operation, await ready.tell(scope, send), began)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is not answered in front: a poll of the feed, a search, or anything else by the framework."""
        serving: Serving = self.state.serving
        soon = None
        if not any(name == b"origin" for name, _ in scope["headers"]):  # a browser must hear whether it may listen
            soon = await polled(serving, scope) or await searched(serving, scope)
        await (soon or super().__call__)(scope, receive, send)


def create_app(
    parts: Parts | None = None,
    settings: HordeModelReferenceSettings | None = None,
    mode: Mode | None = None,
    *,
    owns_process: bool = False,
) -> Service:
    """The service over `parts`, or over what `mode` and the settings say; it closes only parts that it assembled.

    In a process of its own it makes what everybody asks for before the first request, and keeps Python's collector from
    going through all that again and again.
    """
    chosen = settings or get_settings()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as ends:
            if (served := parts) is None:
                served = await run_in_threadpool(assemble, mode or Mode.by_settings(chosen), chosen)
                ends.callback(served.close)
            await run_in_threadpool(_prepare, application, served)
            serving = Serving.over(served, chosen)
            ends.callback(serving.close)
            _open(application, serving, ends)
            if owns_process:
                await serving.warm()
                if (queue := application.state.queue) is not None:  # the first proposal would wait for all records
                    await run_in_threadpool(queue.neighbours.near, "", "", {})
                gc.collect()
                gc.freeze()
                sys.setswitchinterval(_SWITCH_SECONDS)
            yield

    application = Service(
        title="AI Horde model reference", version=__version__, lifespan=lifespan, servers=[{"url": "/api"}]
    )
    if chosen.cors_allowed_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.cors_allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Retry-After", "X-Reference-Mark", "X-Reference-Revision"],
        )
    answer_errors(application)
    of_versions = [factory(version) for version in VERSIONS for factory in (metadata_router, reference_router)]
    moderated = [pending_router(), *(queue_router(version.name) for version in VERSIONS), writes_router()]
    if chosen.canonical_format is CanonicalFormat.legacy:
        moderated.append(legacy_writes_router())
    for router in (root_router(), changes_router(), search_router(), *moderated, *of_versions):
        application.include_router(router)

    @application.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(application.state.meter.told(), media_type="text/plain; version=0.0.4")

    return application


def _prepare(application: Service, parts: Parts) -> None:
    """What takes a while and must be there before the first request."""
    if parts.store is None:
        with suppress(ReferenceUnavailable):  # a relay that finds nobody goes on looking, and says so until then
            parts.reference.warm()
    else:
        parts.store.head()
        if parts.mirror is not None:
            parts.mirror.wake()
    nowhere = {"type": "http", "method": "GET", "path": "/nowhere", "root_path": "", "headers": []}
    for route in application.router.routes:
        route.matches(nowhere)  # what the framework makes of a route when it first looks at it takes long


def _open(application: Service, serving: Serving, ends: ExitStack) -> None:
    bell, streams, settings, state = serving.feed.bell, Streams(), serving.settings, application.state

    def gauges() -> Mapping[str, float]:
        told = {"replicas_connected": max(streams.open, len(bell)), "revision": serving.origin.revision or 0}
        return told | {"age_seconds": serving.age or 0}

    state.serving, state.streams, state.meter = serving, streams, Meter(gauges)
    store = serving.parts.store
    state.users = users_of(settings, network := HttpNetwork())
    state.queue = None if store is None else queue_of(store, settings, network)
    ends.callback(network.close)
    if settings.service.access_log:
        access_log.setLevel(logging.INFO)
        access_log.addHandler(handler := logging.StreamHandler(sys.stdout))
        ends.callback(access_log.removeHandler, handler)
    application.front = Front(
        application.answer,
        serving.origin,
        state.meter,
        lambda: application.router.routes,
        has_cors=bool(settings.cors_allowed_origins),
        logs_access=settings.service.access_log,
    )
    ends.callback(setattr, application, "front", None)
    # A server first waits for the requests that it has, some of them for a minute, and only then ends the lifespan.
    for number in (signal.SIGINT, signal.SIGTERM):
        server = signal.getsignal(number)
        if callable(server) and threading.current_thread() is threading.main_thread():
            ends.callback(signal.signal, number, server)
            signal.signal(number, partial(_first, bell.close, server))


def _first(tell: Callable[[], None], then: Callable[..., object], *signalled: object) -> None:
    tell()
    then(*signalled)
