"""The ASGI application: `uvicorn horde_model_reference.service.app:app`.

Its parts are assembled from the settings when it starts, not when this module is imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from horde_model_reference import __version__
from horde_model_reference.exchange.mirror import Mirror
from horde_model_reference.path_consts import horde_model_reference_paths
from horde_model_reference.service.errors import answer_errors
from horde_model_reference.service.routes import VERSIONS, reference_router, root_router
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import HordeModelReferenceSettings, ReplicateMode, get_settings
from horde_model_reference.wiring import Mode, Parts, assemble

__all__ = ["app", "create_app"]


def create_app(parts: Parts | None = None, settings: HordeModelReferenceSettings | None = None) -> FastAPI:
    """The service over `parts`, or over what the settings say; it closes only parts that it assembled itself."""

    @asynccontextmanager
    async def serving(application: FastAPI) -> AsyncIterator[None]:
        chosen = settings or get_settings()
        served = parts if parts is not None else await run_in_threadpool(_assembled, chosen)
        if served.store is not None and chosen.mirror_enabled:
            await run_in_threadpool(Mirror(served.store, served.root).refresh)
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


def _assembled(settings: HordeModelReferenceSettings) -> Parts:
    root = horde_model_reference_paths.base_path.absolute()
    return assemble(Mode(ReplicateMode(settings.replicate_mode), settings.offline, root), settings)


app = create_app()
