"""Bearer tokens of an OpenID provider."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from app.settings.lists import AT_COMMAS

# With a shared secret the provider's public key would be one; "none" signs nothing.
ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
)


class OidcSettings(BaseModel):
    """Whose tokens are accepted, and what is read from them."""

    oidc_issuer: str | None = Field(
        None,
        description="Address of the OpenID provider whose bearer tokens are accepted beside API "
        "keys, spelt as in its tokens.",
    )
    oidc_audience: Annotated[tuple[str, ...], NoDecode, AT_COMMAS] = Field(
        (),
        description="Audiences (aud) of which a token must name one, separated by commas; "
        "needed with the issuer.",
    )
    oidc_algorithms: Annotated[frozenset[str], NoDecode, AT_COMMAS] = Field(
        frozenset({"RS256", "PS256", "ES256", "EdDSA"}),
        description="Signature algorithms that tokens may have, separated by commas; asymmetric "
        "ones only.",
    )
    oidc_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="Claim that lists scopes, a text or a list; dots lead into nested objects.",
    )
    oidc_scope_prefix: str = Field(
        "deid:",
        description="What stands before a scope's name in that claim; a role that merely happens "
        "to be called admin gives nothing.",
    )
    oidc_organization_claim: str = Field(
        "organization",
        min_length=1,
        description="Claim that names the organisation by its id, or a list with the caller's own "
        "first; dots lead into nested objects.",
    )
    oidc_leeway_s: float = Field(
        30.0,
        ge=0,
        le=300,
        description="How far the clocks of provider and gateway may be apart, in seconds.",
    )
    oidc_keys_fresh_s: float = Field(
        300.0, ge=1, description="Age at which the provider's keys are fetched again, in seconds."
    )
    oidc_keys_max_age_s: float = Field(
        86_400.0,
        ge=1,
        description="Longest time that the last good keys are used while the provider is down, "
        "in seconds.",
    )
    oidc_ca_file: Path | None = Field(
        None, description="Certificates (PEM) to trust for the provider beside the machine's own."
    )

    @field_validator("oidc_algorithms")
    @classmethod
    def _asymmetric_only(cls, value: frozenset[str]) -> frozenset[str]:
        if not value or not ASYMMETRIC_ALGORITHMS.issuperset(value):
            raise ValueError(f"must be of {', '.join(sorted(ASYMMETRIC_ALGORITHMS))}")
        return value
