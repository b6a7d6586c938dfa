"""Signing in with an API key, and out."""

from typing import Final

from starlette.responses import Response

from app import errors
from app.access.api_keys import key_id_of
from app.api.review.answering import HELD, shown
from app.api.review.visits import Visit, form_of, redirected
from app.api.review_sessions import IDLE_S, LONGEST_S
from app.audit.events import SUCCESS, AuditEvent

SIGN_IN: Final = "review-sign-in"
_MESSAGES: Final = {
    "over": ("Your session is over. Sign in again.", ""),
    "revoked": ("The key is no longer valid. Sign in with another one.", "bad"),
    "out": ("You are signed out.", "good"),
}


async def ask(visit: Visit) -> Response:
    """Show the form."""
    if visit.session.token:
        return redirected(HELD)
    message, tone = _MESSAGES.get(visit.request.query_params.get("why", ""), ("", ""))
    return _form(visit, message, tone)


async def sign_in(visit: Visit) -> Response:
    """Check the key of the form."""
    fields = await form_of(visit)
    token = fields.get("key", "").strip()
    event = AuditEvent(action=SIGN_IN, request_id=visit.request_id)
    try:
        # What is no key of this gateway is not even tried as a token of a provider.
        await visit.sign_in(token if key_id_of(token) else "", event)
    except errors.NotAuthenticated:
        return _form(visit, "The key is not valid.", "bad", status=401)
    except errors.NotAuthorised:
        return _form(visit, "The key lacks the scope review.", "bad", status=403)
    who = visit.who
    await visit.services.vault.audit(
        AuditEvent(
            action=SIGN_IN,
            outcome=SUCCESS,
            organization=who.organization,
            actor=who.name,
            api_key_id=who.api_key_id,
            request_id=visit.request_id,
        )
    )
    return redirected(HELD)


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    await form_of(visit)
    visit.sign_out()
    return redirected("/review/sign-in?why=out")


async def stay(_visit: Visit) -> Response:
    """Let the session last longer: somebody works on a page."""
    return Response(status_code=204)


def _form(visit: Visit, message: str, tone: str, *, status: int = 200) -> Response:
    return shown(
        visit,
        "sign-in",
        status=status,
        message=message,
        tone=tone,
        idle_minutes=IDLE_S // 60,
        longest_hours=LONGEST_S // 3600,
    )
