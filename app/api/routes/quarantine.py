"""``/quarantine``: what is held for people to look at, and what they decide."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from app import errors
from app.api.batch_answers import next_page
from app.api.openapi import problem_responses
from app.api.quarantine_access import NO_STORE, Admission, admission, held_id
from app.api.quarantine_schemas import (
    HELD_EXAMPLE,
    HeldList,
    HeldRepresentation,
    MarksBody,
    Remembering,
    rule_shown,
    shown,
)
from app.api.reidentify_access import body_of, parsed
from app.api.reidentify_schemas import json_body
from app.pixels.rulings import Act, SourceKind
from app.quarantine.previews import MAX_EDGE, Look, Style
from app.quarantine.records import State, Wanted
from app.quarantine.review import DECIDE, LOOK, PREVIEW, REMEMBER

PATH: Final = "/quarantine"
ONE: Final = PATH + "/{quarantine_id}"
LIST: Final = "quarantine-list"
MAX_PAGE: Final = 1000
# Nothing that was made of a hostile image is taken for anything but an image.
_IMAGE_HEADERS: Final = {
    **NO_STORE,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

router = APIRouter()


class HeldParameters(BaseModel):
    """Which held objects; a misspelt parameter must not silently mean something else."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    organization: str | None = Field(
        None, max_length=24, description="Act for this organisation; the key must allow it."
    )
    state: State | None = Field(None, description="Those in this state alone.")
    profile: str | None = Field(None, max_length=100, description="Those of this profile alone.")
    source: SourceKind | None = Field(None, description="Those that came this way alone.")
    before: str | None = Field(None, max_length=64, description="Those before this one.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Most objects of one page.")

    def wanted(self) -> Wanted:
        """Return what these mean.

        Raises:
            errors.InvalidRequest: no row can hold a text.
            errors.QuarantineNotFound: what the page begins behind cannot be an id.
        """
        if "\0" in (self.profile or ""):
            raise errors.InvalidRequest("A filter holds a character that no text can hold")
        before = None if self.before is None else held_id(self.before)
        return Wanted(self.state, self.profile, self.source, before, self.limit)

    def named(self) -> dict[str, str]:
        """Return what was given, as it stands in an address, without the place."""
        given = self.model_dump(mode="json", exclude_none=True, exclude={"before"})
        return {name: str(value) for name, value in given.items()}


Named = Annotated[str, Path(alias="quarantine_id", examples=[HELD_EXAMPLE])]
Whose = Annotated[
    str | None,
    Query(max_length=24, description="Act for this organisation; the key must allow it."),
]


