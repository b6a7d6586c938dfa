"""``DELETE /subjects/{pseudonym}``: destroys the originals of one patient."""

import datetime as dt
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from app import errors
from app.api.dependencies import (
    authorise,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.openapi import problem_responses
from app.audit.events import SUCCESS, AuditEvent
from app.vault.erasing import ERASE

NAME: Final = "admin"  # of the role and the scope alike
PURPOSE_CHARACTERS: Final = range(3, 201)
PATIENT_EXAMPLE: Final = "P61YDC2TP2FXA"

router = APIRouter()


class Destroyed(BaseModel):
    """How much was destroyed."""

    data_keys: int
    identities: int = Field(description="Patient ID, Accession Number and so on, per study.")
    studies: int
    series: int
    instances: int
    file_names: int = Field(description="Names of files at the source, of batches.")


class ErasedSubject(BaseModel):
    """What became of the patient."""

    cloud_patient_id: str = Field(examples=[PATIENT_EXAMPLE])
    erased_at: dt.datetime
    destroyed: Destroyed


@router.delete(
    "/subjects/{pseudonym}",
    summary="Destroy the originals of a patient",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def erase_subject(
    request: Request,
    response: Response,
    pseudonym: Annotated[
        str,
        Path(
            description="Cloud patient id, or the cloud study id of a study of this patient; the "
            "organisation may stand before it, as in the pseudonymous Patient ID.",
            examples=[PATIENT_EXAMPLE],
            max_length=100,
        ),
    ],
    purpose: Annotated[
        str | None,
        Query(
            description="Why, 3 to 200 characters; kept in the audit. "
            "Write no patient's data into it.",
            examples=["request of the patient"],
        ),
    ] = None,
    x_purpose_of_use: Annotated[
        str | None,
        Header(description="The purpose, for callers who keep it out of the address."),
    ] = None,
) -> ErasedSubject:
    """Destroy all sealed originals of one patient. Needs the scope `admin`.

    Nobody can find the patient again; de-identified objects that left stay what they are. A
    tombstone stays, and later uploads of the patient are refused (`subject-erased`) unless the
    organisation takes them again. Asking again destroys what came since. Every request is in the
    audit.
    """
    services = services_of(request.scope)
    require_role(services, NAME)
    event = AuditEvent(action=ERASE, request_id=request_id_of(request.scope))
    principal = await authorise(services, request.scope, needed=NAME, event=event)
    if services.eraser is None:
        raise errors.RoleNotServed
    asked = described(event, principal, outcome=SUCCESS)
    try:
        stated = _stated(purpose, x_purpose_of_use)
    except errors.InvalidRequest as error:
        await services.vault.audit(replace(asked, outcome=error.code))
        raise
    erased = await services.eraser.erase(
        organization=principal.organization,
        pseudonym=pseudonym,
        event=replace(asked, purpose=stated),
    )
    response.headers["Cache-Control"] = "no-store"
    return ErasedSubject(
        cloud_patient_id=erased.cloud_patient_id,
        erased_at=erased.erased_at,
        destroyed=Destroyed(**erased.counts()),
    )


def _stated(parameter: str | None, header: str | None) -> str:
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
