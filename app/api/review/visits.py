"""Who looks at a page: the cookie is opened, and its key is checked as on any other endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app import errors
from app.access.principals import Principal
from app.api.dependencies import (
    Services,
    authorise,
    request_id_of,
    require_role,
    services_of,
)
from app.api.review_sessions import Session, Sessions, cookie_of, written
from app.audit.events import AuditEvent

SCOPE: Final = "review"
ROLE: Final = "review"
SIGN_IN: Final = "/review/sign-in"
FORM: Final = b"application/x-www-form-urlencoded"
MAX_FIELDS: Final = 20


class SignInNeeded(Exception):
    """Nobody is signed in, or no longer; says why in one word for the address."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why

    @property
    def address(self) -> str:
        """Where to sign in."""
        return f"{SIGN_IN}?why={self.why}" if self.why else SIGN_IN


@dataclass(slots=True)
class Visit:
    """One request of a browser.

    Attributes:
        principal: who is signed in; None before.
        session: the browser's; one that has just begun where it had none.
    """

    request: Request
    services: Services
    sessions: Sessions
    session: Session
    principal: Principal | None = None
    is_gone: bool = False

    @property
    def request_id(self) -> str:
        """The id that the log and the audit know this request by."""
        return request_id_of(self.request.scope)

    @property
    def who(self) -> Principal:
        """Whoever is signed in."""
        if self.principal is None:
            raise SignInNeeded
        return self.principal

    async def sign_in(self, token: str, event: AuditEvent) -> None:
        """Check a key, and begin a new session with it.

        Raises:
            errors.NotAuthenticated, errors.NotAuthorised: as every endpoint says it.
            errors.LockedOut, errors.RateLimited: too often.
        """
        self.principal = await authorise(
            self.services, with_key(self.request, token), needed=SCOPE, event=event
        )
        self.sessions.end(self.session)
        self.session = self.sessions.begun(token)

    def sign_out(self) -> None:
        """End the session; its cookie is taken back and no copy of it opens any more."""
        self.sessions.end(self.session)
        self.is_gone = True

    def finish(self, answer: Response) -> Response:
        """Put the cookie into an answer; every request makes a session last longer."""
        renewed = self.sessions.renewed(self.session)
        cookie = "" if self.is_gone else self.sessions.sealed(renewed)
        options = {"lasts_s": 0} if self.is_gone else {}
        answer.headers.append(
            "Set-Cookie", written(cookie, is_tls=is_tls(self.services, self.request), **options)
        )
        return answer


def begin(request: Request) -> Visit:
    """Open the cookie of a request, or begin a session.

    Raises:
        errors.RoleNotServed: this process has no review.
        errors.RateLimited: its address sends too many requests without a session.
    """
    services = services_of(request.scope)
    require_role(services, ROLE)
    sessions = services.sessions
    if sessions is None:
        raise errors.RoleNotServed(f"This process holds no key of the role '{ROLE}'")
    cookie = cookie_of(request.scope["headers"])
    opened = None if cookie is None else sessions.opened(cookie)
    if cookie is not None and (opened is None or not opened.token):
        services.callers.rates.anonymous.admit(services.proxies.client_of(request.scope))
    return Visit(request, services, sessions, opened or sessions.begun())


async def recognise(visit: Visit, event: AuditEvent) -> None:
    """Find out who is signed in.

    Raises:
        SignInNeeded: nobody is, or the key is no longer valid.
        errors.NotAuthorised: the key has lost the scope.
        errors.LockedOut, errors.RateLimited: too often.
    """
    token = visit.session.token
    if not token:
        had_cookie = cookie_of(visit.request.scope["headers"]) is not None
        raise SignInNeeded("over" if had_cookie else "")
    try:
        visit.principal = await authorise(
            visit.services, with_key(visit.request, token), needed=SCOPE, event=event
        )
    except errors.NotAuthenticated:
        visit.sessions.end(visit.session)
        raise SignInNeeded("revoked") from None


async def form_of(visit: Visit) -> Mapping[str, str]:
    """Read a form that was sent from one of this session's own pages.

    Raises:
        errors.InvalidRequest: it was not, or it is none.
    """
    request = visit.request
    site = request.headers.get("sec-fetch-site", "same-origin")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type.encode() != FORM or site not in {"same-origin", "none"}:
        raise errors.InvalidRequest("This is not a form of the review page")
    body = str(await request.body(), "latin-1")
    try:
        fields = dict(
            parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        )
    except ValueError:
        raise errors.InvalidRequest("The form is malformed") from None
    if not visit.session.is_form_of(fields.get("csrf", "")):
        raise errors.InvalidRequest("The page is out of date; load it again and repeat the step")
    return fields


def with_key(request: Request, token: str) -> dict[str, object]:
    """Return the request's scope as if the key had come in its head, and no other."""
    own = [
        (name, value)
        for name, value in request.scope["headers"]
        if name not in {b"authorization", b"x-api-key"}
    ]
    header = (b"authorization", b"Bearer " + token.encode("utf-8", "replace"))
    return {**request.scope, "headers": [*own, header]}


def is_tls(services: Services, request: Request) -> bool:
    """Tell whether the browser speaks TLS, with us or with a proxy that is believed."""
    return request.scope.get("scheme") == "https" or services.proxies.has_tls(request.scope)


def redirected(address: str) -> Response:
    """Return the answer after a form, or where nobody is signed in."""
    return RedirectResponse(address, 303, {"Content-Security-Policy": "default-src 'none'"})
