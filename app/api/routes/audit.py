"""The audit over HTTP: an organisation reads its own, and that it did is in it."""

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import errors
from app.access.principals import Principal
from app.api.batch_answers import NO_STORE, next_page, page
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
from app.api.schemas import STUDY_EXAMPLE
from app.audit import checkpoints, fhir
from app.audit.events import SUCCESS, Action, AuditEvent
from app.audit.reading import Filter, Page, Position, StoredEvent
from app.vault.pseudonyms import parse_cloud_study_id

NAME: Final = "audit"  # of the role and the scope alike
PATH: Final = "/audit"
MAX_PAGE: Final = 1000

router = APIRouter()


class Parameters(BaseModel):
    """Which events; a misspelt parameter must not silently mean something else."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    since: AwareDatetime | None = Field(None, description="The earliest moment, with its zone.")
    until: AwareDatetime | None = Field(None, description="The moment that is too late.")
    action: str | None = Field(
        None, max_length=100, description="What was tried.", examples=["reidentify"]
    )
    outcome: str | None = Field(
        None, max_length=100, description="`success` or the code of an error."
    )
    actor: str | None = Field(None, max_length=200, description="Who, by name.")
    cloud_study_id: str | None = Field(
        None, max_length=64, description="Which study.", examples=[STUDY_EXAMPLE]
    )
    request_id: str | None = Field(
        None, max_length=64, description="What one request did, by its `X-Request-Id`."
    )
    before: str | None = Field(
        None, max_length=64, description="Where the page before ended; take it from `next`."
    )
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most events of one page.")

    def filter(self) -> Filter:
        """Return what these mean.

        Raises:
            errors.InvalidRequest: no row can hold a text.
            errors.MistypedCloudStudyId: the id cannot be right.
        """
        if any("\0" in text for text in self.named().values()):
            raise errors.InvalidRequest("A filter holds a character that no text can hold")
        study = self.cloud_study_id
        return Filter(
            since=self.since,
            until=self.until,
            action=self.action,
            outcome=self.outcome,
            actor=self.actor,
            cloud_study_id=None if study is None else parse_cloud_study_id(study),
            request_id=self.request_id,
        )

    def named(self) -> dict[str, str]:
        """Return what was given, as it stands in an address, without the place."""
        given = self.model_dump(mode="json", exclude_none=True, exclude={"before", "limit"})
        return {name: str(value) for name, value in given.items()}


class AuditEntry(BaseModel):
    """One event of the audit."""

    seq: int
    recorded_at: AwareDatetime
    action: str
    outcome: str
    actor: str
    api_key_id: str | None
    profile: str | None
    profile_version: str | None
    cloud_study_id: str | None
    sop_instance_uid: str | None
    purpose: str | None
    request_id: str | None
    detail: dict[str, str | int]
    hash: str


class AuditPage(BaseModel):
    """A page of the audit, the newest event first."""

    organization: str
    events: list[AuditEntry]
    next: str | None


class CheckpointFile(BaseModel):
    """Signed checkpoints, as ``deid-gateway audit verify --checkpoint`` takes them."""

    format: str
    version: int
    checkpoints: list[dict[str, str | int]]


async def _permitted(request: Request) -> tuple[Services, Principal, AuditEvent]:
    """Find out who asks, before the parameters are looked at.

    Raises:
        errors.RoleNotServed, errors.NotAuthenticated, errors.NotAuthorised: as said.
        errors.InvalidRequest: a query parameter is unknown, or comes twice.
    """
    services = services_of(request.scope)
    require_role(services, NAME)
    event = AuditEvent(action=Action.READ_AUDIT, request_id=request_id_of(request.scope))
    principal = await authorise(services, request.scope, needed=NAME, event=event)
    require_declared(request.scope)
    return services, principal, event


Auditor = Annotated[tuple[Services, Principal, AuditEvent], Depends(_permitted)]


@router.get(
    PATH,
    summary="Read the audit",
    response_model=AuditPage,
    responses={
        200: {"content": {fhir.MEDIA_TYPE: {"schema": {"type": "object"}}}},
        **problem_responses(400, 401, 403, 422, 503),
    },
)
async def read_audit(
    auditor: Auditor,
    asked: Annotated[Parameters, Query()],
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Answer events of the caller's organisation, the newest first. Needs the scope `audit`.

    `Accept: application/fhir+json` answers a Bundle of AuditEvent resources. A page may be short,
    even empty, and still name a next one. That the audit was read is in the audit before it is
    answered.
    """
    services, principal, event = auditor
    try:
        wanted = asked.filter()
        behind = None if asked.before is None else Position.parse(asked.before)
    except errors.InvalidInput as error:
        await services.vault.audit(described(event, principal, outcome=error.code))
        raise
    found = await services.audit.page(
        principal.organization, wanted, behind=behind, limit=asked.limit
    )
    is_fhir = _wants_fhir(accept)
    detail: dict[str, str | int] = {"rows": len(found.events), "filters": " ".join(asked.named())}
    await services.vault.audit(_read(event, principal, wanted, detail))
    return _as_fhir(asked, found) if is_fhir else _as_json(principal.organization, asked, found)


