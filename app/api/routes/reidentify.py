"""``GET /reidentify``: from a cloud study id back to the patient, for those who may."""

import datetime as dt
from dataclasses import replace
from typing import Annotated, Final, TypedDict

from fastapi import APIRouter, Header, Query, Request, Response

from app import errors
from app.api.dependencies import (
    authorise,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.openapi import problem_responses
from app.api.schemas import STUDY_EXAMPLE, Identity, ReidentifiedStudy
from app.audit.events import SUCCESS, Action, AuditEvent
from app.vault.mapping import Reidentified
from app.vault.pseudonyms import parse_cloud_study_id

NAME: Final = "reidentify"  # of the role, the scope and the action alike
PURPOSE_CHARACTERS: Final = range(3, 201)

router = APIRouter()


@router.get(
    "/reidentify",
    summary="Find the patient behind a cloud study id",
    responses=problem_responses(400, 401, 403, 404, 422, 503),
)
async def reidentify(
    request: Request,
    response: Response,
    cloud_study_id: Annotated[
        str | None,
        Query(
            description="As printed on the study; case, spaces and missing hyphens do not matter.",
            examples=[STUDY_EXAMPLE],
        ),
    ] = None,
    purpose: Annotated[
        str | None,
        Query(
            description="Why you ask, 3 to 200 characters; kept in the audit. "
            "Write no patient's data into it.",
            examples=["report delivery"],
        ),
    ] = None,
    x_purpose_of_use: Annotated[
        str | None,
        Header(description="The purpose, for callers who keep it out of the address."),
    ] = None,
) -> ReidentifiedStudy:
    """Answer the original identifiers of a study. Needs the scope `reidentify`.

    Every request is recorded in the audit before it is answered, refused ones as well.
    """
    services = services_of(request.scope)
    require_role(services, NAME)
    event = AuditEvent(action=Action.REIDENTIFY, request_id=request_id_of(request.scope))
    principal = await authorise(services, request.scope, needed=NAME, event=event)
    try:
        stated = stated_purpose(purpose, x_purpose_of_use)
        wanted = required(cloud_study_id)
    except errors.InvalidRequest as error:
        await services.vault.audit(described(event, principal, outcome=error.code))
        raise
    found = await services.vault.reidentify(
        organization=principal.organization,
        cloud_study_id=wanted,
        event=replace(described(event, principal, outcome=SUCCESS), purpose=stated),
    )
    response.headers["Cache-Control"] = "no-store"
    return ReidentifiedStudy(
        cloud_study_id=parse_cloud_study_id(wanted),
        other_identities=[Identity(**_members(other)) for other in found.others],
        **_members(found),
    )


def stated_purpose(parameter: str | None, header: str | None) -> str:
    """Return the purpose from whichever of the two places it was stated in.

    Raises:
        errors.InvalidRequest: it is missing, stated twice differently, or not a short plain text.
    """
    stated = {text.strip() for text in (parameter, header) if text is not None}
    if len(stated) != 1:
        raise errors.InvalidRequest(
            "State one purpose, as the query parameter purpose or the header X-Purpose-Of-Use"
        )
    purpose = stated.pop()
    if len(purpose) not in PURPOSE_CHARACTERS or not purpose.isprintable():
        raise errors.InvalidRequest("The purpose must be 3 to 200 printable characters")
    return purpose


def required(cloud_study_id: str | None) -> str:
    """Return the id as it was given.

    Raises:
        errors.InvalidRequest: it was not given.
    """
    if not cloud_study_id:
        raise errors.InvalidRequest("The query parameter cloud_study_id is missing")
    return cloud_study_id


class _Members(TypedDict):
    original_patient_id: str
    original_issuer_of_patient_id: str
    original_study_uid: str
    original_accession_number: str
    first_seen_at: dt.datetime


def _members(found: Reidentified) -> _Members:
    return {
        "original_patient_id": found.patient_id,
        "original_issuer_of_patient_id": found.issuer_of_patient_id,
        "original_study_uid": found.study_uid,
        "original_accession_number": found.accession_number,
        "first_seen_at": found.first_seen_at,
    }
