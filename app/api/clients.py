"""Where a request comes from: the address that limits count by. No decision is made here."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

_NOWHERE: Final = "unknown"
# A subscriber has a whole network of this size and may use any address of it.
_SUBSCRIBER_BITS: Final = 64
# The cookie of people who are signed in to the pages of this path.
SESSION_COOKIE: Final = "deid-review"
SESSION_PATH: Final = "/review"


class Proxies:
    """The proxies that are believed when they say whom they speak for.

    Args:
        networks: their addresses or networks; none by default, since anybody can write a header.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ip_network(network) for network in networks]

    def client_of(self, scope: Scope) -> str:
        """Return the caller's address; of IPv6 the network that one subscriber has."""
        client = scope.get("client")
        address = _address(client[0]) if client else None
        if address is not None and self._networks and self._is_trusted(address):
            address = self._forwarded(scope) or address
        if address is None:
            return _NOWHERE
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, _SUBSCRIBER_BITS), strict=False))
        return str(address)

    def has_tls(self, scope: Scope) -> bool:
        """Tell whether a trusted proxy says that the caller speaks TLS with it."""
        client = scope.get("client")
        address = _address(client[0]) if client else None
        if address is None or not self._is_trusted(address):
            return False
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        return b",".join(said).rpartition(b",")[2].strip().lower() == b"https"

    def _forwarded(self, scope: Scope) -> IPv4Address | IPv6Address | None:
        """Return the nearest address that no trusted proxy has: further ones can be made up."""
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        farthest = None
        for text in reversed(b",".join(lines).decode("latin-1").split(",")):
            address = _address(text.strip())
            if address is None:
                break
            farthest = address
            if not self._is_trusted(address):
                break
        return farthest

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )


def has_credential(scope: Scope) -> bool:
    """Tell whether a request carries something that may be a key, a token or a session."""
    cookie = f"{SESSION_COOKIE}=".encode()
    return any(
        name in {b"authorization", b"x-api-key"}
        or (name == b"cookie" and cookie in value and _is_for_sessions(scope["path"]))
        for name, value in scope["headers"]
    )


def _is_for_sessions(path: str) -> bool:
    """Tell whether an endpoint opens the cookie, and counts those that do not open."""
    return path.startswith(SESSION_PATH) and not path.startswith(f"{SESSION_PATH}/static/")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
