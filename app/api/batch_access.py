"""Who may do what to which batch: decided here, once for all routes of batches."""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.types import Scope

from app import errors
from app.access.principals import Principal
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
from app.batches.records import Batch

NAME: Final = "batch"  # of the role and the scope alike

Permitted = tuple[Services, Principal]


async def permitted(scope: Scope, action: str) -> Permitted:
    """Return the services and who asks.

    Raises:
        errors.RoleNotServed, errors.NotAuthenticated, errors.NotAuthorised: as said.
        errors.InvalidRequest: a query parameter is unknown, or comes twice.
    """
    services = services_of(scope)
    require_role(services, NAME)
    event = AuditEvent(action=action, request_id=request_id_of(scope))
    principal = await authorise(services, scope, needed=NAME, event=event)
    require_declared(scope)
    return services, principal


def permission(action: str) -> Callable[[Request], Awaitable[Permitted]]:
    """Return `permitted` as what a route depends on: done before its parameters are looked at."""

    async def ask(request: Request) -> Permitted:
        return await permitted(request.scope, action)

    return ask


async def acting_for(
    scope: Scope, services: Services, principal: Principal, asked: str | None, action: str
) -> str:
    """Return the organisation to act for; that the key may not is in the audit.

    Raises:
        errors.NotAuthorised: the key may not act for the one asked for.
    """
    try:
        return chosen_organization(principal, asked)
    except errors.NotAuthorised as denied:
        event = AuditEvent(action=action, request_id=request_id_of(scope))
        await services.vault.audit(described(event, principal, outcome=denied.code))
        raise


async def found_batch(services: Services, principal: Principal, batch_id: str) -> Batch:
    """Return a batch of an organisation that the key may act for.

    Raises:
        errors.BatchNotFound: there is none by that id, or it belongs to others.
    """
    identity = parsed(batch_id)
    own = principal.organization
    for organization in (own, *sorted(principal.organizations - {own})):
        try:
            return await services.batches.get(organization, identity)
        except errors.BatchNotFound:
            continue
    raise errors.BatchNotFound


async def located(services: Services, principal: Principal, batch_id: str) -> tuple[str, UUID]:
    """Return whose batch it is; one that is not found is sought where the key belongs.

    Raises:
        errors.BatchNotFound: this is no id.
    """
    try:
        batch = await found_batch(services, principal, batch_id)
    except errors.BatchNotFound:
        return principal.organization, parsed(batch_id)
    return batch.organization, batch.batch_id


async def changed(
    scope: Scope,
    services: Services,
    principal: Principal,
    batch_id: str,
    change: Callable[[str, UUID, AuditEvent], Awaitable[Batch]],
) -> Batch:
    """Change a batch; the service records that it was tried, whatever comes of it."""
    organization, identity = await located(services, principal, batch_id)
    return await change(organization, identity, event_of(scope, principal))


def event_of(scope: Scope, principal: Principal) -> AuditEvent:
    """Return who asks; what for and how it ended is filled in by the service."""
    event = AuditEvent(action=NAME, request_id=request_id_of(scope))
    return described(event, principal, outcome=SUCCESS)


def parsed(batch_id: str) -> UUID:
    """Read the id of a batch; what cannot be one is answered like one that is not there.

    Raises:
        errors.BatchNotFound: this is no id.
    """
    try:
        identity = UUID(batch_id)
    except ValueError:
        raise errors.BatchNotFound from None
    if str(identity) != batch_id.lower():
        raise errors.BatchNotFound
    return identity
