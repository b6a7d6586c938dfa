"""Held objects: the list, one of them with its image, and what a person decides about it."""

import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from starlette.responses import Response

from app import errors, telemetry
from app.api.dependencies import chosen_organization
from app.api.review import forms, views
from app.api.review.answering import HELD, shown
from app.api.review.visits import Visit, form_of, redirected
from app.api.review_sessions import IDLE_S
from app.audit.events import AuditEvent
from app.pixels.model import Mark
from app.pixels.rulings import Act
from app.quarantine.previews import MAX_EDGE, Look, Style
from app.quarantine.records import Held, State, Wanted
from app.quarantine.review import LOOK, Review

PAGE: Final = 25
# From 1; no image has more frames than nine digits count.
_FRAME: Final = re.compile(r"[1-9][0-9]{0,8}")
REMEMBER: Final = "remember"
_DONE: Final[Mapping[str, str]] = {
    Act.MASK: "Masked. Whoever sends the object again gets it so.",
    REMEMBER: "Masked, and proposed as a rule. A second person must approve it.",
    Act.RELEASE: "Released. Whoever sends the object again gets it as it is.",
    Act.REJECT: "Rejected. Nothing of the object leaves.",
}
_FASTER: Final = "Somebody else decided about this object meanwhile. Your decision was not needed."
_OWN: Final = "You sent this object yourself: another person must let it pass. You may reject it."


async def listed(visit: Visit) -> Response:
    """Show what waits in one organisation."""
    asked = visit.request.query_params
    organization = chosen_organization(visit.who, asked.get("organization"))
    after = _id(asked["after"]) if "after" in asked else None
    found = await review_of(visit).listed(
        organization,
        Wanted(state=State.HELD, before=after, limit=PAGE + 1, oldest_first=True),
    )
    now = telemetry.utc_now()
    return shown(
        visit,
        "list",
        place="held",
        held=[views.of_held(held, now) for held in found[:PAGE]],
        next_page=found[PAGE - 1].object_id if len(found) > PAGE else None,
        is_later_page=after is not None,
        message=_DONE.get(asked.get("done", ""), ""),
        tone="good",
        organization=organization,
        organizations=sorted(visit.who.every_organization),
    )


async def following(visit: Visit) -> Response:
    """Lead to the next object that waits."""
    organization = organization_of(visit)
    asked = visit.request.query_params
    after = _id(asked["after"]) if "after" in asked else None
    return redirected(await _next_address(visit, organization, after))


async def one(visit: Visit) -> Response:
    """Show one object; looking at it is recorded."""
    held = await review_of(visit).show(event_of(visit, LOOK), _object_id(visit))
    if held.state is not State.HELD:
        return _gone(visit, held)
    done = _DONE.get(visit.request.query_params.get("done", ""), "")
    return _page(visit, held, message=done, tone="good")


async def frame(visit: Visit) -> Response:
    """Return one frame as PNG, without masks: the page draws them."""
    named = visit.request.path_params["number"]
    if _FRAME.fullmatch(named) is None:
        raise errors.PreviewUnavailable("There is no frame of that number")
    look = Look(frame=int(named) - 1, style=Style.NONE, max_edge=MAX_EDGE)
    drawn = await review_of(visit).preview(event_of(visit, LOOK), _object_id(visit), look)
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "no-store"})


async def decide(visit: Visit) -> Response:
    """Carry out what the form says, and show the next object."""
    fields = await form_of(visit)
    action, object_id = fields.get("action", ""), _object_id(visit)
    if action not in _DONE:
        raise errors.InvalidRequest("The form names no decision")
    held = await review_of(visit).show(event_of(visit, LOOK), object_id)
    if held.state is not State.HELD:
        return _gone(visit, held)
    if action == Act.RELEASE and fields.get("confirmed") != "yes":
        now = telemetry.utc_now()
        return shown(visit, "release", place="held", one=views.of_held(held, now))
    marks = forms.marks_of(fields.get("marks", "[]"), held.shape, held.decision.marks)
    try:
        await _decided(visit, object_id, action, marks)
    except errors.AlreadyDecided as error:
        return _gone(visit, held, status=409, code=error.code)
    except (errors.OwnObject, errors.InvalidRequest, errors.InvalidRules) as error:
        said = _OWN if isinstance(error, errors.OwnObject) else f"{error.detail}."
        return _page(visit, held, marks=marks, message=said, tone="bad", status=422)
    address = await _next_address(visit, held.organization, object_id)
    return redirected(f"{address}{'&' if '?' in address else '?'}done={action}")


async def _decided(visit: Visit, object_id: UUID, action: str, marks: tuple[Mark, ...]) -> None:
    review, event = review_of(visit), event_of(visit, LOOK)
    if action == REMEMBER:
        await review.remember(event, object_id, marks)
    else:
        act = Act(action)
        await review.decide(event, object_id, act, marks if act is Act.MASK else ())


async def _next_address(visit: Visit, organization: str, after: UUID | None) -> str:
    """Return where the next object is, or the list where nothing else waits."""
    review = review_of(visit)
    for before in (after, None) if after else (None,):
        wanted = Wanted(state=State.HELD, before=before, limit=1, oldest_first=True)
        try:
            found = await review.listed(organization, wanted)
        except errors.QuarantineNotFound:  # its patient was erased meanwhile
            continue
        if found and found[0].object_id != after:
            return f"{HELD}/objects/{organization}/{found[0].object_id}"
    return f"{HELD}?organization={organization}"


def _page(
    visit: Visit,
    held: Held,
    *,
    marks: tuple[Mark, ...] | None = None,
    message: str = "",
    tone: str = "",
    status: int = 200,
) -> Response:
    return shown(
        visit,
        "object",
        status=status,
        place="held",
        one=views.of_held(held, telemetry.utc_now(), marks),
        next_address=_next_of(held),
        message=message,
        tone=tone,
        shortcuts=views.SHORTCUTS,
        idle_s=IDLE_S,
    )


def _gone(visit: Visit, held: Held, *, status: int = 200, code: str = "") -> Response:
    """Say that nothing is left to decide; who decided and how is no secret among reviewers."""
    said = _FASTER if code else "It was decided about already."
    if held.decided_by:
        said = f"It was {held.state} by {held.decided_by}."
    return shown(
        visit,
        "gone",
        status=status,
        place="held",
        heading="This object no longer waits",
        message=said,
        tone="",
        code=code,
        request_id=visit.request_id if code else "",
        ways=[("Next object", _next_of(held)), ("Back to the list", HELD)],
    )


def _next_of(held: Held) -> str:
    return f"{HELD}/objects/{held.organization}/next?after={held.object_id}"


def organization_of(visit: Visit) -> str:
    """Return the organisation that the address names.

    Raises:
        errors.NotAuthorised: whoever is signed in may not act for it.
    """
    return chosen_organization(visit.who, visit.request.path_params["organization"])


def event_of(visit: Visit, action: str) -> AuditEvent:
    """Return who acts, and for which organisation."""
    return AuditEvent(
        action=action,
        organization=organization_of(visit),
        actor=visit.who.name,
        api_key_id=visit.who.api_key_id,
        request_id=visit.request_id,
    )


def review_of(visit: Visit) -> Review:
    """Return the reviewer's side of the quarantine.

    Raises:
        errors.RoleNotServed: this process has none.
    """
    review = visit.services.review
    if review is None:
        raise errors.RoleNotServed("This process does not serve the role 'review'")
    return review


def _object_id(visit: Visit) -> UUID:
    return _id(visit.request.path_params["object_id"])


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise errors.QuarantineNotFound from None
