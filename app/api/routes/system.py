"""Health, readiness, metrics and the meaning of problem codes."""

from ipaddress import ip_address
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from app import errors, telemetry
from app.api import problems
from app.api.dependencies import authorise, request_id_of, services_of
from app.api.openapi import problem_responses
from app.api.schemas import Health, ProblemMeaning, Readiness
from app.audit.events import AuditEvent

ADMIN: Final = "admin"
FORWARDING_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})

router = APIRouter()


# Load balancers probe with HEAD; the server sends no body to it.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> Health:
    """Answer as long as the process runs; nothing else is asked."""
    return Health(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Whether the process can do its work",
    responses={503: {"model": Readiness, "description": "A part does not answer."}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Check the database and the keys that the served roles need."""
    services = services_of(request.scope)
    checks = dict(await services.readiness())
    ready = all(checks.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(problems.RETRY_AFTER_S)
    return Readiness(ready=ready, roles=sorted(services.roles), checks=checks)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Text exposition format."},
        **problem_responses(401, 403),
    },
)
async def metrics(request: Request) -> Response:
    """Answer the counters of this process and its workers, and what waits in batches.

    Callers on this very machine need no key, unless they come through a proxy; all others need
    the scope `admin`.
    """
    services = services_of(request.scope)
    if not is_local(request.scope):
        event = AuditEvent(action="read-metrics", request_id=request_id_of(request.scope))
        await authorise(services, request.scope, needed=ADMIN, event=event)
    if services.gauges is not None:
        await services.gauges.refresh()
    return Response(services.metrics.exposition(), media_type=telemetry.METRICS_MEDIA_TYPE)


@router.get(
    "/problems/{code}",
    summary="What a problem code means",
    responses=problem_responses(404),
)
async def explain_problem(code: str) -> ProblemMeaning:
    """Explain the `type` of a problem document."""
    explained = problems.explained(code)
    if explained is None:
        raise errors.NotFound("There is no such problem code")
    problem, meaning = explained
    return ProblemMeaning(code=code, status=problem.status, title=problem.title, meaning=meaning)


def is_local(scope: Scope) -> bool:
    """Tell whether the request comes straight from this machine."""
    client = scope.get("client")
    if not client or any(name in FORWARDING_HEADERS for name, _ in scope["headers"]):
        return False
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:
        return False