@router.get(
    f"{PATH}/checkpoint",
    summary="The newest signed checkpoint of the audit",
    response_model=CheckpointFile,
    responses=problem_responses(400, 401, 403, 503),
)
async def newest_checkpoint(auditor: Auditor) -> Response:
    """Answer how far the organisation's chain was sealed. Needs the scope `audit`.

    Keep it where nobody of the gateway can change it: `deid-gateway audit verify --checkpoint`
    finds whether anything before it was rewritten. It tells nothing of events, so that asking is
    not recorded.
    """
    services, principal, _ = auditor
    document = checkpoints.written(await services.audit.checkpoints(principal.organization))
    return Response(document, headers=NO_STORE, media_type="application/json")


def _read(
    event: AuditEvent, principal: Principal, wanted: Filter, detail: dict[str, str | int]
) -> AuditEvent:
    """Say what was read: which filters were used, not what was typed into them."""
    asked = AuditEvent(
        action=event.action,
        request_id=event.request_id,
        cloud_study_id=wanted.cloud_study_id,
        detail=detail,
    )
    return described(asked, principal, outcome=SUCCESS)


def _wants_fhir(accept: str) -> bool:
    """Say whether FHIR is named, and not behind plain JSON."""
    for media_range in accept.split(","):
        name = media_range.partition(";")[0].strip().lower()
        if name in {fhir.MEDIA_TYPE, "application/json"}:
            return name == fhir.MEDIA_TYPE
    return False


def _next_address(asked: Parameters, found: Page) -> str | None:
    if found.following is None:
        return None
    return next_page(PATH, **asked.named(), limit=asked.limit, before=found.following)


def _as_json(organization: str, asked: Parameters, found: Page) -> Response:
    entries = [_entry(event) for event in found.events]
    return page("events", entries, _next_address(asked, found), organization=organization)


def _as_fhir(asked: Parameters, found: Page) -> Response:
    own = next_page(PATH, **asked.named(), limit=asked.limit, before=asked.before)
    following = _next_address(asked, found)
    made = fhir.bundle(found.events, own_address=own, next_address=following)
    body = json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers=NO_STORE, media_type=fhir.MEDIA_TYPE)


def _entry(event: StoredEvent) -> dict[str, Any]:
    """Describe an event; what does not apply is null."""
    return {
        "seq": event.seq,
        "recorded_at": fhir.instant(event.recorded_at),
        "action": event.action,
        "outcome": event.outcome,
        "actor": event.actor,
        "api_key_id": event.api_key_id,
        "profile": event.profile,
        "profile_version": event.profile_version,
        "cloud_study_id": event.cloud_study_id,
        "sop_instance_uid": event.sop_instance_uid,
        "purpose": event.purpose,
        "request_id": event.request_id,
        "detail": dict(event.detail),
        "hash": event.hash.hex(),
    }
