"""What the routes of the way back share: reading what is asked, recording refusals, answering."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app import errors
from app.access.principals import Principal
from app.access.scopes import Scope
from app.api.dependencies import Services, authorise, described, request_id_of, services_of
from app.api.reidentify_schemas import (
    LookParameters,
    OriginalIdentity,
    Pseudonyms,
    PurposeHeaders,
    Purposes,
    Reidentification,
    RequestRepresentation,
)
from app.audit.events import SUCCESS, AuditEvent
from app.vault.disclosure.approvals import Approval
from app.vault.disclosure.asking import LOOK, Asked
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import NAMES, Question
from app.vault.mapping import Reidentified

MAX_BODY_BYTES: Final = 1 << 20
NO_STORE: Final = {"Cache-Control": "no-store"}
_JSON: Final = "application/json"

Read = TypeVar("Read")
Body = TypeVar("Body", bound=BaseModel)


async def admitted(
    request: Request, needed: Scope, *or_else: Scope, action: str = LOOK
) -> tuple[Services, Principal, Asked]:
    """Find out who asks; what is asked is not known yet.

    Raises:
        errors.GatewayError: see `authorise`.
    """
    services = services_of(request.scope)
    event = AuditEvent(action=action, request_id=request_id_of(request.scope))
    principal = await authorise(
        services, request.scope, needed=needed, event=event, or_else=or_else
    )
    return services, principal, Asked(described(event, principal, outcome=SUCCESS))


async def recorded(services: Services, asked: Asked, read: Callable[[], Read]) -> Read:
    """Read what is asked; where that is not fit the audit has it before the caller.

    Raises:
        errors.InvalidInput: as the reading said.
    """
    try:
        return read()
    except errors.GatewayError as error:
        await services.disclosure.refuse(asked, error)
        raise


def stated_purpose(purposes: Purposes, headers: PurposeHeaders | None = None) -> Purpose:
    """Return the purpose from parameters or headers.

    Raises:
        errors.InvalidRequest: something is missing, stated twice differently, or not fit.
    """
    if headers is None:
        return Purpose.stated(purposes.purpose, purposes.reference, purposes.reason)
    return Purpose.stated(
        _either("purpose", purposes.purpose, headers.x_purpose_of_use),
        _either("reference", purposes.reference, headers.x_reference),
        _either("reason", purposes.reason, headers.x_reason),
    )


def question_of(given: Pseudonyms) -> Question:
    """Return the question that pseudonyms make.

    Raises:
        errors.InvalidRequest, errors.MistypedCloudStudyId, errors.MistypedPseudonym: they are not
            fit.
    """
    return Question.stated({name: getattr(given, name) for name in NAMES})


def questions_of(items: list[Pseudonyms], most: int) -> tuple[Question, ...]:
    """Return the questions of a worklist.

    Raises:
        errors.InvalidInput: one is not fit; its number is told. Or they are too many.
    """
    if len(items) > most:
        raise errors.InvalidRequest(f"A worklist has {most} items at most")
    questions = []
    for number, item in enumerate(items, start=1):
        try:
            questions.append(question_of(item))
        except errors.InvalidInput as error:
            raise type(error)(f"Item {number}: {error.detail}") from None
    return tuple(questions)


def request_id(text: str) -> UUID:
    """Read the id of a request.

    Raises:
        errors.ApprovalNotFound: it cannot be one.
    """
    try:
        identity = UUID(text)
    except ValueError:
        raise errors.ApprovalNotFound from None
    if str(identity) != text.lower():
        raise errors.ApprovalNotFound
    return identity


async def body_of(request: Request) -> bytes:
    """Read a JSON body within bounds.

    Raises:
        errors.UnsupportedMediaType: it is something else.
        errors.TooLarge: it is too large.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise errors.UnsupportedMediaType(f"Send {_JSON}")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise errors.TooLarge
        parts.append(part)
    return b"".join(parts)


def parsed(model: type[Body], body: bytes) -> Body:
    """Read a body; nothing of it is repeated.

    Raises:
        errors.InvalidRequest: it is not what the model says.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        names = [part for part in first["loc"] if isinstance(part, int) or part in _ALL_NAMES]
        place = ".".join(map(str, names)) or "body"
        raise errors.InvalidRequest(f"The JSON body is not fit at {place}") from None


def told(found: Reidentified) -> Reidentification:
    """Return what is answered about one question."""
    return Reidentification(
        cloud_study_id=found.cloud_study_id,
        original_series_uid=found.series_uid,
        original_sop_instance_uid=found.sop_instance_uid,
        other_identities=[OriginalIdentity(**_identity(other)) for other in found.others],
        **_identity(found),
    )


def shown(approval: Approval) -> RequestRepresentation:
    """Return what is shown of a request."""
    return RequestRepresentation(
        request_id=str(approval.request_id),
        state=str(approval.state),
        items=[question.given for question in approval.questions],
        purpose=approval.purpose.code,
        reference=approval.purpose.reference,
        reason=approval.purpose.reason or None,
        requested_by=approval.actor,
        requested_at=approval.requested_at,
        expires_at=approval.expires_at,
        decided_by=approval.decided_by,
        decided_at=approval.decided_at,
        valid_until=approval.valid_until,
        used_at=approval.used_at,
    )


_ALL_NAMES: Final = LookParameters.model_fields.keys() | {"items"}


def _identity(found: Reidentified) -> Mapping[str, Any]:
    return {
        "original_patient_id": found.patient_id,
        "original_issuer_of_patient_id": found.issuer_of_patient_id,
        "original_study_uid": found.study_uid,
        "original_accession_number": found.accession_number,
        "first_seen_at": found.first_seen_at,
    }


def _either(name: str, parameter: str | None, header: str | None) -> str | None:
    stated = {text.strip() for text in (parameter, _decoded(header)) if text is not None}
    if len(stated) > 1:
        raise errors.InvalidRequest(f"State one {name}, as a parameter or as a header")
    return stated.pop() if stated else None


def _decoded(header: str | None) -> str | None:
    """Read a header that came in UTF-8, which the framework takes for Latin-1."""
    if header is None:
        return None
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
