"""The ASGI application. Its parts are assembled from the settings when it starts, not when it is made."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from types import FrameType

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from horde_model_reference import __version__
from horde_model_reference.exchange.mirror import Mirror
from horde_model_reference.service.errors import answer_errors
from horde_model_reference.service.feed import Feed
from horde_model_reference.service.routes import VERSIONS, FeedFirst, changes_router, reference_router, root_router
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import HordeModelReferenceSettings, get_settings
from horde_model_reference.wiring import Mode, Parts, assemble

__all__ = ["create_app"]

_Handler = Callable[[int, FrameType | None], object]


def create_app(parts: Parts | None = None, settings: HordeModelReferenceSettings | None = None) -> FastAPI:
    """The service over `parts`, or over what the settings say; it closes only parts that it assembled itself."""

    @asynccontextmanager
    async def serving(application: FastAPI) -> AsyncIterator[None]:
        chosen = settings or get_settings()
        served = parts if parts is not None else await run_in_threadpool(assemble, Mode.by_settings(chosen), chosen)
        with ExitStack() as ends:
            if parts is None:
                ends.callback(served.close)
            application.state.feed = None
            application.state.serving = Serving(served, chosen)
            if served.store is not None:
                if chosen.mirror_enabled:
                    await run_in_threadpool(Mirror(served.store, served.root).keep_up)
                application.state.feed = feed = Feed(served.store)
                ends.callback(feed.bell.close)
                _before_the_end(feed.bell.close, ends)
            yield

    application = FastAPI(
        title="AI Horde model reference",
        version=__version__,
        lifespan=serving,
        docs_url="/api/docs",
        redoc_url="/api/redoc",
        openapi_url="/api/openapi.json",
    )
    application.add_middleware(FeedFirst)
    answer_errors(application)
    for prefix, documented in (("/api", True), ("", False)):
        application.include_router(root_router(), prefix=prefix, include_in_schema=documented)
        application.include_router(changes_router(), prefix=prefix, include_in_schema=documented)
        for version in VERSIONS:
            application.include_router(reference_router(version), prefix=prefix, include_in_schema=documented)
    return application


def _before_the_end(tell: Callable[[], object], ends: ExitStack) -> None:
    """Have `tell` called when a signal asks the process to end, before the server's own handler.

    A server first waits for the requests that it has, and only then ends the lifespan; some wait for a minute.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            ends.callback(signal.signal, number, handler)
            signal.signal(number, partial(_told, tell, handler))


def _told(tell: Callable[[], object], handler: _Handler, number: int, frame: FrameType | None) -> None:
    tell()
    handler(number, frame)
