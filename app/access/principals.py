"""Who calls and what that caller may do, however it proved who it is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from app.access.scopes import Scope

ANY_PROFILE: Final = "*"
_UNBOUNDED: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OrganizationPolicy:
    """What callers of one organisation get, and how much of it.

    Attributes:
        number: by which tables refer to it.
        profile: used where neither key nor call names one.
        profiles: further profiles that may be used; ``*`` is any.
        objects_per_day: most single instances of one UTC day; None for no bound.
        open_batches: most batches that have not ended; None for no bound.
    """

    number: int
    profile: str
    profiles: frozenset[str]
    objects_per_day: int | None = None
    open_batches: int | None = None

    @property
    def allowed(self) -> frozenset[str]:
        """Every profile that may be used."""
        return self.profiles | {self.profile}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what is allowed.

    Attributes:
        api_key_id: the key that was presented; None where it was a token of the provider.
        name: what the audit calls the caller.
        organization: the one that the caller belongs to; empty where a token names none.
        scopes: what it may do.
        profile: the profile it uses where the call names none.
        profiles: further profiles that a call may name; ``*`` is any.
        organizations: further organisations that a call may act for.
        bounds: profiles by organisation, for those that allow some profiles only.
    """

    api_key_id: str | None
    name: str
    organization: str
    scopes: frozenset[Scope]
    profile: str
    profiles: frozenset[str]
    organizations: frozenset[str]
    bounds: Mapping[str, frozenset[str]] = field(default_factory=lambda: _UNBOUNDED)

    @property
    def every_organization(self) -> frozenset[str]:
        """Those that the caller may act for."""
        own = frozenset((self.organization,))
        return own | self.organizations if self.organizations else own

    @property
    def caller(self) -> str:
        """What limits count by: an id of a key has no colon, a subject's name has one."""
        return self.api_key_id or self.name


def bounded(principal: Principal, policies: Mapping[str, OrganizationPolicy]) -> Principal:
    """Return the caller within what the organisations that it may act for allow.

    Args:
        principal: as its key or token has it.
        policies: of every organisation that it may act for.
    """
    own = policies.get(principal.organization)
    bounds = {
        organization: policy.allowed
        for organization, policy in policies.items()
        if ANY_PROFILE not in policy.profiles
    }
    if own is None or (not bounds and principal.profile):
        return principal
    profiles = principal.profiles
    if principal.organization in bounds:
        allowed = bounds[principal.organization]
        profiles = allowed if ANY_PROFILE in profiles else allowed & profiles
    return replace(
        principal, profile=principal.profile or own.profile, profiles=profiles, bounds=bounds
    )
