"""Who presents a credential: an API key or a token, held off where it fails too often."""

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from app.access.api_keys import ApiKeys, key_id_of
from app.access.limits import Lockout, Rates
from app.access.policies import OrganizationPolicies
from app.access.principals import Principal, bounded
from app.db.acting import act_for
from app.errors import NotAuthenticated

if TYPE_CHECKING:  # costs 8 MB, and most sites have no provider
    from app.access.oidc import BearerTokens

Address = Callable[[], str]
_SHORT: Final = 16


class Callers:
    """Recognises callers and holds their number of requests within bounds.

    Args:
        api_keys: those of every organisation.
        tokens: of the OpenID provider; None where none is configured.
        policies: what organisations allow.
        lockout: who failed too often.
        rates: how often whom may ask.
    """

    def __init__(
        self,
        api_keys: ApiKeys,
        tokens: "BearerTokens | None",
        policies: OrganizationPolicies,
        *,
        lockout: Lockout,
        rates: Rates,
    ) -> None:
        self._api_keys = api_keys
        self._tokens = tokens
        self._policies = policies
        self._lockout = lockout
        self.rates = rates

    async def recognise(self, credential: str, address: Address) -> Principal:
        """Find out who presents a credential; this task acts for its organisations from now on.

        Args:
            credential: an API key or a token.
            address: where from; asked for only when it is needed.

        Raises:
            NotAuthenticated: it is not valid; `locks_out` when nothing more is listened to.
            LockedOut: it failed too often.
            IdentityProviderUnavailable, DatabaseUnavailable: it cannot be told now.
        """
        if self._lockout.is_idle:
            principal = await self._listened(credential, address)
        else:
            name = _fingerprint(credential)
            self._lockout.check(address(), name)
            principal = await self._listened(credential, address)
            self._lockout.succeeded(address(), name)
        act_for(principal.every_organization)
        return await self._bounded(principal)

    async def close(self) -> None:
        """End what is under way."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _bounded(self, principal: Principal) -> Principal:
        policies = {}
        for organization in principal.every_organization:
            policy = await self._policies.get(organization) if organization else None
            if policy is not None:
                policies[organization] = policy
        return bounded(principal, policies)

    async def _listened(self, credential: str, address: Address) -> Principal:
        try:
            if self._tokens is not None and _looks_like_token(credential):
                return await self._tokens.authenticate(credential)
            return await self._api_keys.authenticate(credential)
        except NotAuthenticated as failed:
            failed.locks_out = self._lockout.failed(address(), _fingerprint(credential))
            raise


def _looks_like_token(credential: str) -> bool:
    """Tell a token from other credentials by its form: three parts."""
    return credential.count(".") == 2


def _fingerprint(credential: str) -> bytes:
    """Name a credential by its public part, or by its hash."""
    named = key_id_of(credential) or credential
    return sha256(named.encode("utf-8", "surrogatepass")).digest()[:_SHORT]
