"""What a route needs: the services of the process, and who is asking.

Authentication, scopes, overrides and the audit of denials are decided here, once for all routes.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from starlette.types import Scope

from app import errors, telemetry
from app.access.callers import Callers
from app.access.principals import Principal
from app.access.quotas import Quotas
from app.api.batch_parts import BatchIntake
from app.api.batch_watching import Watchers
from app.api.clients import Proxies
from app.api.review_sessions import Sessions
from app.api.spool import BodyLimits
from app.api.uses import note_use
from app.audit.events import SUCCESS, AuditEvent
from app.audit.reading import AuditReader
from app.batches.gauges import BatchGauges
from app.batches.service import BatchService
from app.deid.profile import Profile
from app.pipeline import Context
from app.quarantine.review import Review
from app.vault.disclosure.service import Disclosure
from app.vault.erasing import Eraser
from app.vault.service import Vault
from app.vault.signing import Signer

ANY: Final = "*"
_UPLOAD: Final = "anonymize"  # the scope of single instances
# Attempts without a known key are written to the audit up to this rate; the metrics count all.
# Without it anybody who reaches the port could fill the database.
UNKNOWN_ROWS_PER_MINUTE: Final = 60


class Contexts(Protocol):
    """Gives the pipeline what one organisation and profile need."""

    def get(self, organization: str, profile: str) -> Context:
        """Return it; raise errors.ProfileNotFound for a name that nobody defined."""

    def profiles(self) -> tuple[Profile, ...]:
        """Return every profile, the ready-made ones first."""


class UnknownCallers:
    """Decides whether one more attempt without a known key gets its own audit row."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = 0
        self._rows = 0
        self._suppressed = 0

    def admit(self) -> int | None:
        """Return how many attempts went unrecorded since the last row, or None to skip this one."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._rows = minute, 0
        if self._rows >= UNKNOWN_ROWS_PER_MINUTE:
            self._suppressed += 1
            return None
        self._rows += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes may call; built by the composition root.

    Attributes:
        intake: what batches need to be taken; None where the role is not served.
        watchers: bounds how many callers wait for batches at once.
        proxies: those that are believed when they say whom they speak for.
        gauges: brings up to date what the metrics say of batches; None without the role.
        eraser: destroys originals; None where the role admin is not served.
        review: looks at what is held, and decides; None without the role or its private key.
        sessions: seals the cookies of the review page; None where there is no review.
    """

    vault: Vault
    disclosure: Disclosure
    callers: Callers
    quotas: Quotas
    contexts: Contexts
    batches: BatchService
    intake: BatchIntake | None
    signer: Signer
    audit: AuditReader
    roles: frozenset[str]
    limits: BodyLimits
    spool_dir: Path
    executor: Executor
    metrics: telemetry.Metrics
    readiness: Callable[[], Awaitable[Mapping[str, bool]]]
    unknown_callers: UnknownCallers = field(default_factory=UnknownCallers)
    watchers: Watchers = field(default_factory=Watchers)
    proxies: Proxies = field(default_factory=Proxies)
    gauges: BatchGauges | None = None
    eraser: Eraser | None = None
    review: Review | None = None
    sessions: Sessions | None = None


def services_of(scope: Scope) -> Services:
    """Return the services of the application that answers this request."""
    services: Services = scope["app"].state.services
    return services


def request_id_of(scope: Scope) -> str:
    """Return the id that the outermost layer gave this request."""
    request_id: str = scope["state"]["request_id"]
    return request_id


def require_role(services: Services, role: str) -> None:
    """Refuse what this process was not started for.

    Raises:
        errors.RoleNotServed: see ``DEID_ROLES``.
    """
    if role not in services.roles:
        raise errors.RoleNotServed(f"This process does not serve the role '{role}'")


