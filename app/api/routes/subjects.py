"""``DELETE /subjects/{pseudonym}``: destroys the originals of one patient."""

import datetime as dt
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import errors
from app.api.dependencies import (
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
from app.audit.events import SUCCESS, AuditEvent
from app.vault.disclosure.purposes import Purpose
from app.vault.erasing import ERASE

NAME: Final = "admin"  # of the role and the scope alike
PATIENT_EXAMPLE: Final = "P61YDC2TP2FXA"

router = APIRouter()


class AnyPurposes(Purposes):
    """Why; what else is there is refused once it is known who asks."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Destroyed(BaseModel):
    """How much was destroyed."""

    data_keys: int
    identities: int = Field(description="Patient ID, Accession Number and so on, per study.")
    studies: int
    series: int
    instances: int
    file_names: int = Field(description="Names of files at the source, of batches.")
    held_objects: int = Field(description="Objects that were held for review.")


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
        ),
    ],
    purposes: Annotated[AnyPurposes, Query()],
    headers: Annotated[PurposeHeaders, Header()],
) -> ErasedSubject:
    """Destroy all sealed originals of one patient. Needs the scope `admin`.

    Nobody can find the patient again; de-identified objects that left stay what they are. A
    tombstone stays, and later uploads of the patient are refused (`subject-erased`) unless the
    organisation takes them again. Asking again destroys what came since. A purpose of use (a code
    of HL7, no emergency) and a reference are mandatory. Every request is in the audit.
    """
    services = services_of(request.scope)
    require_role(services, NAME)
    event = AuditEvent(action=ERASE, request_id=request_id_of(request.scope))
    principal = await authorise(services, request.scope, needed=NAME, event=event)
    if services.eraser is None:
        raise errors.RoleNotServed
    asked = described(event, principal, outcome=SUCCESS)
    try:
        stated = _stated(request, purposes, headers)
    except errors.InvalidRequest as error:
        await services.vault.audit(replace(asked, outcome=error.code))
        raise
    erased = await services.eraser.erase(
        organization=principal.organization,
        pseudonym=pseudonym,
        event=replace(asked, purpose=stated.audited, detail={"reference": stated.reference}),
    )
    response.headers["Cache-Control"] = "no-store"
    return ErasedSubject(
        cloud_patient_id=erased.cloud_patient_id,
        erased_at=erased.erased_at,
        destroyed=Destroyed(**erased.counts()),
    )


def _stated(request: Request, purposes: Purposes, headers: PurposeHeaders) -> Purpose:
    """Return why somebody is to be erased.

    Raises:
        errors.InvalidRequest: it is not fit, or parameters came that nobody reads.
    """
    require_declared(request.scope)
    purpose = stated_purpose(purposes, headers)
    purpose.require_planned()
    return purpose
