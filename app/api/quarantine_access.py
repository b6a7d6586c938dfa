"""Who may review what is held: decided here, once for all routes of the quarantine."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

from fastapi import Request

from app import errors
from app.access.principals import Principal
from app.access.scopes import Scope
from app.api.dependencies import (
    Services,
    authorise,
    chosen_organization,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.queries import require_declared
from app.audit.events import SUCCESS, AuditEvent
from app.quarantine.review import Review

ROLE: Final = "review"
NO_STORE: Final = {"Cache-Control": "no-store"}

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who reviews.

    Attributes:
        event: who asks and for which organisation; the service fills in what for.
    """

    review: Review
    event: AuditEvent

    @property
    def organization(self) -> str:
        """For which organisation."""
        return self.event.organization or ""

    async def read(self, action: str, read: Callable[[], _Read]) -> _Read:
        """Read what is asked; where that is not fit the audit has it before the caller.

        Raises:
            errors.GatewayError: as the reading said.
        """
        try:
            return read()
        except errors.GatewayError as error:
            await self.review.refuse(replace(self.event, action=action), error)
            raise


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody who may review; for which organisation is not known yet."""

    request: Request
    services: Services
    principal: Principal
    event: AuditEvent

    async def reviewer(self, organization: str | None) -> Reviewer:
        """Find out for which organisation; denials are audited.

        Raises:
            errors.KeyUnavailable: this process holds no key that opens what is held.
            errors.NotAuthorised: the key may not act for the one asked for.
        """
        try:
            chosen = chosen_organization(self.principal, organization)
        except errors.NotAuthorised as denied:
            denial = described(self.event, self.principal, outcome=denied.code)
            await self.services.vault.audit(denial)
            raise
        event = described(self.event, self.principal, outcome=SUCCESS)
        return Reviewer(review_of(self.services), replace(event, organization=chosen))


def admission(action: str) -> Callable[[Request], Awaitable[Admission]]:
    """Return what a route depends on: finds out who asks, before parameters are looked at.

    It raises errors.RoleNotServed where this process does not review, what `authorise` does, and
    errors.InvalidRequest where a query parameter is unknown or comes twice; denials are audited as
    the action.
    """

    async def ask(request: Request) -> Admission:
        services = services_of(request.scope)
        require_role(services, ROLE)
        event = AuditEvent(action=action, request_id=request_id_of(request.scope))
        principal = await authorise(services, request.scope, needed=Scope.REVIEW, event=event)
        require_declared(request.scope)
        return Admission(request, services, principal, event)

    return ask


def review_of(services: Services) -> Review:
    """Return the reviewer's side of the quarantine.

    Raises:
        errors.KeyUnavailable: this process holds no key that opens what is held.
    """
    if services.review is None:
        raise errors.KeyUnavailable("This process holds no review key")
    return services.review


def held_id(text: str) -> UUID:
    """Read the id of a held object.

    Raises:
        errors.QuarantineNotFound: it cannot be one.
    """
    return _id(text, errors.QuarantineNotFound)


def rule_id(text: str) -> UUID:
    """Read the id of a remembered rule.

    Raises:
        errors.MaskRuleNotFound: it cannot be one.
    """
    return _id(text, errors.MaskRuleNotFound)


def _id(text: str, otherwise: type[errors.NotFound]) -> UUID:
    try:
        identity = UUID(text)
    except ValueError:
        raise otherwise from None
    if str(identity) != text.lower():
        raise otherwise
    return identity
