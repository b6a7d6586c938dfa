"""Who asks may not, or not so often."""

from app.errors.base import GatewayError


class Denied(GatewayError):
    """The caller may not do this."""

    code = "denied"
    title = "Access denied"


class NotAuthenticated(Denied):
    """No key or token, or one that is unknown, revoked or not valid here."""

    code = "not-authenticated"
    title = "A valid API key or token is required"
    locks_out = False
    """Whether the caller is shut out for a while from now on."""


class TokenExpired(NotAuthenticated):
    """The token was valid; a fresh one is needed."""

    code = "token-expired"
    title = "The token has expired"


class NotAuthorised(Denied):
    """The key or token lacks the scope or the right to this override."""

    code = "not-authorised"
    title = "The caller may not do this"


class ApprovalRequired(Denied):
    """The organisation lets nobody re-identify without a second person's approval."""

    code = "approval-required"
    title = "A second person must approve this first: POST /reidentify/requests"


class OwnRequest(Denied):
    """Whoever asked cannot be the second person."""

    code = "own-request"
    title = "Another person must approve this request"


class OwnObject(Denied):
    """Whoever sent a held object cannot be the one who lets it pass."""

    code = "own-object"
    title = "Another person must decide about this object"


class BreakGlassNotAllowed(Denied):
    """The organisation has switched emergencies off."""

    code = "break-glass-not-allowed"
    title = "This organisation allows no emergency access"


class Throttled(GatewayError):
    """Too much in too short a time; nothing was done.

    Args:
        detail: as always.
        retry_after_s: when it may be tried again, in seconds from now.
        is_first: nothing of the kind was answered since the caller was last admitted.
    """

    code = "throttled"
    title = "Too many requests"

    def __init__(
        self, detail: str | None = None, *, retry_after_s: int = 1, is_first: bool = False
    ) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, retry_after_s)
        self.is_first = is_first


class RateLimited(Throttled):
    """The caller asks more often than is configured."""

    code = "rate-limited"
    title = "Too many requests in this minute"


class LockedOut(Throttled):
    """Too many attempts without a valid key or token; nothing is listened to for a while."""

    code = "locked-out"
    title = "Too many failed attempts"


class QuotaExceeded(Throttled):
    """The organisation's quota is used up."""

    code = "quota-exceeded"
    title = "The organisation's quota is used up"


class ReidentifyQuotaExceeded(Throttled):
    """The caller has looked up as many patients as it may in this hour or day."""

    code = "reidentify-quota-exceeded"
    title = "The quota of re-identifications is used up"
