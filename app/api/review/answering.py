"""From a request to a page: every way that ends in an answer a person can read."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from app import errors, telemetry
from app.api import problems
from app.api.dependencies import request_id_of, services_of
from app.api.review import pages
from app.api.review.visits import SignInNeeded, Visit, begin, recognise, redirected
from app.audit.events import AuditEvent

VISIT: Final = "review-visit"
HELD: Final = "/review"

Answer = Callable[[Request], Awaitable[Response]]
Page = Callable[[Visit], Awaitable[Response]]


def public(page: Page) -> Answer:
    """Return an endpoint that anybody may ask for: sign-in."""

    async def answer(request: Request) -> Response:
        visit = None
        try:
            visit = begin(request)
            return visit.finish(await page(visit))
        except errors.GatewayError as error:
            return refused(request, visit, error)

    return answer


def signed_in(page: Page, *, action: str = VISIT) -> Answer:
    """Return an endpoint for people who are signed in; all others are led to the sign-in.

    Args:
        page: makes the answer.
        action: what a denial is recorded as.
    """

    async def answer(request: Request) -> Response:
        visit = None
        try:
            visit = begin(request)
            await recognise(
                visit, AuditEvent(action=action, request_id=request_id_of(request.scope))
            )
            return visit.finish(await page(visit))
        except SignInNeeded as needed:
            return redirected(needed.address)
        except errors.GatewayError as error:
            return refused(request, visit, error)

    return answer


def shown(visit: Visit, template: str, **content: Any) -> Response:  # noqa: ANN401
    """Return a page with what every page has."""
    name = visit.principal.name if visit.principal else ""
    return pages.page(template, visitor=name, csrf=visit.session.csrf, **{"place": "", **content})


def refused(request: Request, visit: Visit | None, error: errors.GatewayError) -> Response:
    """Return the page that says why something did not happen; the log and metrics say it too."""
    problem = problems.of_error(error)
    request_id = request_id_of(request.scope)
    services_of(request.scope).metrics.refusals.labels(problem.code).inc()
    telemetry.log().info(
        "request-refused", request_id=request_id, code=problem.code, status=problem.status
    )
    is_in = visit is not None and visit.principal is not None
    answer = pages.page(
        "gone",
        status=problem.status,
        visitor=visit.principal.name if visit and visit.principal else "",
        csrf=visit.session.csrf if visit else "",
        place="",
        heading=problem.title,
        message=_said(problem),
        tone="bad",
        code=problem.code,
        request_id=request_id,
        ways=[("Held objects", HELD)] if is_in else [("Sign in", "/review/sign-in")],
    )
    for name, value in problem.headers:
        if name != b"www-authenticate":  # browsers would ask for a password by themselves
            answer.headers[name.decode()] = value.decode()
    return visit.finish(answer) if visit is not None else answer


def _said(problem: problems.Problem) -> str:
    """Say it in a sentence; some problems have no more to tell than their title."""
    for name, value in problem.headers:
        if name == b"retry-after":
            return f"{problem.detail}. Try again in {value.decode()} seconds."
    return problem.detail if problem.detail.endswith(".") else f"{problem.detail}."
