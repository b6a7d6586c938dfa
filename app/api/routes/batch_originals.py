"""``GET /batches/{id}/originals``: which file at the source became what, for those who may."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from app import errors
from app.access.principals import Principal
from app.api import batch_openapi
from app.api.batch_access import NAME, located
from app.api.batch_answers import next_page, original_fields, page
from app.api.batch_schemas import BATCH_EXAMPLE, BatchOriginals
from app.api.dependencies import (
    Services,
    authorise,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.openapi import problem_responses
from app.api.queries import require_declared
from app.api.reidentify_access import stated_purpose
from app.api.reidentify_schemas import PurposeHeaders, Purposes
from app.api.routes import reidentify
from app.audit.events import SUCCESS, AuditEvent
from app.batches.service import ORIGINALS

MAX_PAGE = 1000
MAX_NUMBER = 2**62

router = APIRouter()


class OriginalParameters(Purposes):
    """Which files, and why the caller asks."""

    after: int = Field(-1, ge=-1, le=MAX_NUMBER, description="Only files behind this number.")
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most files of one page.")


async def _admitted(request: Request) -> tuple[Services, Principal, AuditEvent]:
    """Find out who asks, before the parameters are looked at."""
    services = services_of(request.scope)
    require_role(services, reidentify.NAME)
    event = AuditEvent(action=ORIGINALS, request_id=request_id_of(request.scope))
    await authorise(services, request.scope, needed=NAME, event=event)
    principal = await authorise(services, request.scope, needed=reidentify.NAME, event=event)
    require_declared(request.scope)
    return services, principal, event


@router.get(
    "/batches/{batch_id}/originals",
    summary="Which file became what",
    response_model=BatchOriginals,
    responses={**batch_openapi.LINKED, **problem_responses(400, 401, 403, 404, 429, 503)},
)
async def list_originals(
    admitted: Annotated[tuple[Services, Principal, AuditEvent], Depends(_admitted)],
    batch_id: Annotated[str, Path(examples=[BATCH_EXAMPLE])],
    asked: Annotated[OriginalParameters, Query()],
    headers: Annotated[PurposeHeaders, Header()],
) -> Response:
    """Answer the names at the source. Needs the scopes `batch` and `reidentify`.

    Every request is recorded in the audit before it is answered, refused ones as well. A page
    counts as one look; where a second person must approve every look, names are not told.
    """
    services, principal, event = admitted
    try:
        purpose = stated_purpose(asked, headers)
    except errors.InvalidRequest as error:
        await services.vault.audit(described(event, principal, outcome=error.code))
        raise
    organization, identity = await located(services, principal, batch_id)
    looking = replace(
        described(event, principal, outcome=SUCCESS),
        organization=organization,
        purpose=purpose.audited,
        detail={"reference": purpose.reference, "batch_id": str(identity)},
    )
    await services.disclosure.admit_names(looking, purpose)
    found = await services.batches.originals(
        organization,
        identity,
        after=asked.after,
        limit=asked.limit,
        event=looking,
    )
    following = None
    if len(found) == asked.limit:
        # One more is not asked for: what is not shown must not be opened.
        path = f"/batches/{identity}/originals"
        following = next_page(path, limit=asked.limit, after=found[-1].seq)
    shown = [original_fields(original) for original in found]
    return page("originals", shown, following, batch_id=str(identity))
