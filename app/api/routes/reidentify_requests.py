"""``/reidentify/requests``: what a second person must approve before it is answered."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app import errors
from app.access.principals import Principal
from app.access.scopes import Scope
from app.api.dependencies import Services, require_role, services_of
from app.api.openapi import problem_responses
from app.api.queries import require_declared
from app.api.reidentify_access import (
    NO_STORE,
    admitted,
    body_of,
    parsed,
    questions_of,
    recorded,
    request_id,
    shown,
    stated_purpose,
)
from app.api.reidentify_schemas import (
    REQUEST_EXAMPLE,
    RequestBody,
    RequestList,
    RequestRepresentation,
    json_body,
)
from app.api.routes.reidentify import NAME
from app.vault.disclosure.approvals import Decision, State
from app.vault.disclosure.asking import Asked
from app.vault.disclosure.service import DECIDE, REQUEST

PATH: Final = "/reidentify/requests"
MAX_PAGE: Final = 1000
READ: Final = "reidentify-requests"

router = APIRouter()

_Id = Annotated[str, Path(alias="request_id", examples=[REQUEST_EXAMPLE])]
_READERS: Final = (Scope.APPROVE, Scope.REIDENTIFY, Scope.REIDENTIFY_BATCH)


async def _entered(
    request: Request, needed: Scope, *or_else: Scope, action: str
) -> tuple[Services, Principal, Asked]:
    require_role(services_of(request.scope), NAME)
    found = await admitted(request, needed, *or_else, action=action)
    require_declared(request.scope)
    return found


async def _reading(request: Request) -> tuple[Services, Principal, Asked]:
    """Find out who asks, before the parameters are looked at."""
    return await _entered(request, *_READERS, action=READ)


Reader = Annotated[tuple[Services, Principal, Asked], Depends(_reading)]


@router.post(
    PATH,
    summary="Ask a second person to approve",
    status_code=201,
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=json_body(RequestBody, "What is asked, and why."),
)
async def make(request: Request, response: Response) -> RequestRepresentation:
    """Make a request. Needs the scope `reidentify`, for a worklist `reidentify-batch`.

    It counts like a look. Nothing is opened before somebody else has approved it.
    """
    services, principal, asked = await _entered(
        request, Scope.REIDENTIFY, Scope.REIDENTIFY_BATCH, action=REQUEST
    )
    body = await body_of(request)
    most = services.disclosure.limits.max_batch

    def read() -> Asked:
        given = parsed(RequestBody, body)
        if len(given.items) > 1 and Scope.REIDENTIFY_BATCH not in principal.scopes:
            raise errors.NotAuthorised(f"The caller lacks the scope '{Scope.REIDENTIFY_BATCH}'")
        purpose = stated_purpose(given)
        return replace(asked, purpose=purpose, questions=questions_of(given.items, most))

    made = await services.disclosure.request(await recorded(services, asked, read))
    response.headers.update(NO_STORE)
    response.headers["Location"] = f"{PATH}/{made.request_id}"
    return shown(made)


@router.get(
    PATH,
    summary="List requests for approval",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show_all(
    reader: Reader,
    response: Response,
    state: Annotated[State | None, Query(description="Those in this state alone.")] = None,
    before: Annotated[str | None, Query(description="Those before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> RequestList:
    """List the newest first. The scope `approve` sees those of its organisation, others their own.

    They hold pseudonyms alone.
    """
    services, principal, asked = reader
    found = await services.disclosure.requests(
        asked.organization,
        caller=_whose(principal),
        state=state,
        before=None if before is None else request_id(before),
        limit=limit,
    )
    response.headers.update(NO_STORE)
    following = None
    if len(found) == limit:
        chosen = "" if state is None else f"&state={state}"
        following = f"{PATH}?limit={limit}{chosen}&before={found[-1].request_id}"
    return RequestList(requests=[shown(one) for one in found], next=following)


@router.get(
    PATH + "/{request_id}",
    summary="Show a request for approval",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show(reader: Reader, response: Response, named: _Id) -> RequestRepresentation:
    """Show one request, like the list."""
    services, principal, asked = reader
    found = await services.disclosure.request_of(
        asked.organization, request_id(named), caller=_whose(principal)
    )
    response.headers.update(NO_STORE)
    return shown(found)


@router.post(
    PATH + "/{request_id}/approve",
    summary="Approve a request",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def approve(request: Request, response: Response, named: _Id) -> RequestRepresentation:
    """Let whoever asked have the answer within minutes, once. Needs the scope `approve`.

    Nobody approves a request of one's own. The answer itself goes to whoever asked alone.
    """
    return await _decided(request, response, named, Decision.APPROVED)


@router.post(
    PATH + "/{request_id}/deny",
    summary="Deny a request",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def deny(request: Request, response: Response, named: _Id) -> RequestRepresentation:
    """Refuse it for good. Needs the scope `approve`."""
    return await _decided(request, response, named, Decision.DENIED)


async def _decided(
    request: Request, response: Response, text: str, decision: Decision
) -> RequestRepresentation:
    services, _, asked = await _entered(request, Scope.APPROVE, action=DECIDE[decision])
    decided = await services.disclosure.decide(asked.event, request_id(text), decision)
    response.headers.update(NO_STORE)
    return shown(decided)


def _whose(principal: Principal) -> str | None:
    """Return the caller whose requests are seen; None for those of everybody."""
    return None if Scope.APPROVE in principal.scopes else principal.caller
