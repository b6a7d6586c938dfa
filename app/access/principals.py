"""Who calls and what that caller may do, however it proved who it is. Pure."""

from dataclasses import dataclass

from app.access.scopes import Scope


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
    """

    api_key_id: str | None
    name: str
    organization: str
    scopes: frozenset[Scope]
    profile: str
    profiles: frozenset[str]
    organizations: frozenset[str]

    @property
    def every_organization(self) -> frozenset[str]:
        """Those that the caller may act for."""
        return self.organizations | {self.organization}

    @property
    def caller(self) -> str:
        """What limits count by: an id of a key has no colon, a subject's name has one."""
        return self.api_key_id or self.name
