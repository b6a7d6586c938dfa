"""Callers who present a token of the OpenID provider instead of an API key.

What makes a token valid is in `tokens`, where keys come from in `provider`. A token is verified
once and remembered by its hash until it ends, in a bounded memory.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from app import telemetry
from app.access.policies import OrganizationPolicies
from app.access.principals import Principal
from app.access.provider import ProviderKeys
from app.access.scopes import Scope
from app.access.tokens import (
    Expected,
    Fault,
    TokenRefused,
    check_claims,
    read_head,
    subject_of,
    texts_at,
    verified,
)
from app.errors import NotAuthenticated, TokenExpired

ACTOR_PREFIX: Final = "oidc:"
MAX_REMEMBERED: Final = 8192
# An id of an organisation that a token names is looked up; a token cannot ask for more than these.
MAX_ORGANIZATIONS: Final = 32


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What tokens must say and where they say it.

    Attributes:
        expected: issuer, audiences, leeway.
        algorithms: those that are allowed.
        scope_claim: path of the claim that lists scopes.
        scope_prefix: what stands before the name of a scope there.
        organization_claim: path of the claim that lists organisations, the caller's own first.
    """

    expected: Expected
    algorithms: frozenset[str]
    scope_claim: str
    scope_prefix: str
    organization_claim: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a valid token says; nothing of the token itself."""

    actor: str
    scopes: frozenset[Scope]
    organizations: tuple[str, ...]


class BearerTokens:
    """Recognises tokens of one provider.

    Args:
        keys: the provider's keys.
        rules: what tokens must say.
        policies: what organisations allow.
        now: seconds since 1970.
    """

    def __init__(
        self,
        keys: ProviderKeys,
        rules: TokenRules,
        policies: OrganizationPolicies,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._rules = rules
        self._policies = policies
        self._now = now
        self._generation = keys.generation
        self._seen: dict[bytes, tuple[float, Bearer]] = {}

    async def authenticate(self, token: str) -> Principal:
        """Recognise a token; its organisation is empty where it names none of this gateway.

        Raises:
            NotAuthenticated: it is not valid here; why is not told.
            TokenExpired: it was valid.
            IdentityProviderUnavailable: the provider does not answer, so that it cannot be told.
            DatabaseUnavailable: Postgres does not answer.
        """
        fingerprint = sha256(token.encode("utf-8", "surrogatepass")).digest()
        bearer = self._remembered(fingerprint)
        if bearer is None:
            bearer = await self._verified(token, fingerprint)
        return await self._principal(bearer)

    async def close(self) -> None:
        """End what is under way."""
        await self._keys.close()

    def _remembered(self, fingerprint: bytes) -> Bearer | None:
        known = self._keys.are_known()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._seen.clear()
        seen = self._seen.get(fingerprint)
        if seen is None or not known:
            return None
        if seen[0] <= self._now():
            del self._seen[fingerprint]
            return None
        return seen[1]

    async def _verified(self, token: str, fingerprint: bytes) -> Bearer:
        rules = self._rules
        try:
            head = read_head(token, rules.algorithms)
            keys = await self._keys.fitting(head)
            generation = self._keys.generation
            claims = verified(token, head, keys)
            times = check_claims(claims, rules.expected, self._now())
            actor = ACTOR_PREFIX + subject_of(claims)
        except TokenRefused as refused:
            telemetry.log().info("token-refused", kind=refused.fault.value)
            raise (TokenExpired if refused.fault is Fault.EXPIRED else NotAuthenticated) from None
        named = texts_at(claims, rules.scope_claim)
        bearer = Bearer(
            actor=actor,
            scopes=_scopes(named, rules.scope_prefix),
            organizations=texts_at(claims, rules.organization_claim)[:MAX_ORGANIZATIONS],
        )
        if generation == self._generation:
            self._remember(fingerprint, times.ends_at, bearer)
        return bearer

    def _remember(self, fingerprint: bytes, ends_at: float, bearer: Bearer) -> None:
        while len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[fingerprint] = (ends_at, bearer)

    async def _principal(self, bearer: Bearer) -> Principal:
        """Say what a bearer may do here, by the policy of its own organisation."""
        own, policy, others = "", None, []
        for organization in bearer.organizations:
            found = await self._policies.get(organization)
            if found is not None and policy is None:
                own, policy = organization, found
            elif found is not None:
                others.append(organization)
        return Principal(
            api_key_id=None,
            name=bearer.actor,
            organization=own,
            scopes=bearer.scopes,
            profile=policy.profile if policy else "",
            profiles=policy.profiles if policy else frozenset(),
            organizations=frozenset(others),
        )


def _scopes(named: tuple[str, ...], prefix: str) -> frozenset[Scope]:
    known = {prefix + scope.value: scope for scope in Scope}
    return frozenset([known[name] for name in named if name in known])
