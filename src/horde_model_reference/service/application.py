"""The ASGI application. Its parts are assembled from the settings when it starts, not when it is made."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
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
                for number in (signal.SIGINT, signal.SIGTERM):
                    _before_the_end(number, feed.bell.close, ends)
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
        for router in (root_router(), changes_router(), *map(reference_router, VERSIONS)):
            application.include_router(router, prefix=prefix, include_in_schema=documented)
    return application


def _before_the_end(number: signal.Signals, tell: Callable[[], object], ends: ExitStack) -> None:
    """Have `tell` called when that signal asks the process to end, before the server's own handler.

    A server first waits for the requests that it has, and only then ends the lifespan; some wait for a minute.
    """
    handler = signal.getsignal(number)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return

    def tell_first(number: int, frame: FrameType | None) -> None:
        tell()
        handler(number, frame)

    ends.callback(signal.signal, number, handler)
    signal.signal(number, tell_first)
