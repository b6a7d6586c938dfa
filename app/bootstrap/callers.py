"""Who may call: API keys, tokens of a provider, and how often."""

from typing import TYPE_CHECKING

from app.access.callers import Callers
from app.access.limits import Lockout, Rate, Rates
from app.access.policies import OrganizationPolicies
from app.bootstrap.running import Administration
from app.settings import Settings

if TYPE_CHECKING:
    from app.access.oidc import BearerTokens


def callers_of(settings: Settings, held: Administration, policies: OrganizationPolicies) -> Callers:
    """Put together who is recognised and how often anybody may ask.

    Raises:
        errors.Misconfigured: the provider's address or certificates are not fit.
    """
    return Callers(
        held.api_keys,
        _bearer_tokens(settings, policies),
        policies,
        lockout=Lockout(settings.lockout_failures, settings.lockout_s),
        rates=Rates(
            requests=Rate(settings.requests_per_minute),
            uploads=Rate(settings.uploads_per_minute),
            anonymous=Rate(settings.anonymous_requests_per_minute),
        ),
    )


def _bearer_tokens(settings: Settings, policies: OrganizationPolicies) -> "BearerTokens | None":
    if settings.oidc_issuer is None:
        return None
    # Costs 8 MB, and most sites have no provider.
    from app.access.oidc import BearerTokens, TokenRules  # noqa: PLC0415
    from app.access.provider import Provider, ProviderKeys  # noqa: PLC0415
    from app.access.tokens import Expected  # noqa: PLC0415

    provider = Provider(
        settings.oidc_issuer,
        ca_file=settings.oidc_ca_file,
        is_loopback_allowed=not settings.is_production,
    )
    keys = ProviderKeys(
        provider.keys, fresh_s=settings.oidc_keys_fresh_s, max_age_s=settings.oidc_keys_max_age_s
    )
    expected = Expected(
        settings.oidc_issuer, frozenset(settings.oidc_audience), settings.oidc_leeway_s
    )
    rules = TokenRules(
        expected=expected,
        algorithms=settings.oidc_algorithms,
        scope_claim=settings.oidc_scope_claim,
        scope_prefix=settings.oidc_scope_prefix,
        organization_claim=settings.oidc_organization_claim,
    )
    return BearerTokens(keys, rules, policies)