@router.get(
    PATH,
    summary="List what is held",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show_all(
    entered: Annotated[Admission, Depends(admission(LIST))],
    response: Response,
    asked: Annotated[HeldParameters, Query()],
) -> HeldList:
    """List the newest first; decided ones are among them. Needs the scope `review`."""
    reviewer = await entered.reviewer(asked.organization)
    wanted = await reviewer.read(LIST, asked.wanted)
    found = await reviewer.review.listed(reviewer.organization, wanted)
    response.headers.update(NO_STORE)
    following = None
    if len(found) == asked.limit:
        following = next_page(PATH, **asked.named(), before=found[-1].object_id)
    return HeldList(objects=[shown(one) for one in found], next=following)


@router.get(
    ONE,
    summary="Show a held object",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show(
    entered: Annotated[Admission, Depends(admission(LOOK))],
    response: Response,
    named: Named,
    organization: Whose = None,
) -> HeldRepresentation:
    """Tell all but the image. Needs the scope `review`; it is in the audit."""
    reviewer = await entered.reviewer(organization)
    object_id = await reviewer.read(LOOK, lambda: held_id(named))
    held = await reviewer.review.show(reviewer.event, object_id)
    response.headers.update(NO_STORE)
    return shown(held)


@router.get(
    ONE + "/preview",
    summary="See a held object",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **problem_responses(400, 401, 403, 404, 409, 422, 503),
    },
)
async def preview(
    entered: Annotated[Admission, Depends(admission(PREVIEW))],
    named: Named,
    organization: Whose = None,
    frame: Annotated[int, Query(ge=0, le=1 << 31, description="Which frame, from 0.")] = 0,
    marks: Annotated[
        Style, Query(description="Proposed marks outlined, filled as they would be, or left out.")
    ] = Style.DRAW,
    max_edge: Annotated[
        int, Query(ge=16, le=MAX_EDGE, description="Longest edge; larger images are made smaller.")
    ] = 1024,
) -> Response:
    """Answer one frame as PNG. Needs the scope `review`; that it was seen is in the audit before.

    The image shows a patient: it is nobody's to keep, and no cache may.
    """
    reviewer = await entered.reviewer(organization)
    object_id = await reviewer.read(PREVIEW, lambda: held_id(named))
    look = Look(frame, marks, max_edge)
    png = await reviewer.review.preview(reviewer.event, object_id, look)
    return Response(png, headers=_IMAGE_HEADERS, media_type="image/png")


@router.post(
    ONE + "/release",
    summary="Let a held object pass",
    responses=problem_responses(400, 401, 403, 404, 409, 422, 503),
)
async def release(
    entered: Annotated[Admission, Depends(admission(DECIDE[Act.RELEASE]))],
    response: Response,
    named: Named,
    organization: Whose = None,
) -> HeldRepresentation:
    """Let the pixels pass as they are. Needs the scope `review`, and not the key that sent it.

    Whoever sends the same bytes again gets them de-identified. What was held is destroyed.
    """
    return await _decided(entered, response, named, organization, Act.RELEASE)


@router.post(
    ONE + "/mask",
    summary="Let marks of a held object be masked",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra=json_body(MarksBody, "What is to be overwritten."),
)
async def mask(
    entered: Annotated[Admission, Depends(admission(DECIDE[Act.MASK]))],
    response: Response,
    named: Named,
    organization: Whose = None,
) -> HeldRepresentation:
    """Let these marks, and no others, be overwritten. Otherwise like a release."""
    return await _decided(entered, response, named, organization, Act.MASK)


@router.post(
    ONE + "/reject",
    summary="Reject a held object",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def reject(
    entered: Annotated[Admission, Depends(admission(DECIDE[Act.REJECT]))],
    response: Response,
    named: Named,
    organization: Whose = None,
) -> HeldRepresentation:
    """Let nothing of it leave, now and whenever the same bytes come. Needs the scope `review`."""
    return await _decided(entered, response, named, organization, Act.REJECT)


@router.post(
    ONE + "/remember",
    summary="Mask, and propose the marks as a rule",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra=json_body(MarksBody, "What is to be overwritten, here and from now on."),
)
async def remember(
    entered: Annotated[Admission, Depends(admission(REMEMBER))],
    response: Response,
    named: Named,
    organization: Whose = None,
) -> Remembering:
    """Mask like `mask`, and propose a rule for all images of the same device and size.

    The rule masks nothing before another person approves it: `POST /quarantine/rules/…/approve`.
    """
    reviewer = await entered.reviewer(organization)
    body = await body_of(entered.request)
    object_id, marks = await reviewer.read(
        REMEMBER, lambda: (held_id(named), parsed(MarksBody, body).read())
    )
    held, rule = await reviewer.review.remember(reviewer.event, object_id, marks)
    response.headers.update(NO_STORE)
    return Remembering(object=shown(held), rule=rule_shown(rule))


async def _decided(
    entered: Admission, response: Response, named: str, organization: str | None, act: Act
) -> HeldRepresentation:
    reviewer = await entered.reviewer(organization)
    body = await body_of(entered.request) if act is Act.MASK else b""
    object_id, marks = await reviewer.read(
        DECIDE[act],
        lambda: (held_id(named), parsed(MarksBody, body).read() if act is Act.MASK else []),
    )
    held = await reviewer.review.decide(reviewer.event, object_id, act, marks)
    response.headers.update(NO_STORE)
    return shown(held)
