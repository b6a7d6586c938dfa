"""How often somebody may call, and how a caller's address is known."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from app.settings.lists import AT_COMMAS


class LimitSettings(BaseModel):
    """Bounds on attempts and requests of one caller."""

    lockout_failures: int = Field(
        10,
        ge=0,
        description="Failed attempts after which a key or token is not listened to from that "
        "address any more, and ten times as many for the address itself; 0 for never.",
    )
    lockout_s: float = Field(
        60.0, gt=0, description="Time in which failures count, and for which they lock, in seconds."
    )
    requests_per_minute: int = Field(
        6000,
        ge=0,
        description="Most requests of one API key or token subject, single instances not "
        "counted; 0 for no bound.",
    )
    uploads_per_minute: int = Field(
        0,
        ge=0,
        description="Most single instances that one API key or token subject sends; 0 for no "
        "bound.",
    )
    anonymous_requests_per_minute: int = Field(
        600,
        ge=0,
        description="Most requests without a key or token from one address; 0 for no bound.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, AT_COMMAS] = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For tells the caller's "
        "address, separated by commas.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value
