"""The ASGI application. Its parts are assembled from the settings when it starts, not when it is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from horde_model_reference import __version__
from horde_model_reference.exchange.mirror import Mirror
from horde_model_reference.service.errors import answer_errors
from horde_model_reference.service.routes import VERSIONS, reference_router, root_router
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
        if served.store is not None and chosen.mirror_enabled:
            await run_in_threadpool(Mirror(served.store, served.root).keep_up)
        application.state.serving = Serving(served, chosen)
        yield
        if parts is None:
            served.close()

    application = FastAPI(
        title="AI Horde model reference",
        version=__version__,
        lifespan=serving,
        docs_url="/api/docs",
        redoc_url="/api/redoc",
        openapi_url="/api/openapi.json",
    )
    answer_errors(application)
    for prefix, documented in (("/api", True), ("", False)):
        application.include_router(root_router(), prefix=prefix, include_in_schema=documented)
        for version in VERSIONS:
            application.include_router(reference_router(version), prefix=prefix, include_in_schema=documented)
    return application
