"""The ASGI entry point: ``uvicorn app.main:app --factory``.

``deid-gateway serve`` does the same with the event loop, the allocator and the garbage collector
tuned and with bounds on request heads, and is what the container image runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import bootstrap, settings, telemetry
from app.api.application import create_app


def app() -> FastAPI:
    """Build the application from the environment; its parts are opened with the server.

    Raises:
        settings.InvalidSettings: a setting is unknown, malformed or not safe.
    """
    loaded = settings.load()
    telemetry.configure(loaded.log_level)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with bootstrap.opened(loaded) as gateway:
            application.state.services = gateway.services()
            async with (
                bootstrap.audit_kept(gateway),
                bootstrap.notices_kept(gateway),
                bootstrap.retention_kept(gateway),
            ):
                yield

    return create_app(
        lifespan=lifespan,
        max_concurrent_uploads=loaded.max_concurrent_uploads,
        max_waiting_uploads=loaded.max_waiting_uploads,
    )
