"""Puts the routes together. The services come from the composition root."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route, compile_path

import app as package
from app import errors
from app.api import openapi
from app.api.dependencies import Services
from app.api.middleware import Boundary
from app.api.places import Places
from app.api.review import routes as review_pages
from app.api.routes import (
    audit,
    batch_originals,
    batch_prepare,
    batches,
    profiles,
    quarantine,
    quarantine_rules,
    reidentify,
    reidentify_requests,
    subjects,
    system,
)
from app.api.routes.anonymize import AnonymizeStream
from app.api.routes.profiles import CompareProfiles, ExplainObject

# Their endpoints bound large bodies by themselves; bodies of all others are short texts.
STREAMED: Final = tuple(
    compile_path(path)[0]
    for path in (
        AnonymizeStream.path,
        "/batch-prepare",
        CompareProfiles.path,
        ExplainObject.path,
    )
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    services: Services | None = None,
    *,
    lifespan: Lifespan | None = None,
    max_concurrent_uploads: int = 64,
    max_waiting_uploads: int = 256,
) -> FastAPI:
    """Build the application.

    Args:
        services: what the routes call; or None when `lifespan` sets ``app.state.services``.
        lifespan: opens and closes the services around the serving.
        max_concurrent_uploads: uploads that are taken at once; further ones wait.
        max_waiting_uploads: uploads that wait; further ones are told to come again.
    """
    application = FastAPI(
        title="deid-gateway",
        version=package.__version__,
        lifespan=lifespan,
        docs_url=None,  # the framework's pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # the address would be made from the Host that the caller gave
        exception_handlers={
            HTTPException: _pass_on,
            RequestValidationError: _as_invalid_request,
        },
        # The framework's own telemetry records exception texts and request bodies.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    application.state.services = services
    application.router.routes.insert(
        0,
        Route(
            AnonymizeStream.path,
            AnonymizeStream(Places(max_concurrent_uploads, max_waiting_uploads)),
            methods=["POST"],
            name="anonymize_stream",
            include_in_schema=False,
        ),
    )
    for endpoint in (CompareProfiles(), ExplainObject()):
        application.router.routes.append(
            Route(endpoint.path, endpoint, methods=["POST"], include_in_schema=False)
        )
    application.include_router(system.router)
    application.include_router(reidentify.router)
    application.include_router(reidentify_requests.router)
    application.include_router(profiles.router)
    application.include_router(batch_prepare.router)
    application.include_router(batches.router)
    application.include_router(batch_originals.router)
    application.include_router(audit.router)
    application.include_router(subjects.router)
    application.include_router(quarantine_rules.router)
    application.include_router(quarantine.router)
    application.include_router(review_pages.router)
    application.add_middleware(Boundary, streamed=STREAMED)
    application.openapi = lambda: openapi.describe(application)  # type: ignore[method-assign]
    return application


async def _pass_on(_request: Request, error: Exception) -> NoReturn:
    """Leave the answer to the outermost layer, which answers all errors alike."""
    raise error


async def _as_invalid_request(_request: Request, error: Exception) -> NoReturn:
    """Turn the framework's complaint, which quotes the input, into ours, which does not.

    It names the parameters at fault where they are of our own naming.
    """
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    if any(fault["type"] == "extra_forbidden" for fault in faults):
        raise errors.InvalidRequest("There is an unknown parameter") from None
    names = sorted({str(fault["loc"][1]) for fault in faults if len(fault["loc"]) > 1})
    if names:
        raise errors.InvalidRequest(f"Missing or malformed: {', '.join(names)}") from None
    raise errors.InvalidRequest("A parameter is missing or malformed") from None