async def authorise(
    services: Services,
    scope: Scope,
    *,
    needed: str,
    event: AuditEvent,
    or_else: Collection[str] = (),
) -> Principal:
    """Find out who asks and whether that caller has a scope; denials are audited.

    Args:
        services: those of the process.
        scope: of the request.
        needed: the scope that the caller must have.
        event: what a denial is recorded as.
        or_else: scopes that do as well.

    Raises:
        errors.NotAuthenticated: there is no valid key or token.
        errors.NotAuthorised: it lacks the scope or an organisation.
        errors.LockedOut, errors.RateLimited: too often.
        errors.IdentityProviderUnavailable: a token cannot be checked now.
    """
    callers = services.callers
    try:
        principal = await callers.recognise(
            presented_token(scope), lambda: services.proxies.client_of(scope)
        )
    except errors.NotAuthenticated as denied:
        await _audit_unknown(services, event, denied)
        raise
    note_use(scope, described(event, principal, outcome=SUCCESS))
    try:
        _admit(callers, principal, needed, or_else)
    except (errors.NotAuthorised, errors.RateLimited) as refused:
        if not isinstance(refused, errors.RateLimited) or refused.is_first:
            await services.vault.audit(described(event, principal, outcome=refused.code))
        raise
    return principal


def _admit(callers: Callers, principal: Principal, needed: str, or_else: Collection[str]) -> None:
    """Check how often, for whom and with which scope a caller asks.

    Raises:
        errors.RateLimited, errors.NotAuthorised: as said.
    """
    rate = callers.rates.uploads if needed == _UPLOAD else callers.rates.requests
    rate.admit(principal.caller)
    if not principal.organization:
        raise errors.NotAuthorised("The token names no organisation of this gateway")
    if principal.scopes.isdisjoint((needed, *or_else)):
        raise errors.NotAuthorised(f"The caller lacks the scope '{needed}'")


def presented_token(scope: Scope) -> str:
    """Return the token of ``Authorization: Bearer`` or ``X-API-Key``.

    Raises:
        errors.NotAuthenticated: there is none, or two that differ.
    """
    tokens = set()
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            if scheme.lower() == b"bearer":
                tokens.add(credentials.strip())
        elif name == b"x-api-key":
            tokens.add(value.strip())
    if len(tokens) != 1:
        raise errors.NotAuthenticated
    return str(tokens.pop(), "latin-1")


def chosen_organization(principal: Principal, asked: str | None) -> str:
    """Return the organisation to act for.

    Raises:
        errors.NotAuthorised: the key may not act for the one asked for.
    """
    if asked is None or asked == principal.organization:
        return principal.organization
    if asked in principal.organizations:
        return asked
    raise errors.NotAuthorised("The caller may not act for that organisation")


def chosen_profile(principal: Principal, asked: str | None, organization: str | None = None) -> str:
    """Return the name of the profile to use.

    Args:
        principal: who asks.
        asked: for which profile; None for the caller's own.
        organization: to act for; None for the caller's own.

    Raises:
        errors.NotAuthorised: the caller may not choose it, or the organisation not use it.
    """
    name = principal.profile if asked is None else asked
    bounds = principal.bounds.get(organization or principal.organization)
    if bounds is not None and name not in bounds:
        raise errors.NotAuthorised("The organisation may not use that profile")
    if name == principal.profile or name in principal.profiles or ANY in principal.profiles:
        return name
    raise errors.NotAuthorised("The caller may not choose that profile")


def described(event: AuditEvent, principal: Principal, *, outcome: str) -> AuditEvent:
    """Return the event with the caller and the outcome filled in."""
    return AuditEvent(
        action=event.action,
        outcome=outcome,
        organization=principal.organization or None,
        actor=principal.name,
        api_key_id=principal.api_key_id,
        profile=event.profile,
        profile_version=event.profile_version,
        cloud_study_id=event.cloud_study_id,
        purpose=event.purpose,
        request_id=event.request_id,
        detail=event.detail,
    )


async def _audit_unknown(
    services: Services, event: AuditEvent, denied: errors.NotAuthenticated
) -> None:
    suppressed = services.unknown_callers.admit()
    if suppressed is None:
        return
    await services.vault.audit(
        AuditEvent(
            action=event.action,
            outcome=denied.code,
            actor="unknown",
            request_id=event.request_id,
            detail=_details(suppressed, locks_out=denied.locks_out),
        )
    )


def _details(suppressed: int, *, locks_out: bool) -> Mapping[str, int]:
    return ({"unrecorded": suppressed} if suppressed else {}) | (
        {"locks-out": 1} if locks_out else {}
    )
