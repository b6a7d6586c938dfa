"""Signed messages to receivers outside: where they may go, how they are signed, when tried again.

The form is that of Standard Webhooks 1.0 with an asymmetric signature. What is told, and what is
remembered of it, is the business of whoever sends. URLs can name patients: they are in no log and
no error.
"""

import asyncio
import base64
import json
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, Protocol, TypeAlias

import httpx

import app as package
from app import telemetry
from app.errors import CallbackNotAllowed, Misconfigured

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_URL_CHARACTERS: Final = 2000
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
WHOLE_TIMEOUT_S: Final = 20.0

# Twelve pauses of 10 s to 4 h: 23 hours from the first attempt to the last.
MAX_ATTEMPTS: Final = 13
FIRST_PAUSE_S: Final = 10.0
GROWTH: Final = 3.0
LONGEST_PAUSE_S: Final = 4 * 3600.0
JITTER: Final = 0.2

# Cloud machines answer their own credentials here; no name may lead there.
FORBIDDEN_NETWORKS: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "169.254.0.0/16",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
            "224.0.0.0/3",
            "::/128",
            "fe80::/10",
            "fec0::/10",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "ff00::/8",
        ),
    )
)
_USUAL_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = ip_network("64:ff9b::/96")


class Signs(Protocol):
    """What signs a message; `app.vault.signing.Signer` is it."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message."""


class Outcome(StrEnum):
    """How one attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"  # no answer, or another one than success
    GONE = "gone"  # the receiver wants no more of it
    FORBIDDEN = "forbidden"  # the host is no longer on the list


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Where a callback goes.

    Attributes:
        host: in lower case, as ASCII, without brackets.
        address: of a host that is written as one.
    """

    url: httpx.URL
    host: str
    port: int
    address: Address | None


class CallbackPolicy:
    """Which URLs a callback may go to.

    Args:
        hosts: ``host`` (port 443) or ``host:port``; IPv6 addresses in brackets.
        is_loopback_allowed: also this very machine, with http as well; for development.

    Raises:
        Misconfigured: an entry is neither.
    """

    def __init__(self, hosts: Iterable[str], *, is_loopback_allowed: bool) -> None:
        self._permitted = frozenset([_entry(host) for host in hosts])
        self._is_loopback_allowed = is_loopback_allowed

    def check(self, url: str) -> Target:
        """Return the target of a URL that is allowed.

        Raises:
            CallbackNotAllowed: it is malformed, or goes where callbacks may not go.
        """
        target = _target(url)
        if self._is_loopback_allowed and _is_loopback(target):
            return target
        if target.url.scheme != "https":
            raise CallbackNotAllowed("The callback URL must begin with https://")
        if (target.host, target.port) not in self._permitted:
            raise CallbackNotAllowed("The callback's host is not on the gateway's list")
        return target


class Webhooks:
    """Sends messages to receivers that a policy allows.

    Args:
        policy: where they may go.
        signer: signs them with the gateway's key.
        tls: how receivers are recognised; None trusts the usual authorities and the machine's.
        resolve: finds the addresses of a host; None asks the system.
    """

    def __init__(
        self,
        policy: CallbackPolicy,
        signer: Signs,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._policy = policy
        self._signer = signer
        self._tls = tls
        self._resolve = resolve or _resolved

    async def send(self, url: str, identity: str, body_fields: Mapping[str, Any]) -> Outcome:
        """Try once to deliver a message; never raises for what the receiver does.

        Args:
            url: where to.
            identity: names the message; the same in every attempt.
            body_fields: what it says.
        """
        try:
            target = self._policy.check(url)
        except CallbackNotAllowed:
            return Outcome.FORBIDDEN
        body = json.dumps(body_fields, ensure_ascii=False, separators=(",", ":")).encode()
        headers = signed_headers(self._signer, identity, int(telemetry.utc_now().timestamp()), body)
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT_S):
                return _outcome_of(await self._post(target, headers, body))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):  # timeouts are OSErrors
            return Outcome.FAILED

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        """Send the callback to the first permitted address that takes the connection.

        The connection goes to the very address that was looked at: a name that is resolved again
        could lead elsewhere.
        """
        for address in await self._addresses(target):
            request = httpx.Request(
                "POST",
                target.url.copy_with(host=address),
                headers={"Host": target.url.netloc.decode("ascii"), **headers},
                content=body,
                extensions=_extensions(target),
            )
            try:
                return await self._send(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        raise OSError

    async def _send(self, request: httpx.Request) -> int:
        if self._tls is None:
            self._tls = _trust()
        async with httpx.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False
        ) as client:
            answer = await client.send(request, stream=True)
            await answer.aclose()  # what it says beside its status is not read
        return answer.status_code

    async def _addresses(self, target: Target) -> Sequence[str]:
        if target.address is not None:  # listed as such, so permitted as such
            return [str(target.address)]
        found = await self._resolve(target.host, target.port)
        return [address for address in found if is_permitted(address)]


def pause_s(attempt: int, chance: float) -> float | None:
    """Return the pause after a failed attempt, in seconds; None after the last one. Pure.

    Args:
        attempt: number of the attempt that failed, from 1.
        chance: from 0 to 1; spreads callbacks that failed together.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    growing = FIRST_PAUSE_S * GROWTH ** min(attempt - 1, MAX_ATTEMPTS)
    return min(growing, LONGEST_PAUSE_S) * (1 - JITTER + 2 * JITTER * chance)


def signed_headers(signer: Signs, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with an Ed25519 signature."""
    signature = signer.sign(f"{identity}.{timestamp}.".encode() + body)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"deid-gateway/{package.__version__}",
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}",
    }


def is_permitted(address: str) -> bool:
    """Tell whether a name may lead to an address."""
    found = _plain(ip_address(address))
    return not any(found.version == net.version and found in net for net in FORBIDDEN_NETWORKS)


def _plain(address: Address) -> Address:
    """Take an IPv4 address out of the IPv6 form that it is written in."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _target(url: str) -> Target:
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable():
        raise CallbackNotAllowed("The callback URL is malformed")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise CallbackNotAllowed("The callback URL is malformed") from None
    if parsed.scheme not in _USUAL_PORTS or not host:
        raise CallbackNotAllowed("The callback URL must begin with https://")
    if parsed.userinfo:
        raise CallbackNotAllowed("The callback URL must not carry a user or password")
    port = parsed.port if parsed.port is not None else _USUAL_PORTS[parsed.scheme]
    if not 0 < port < 65_536:
        raise CallbackNotAllowed("The callback URL is malformed")
    return Target(parsed, host, port, _address(host))


def _entry(text: str) -> tuple[str, int]:
    try:
        target = _target(f"https://{text}")
    except CallbackNotAllowed:
        target = None
    if target is None or target.url.raw_path != b"/" or target.url.fragment or text.endswith("/"):
        raise Misconfigured("DEID_CALLBACK_HOSTS: an entry is neither host nor host:port")
    return target.host, target.port


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(target: Target) -> bool:
    if target.address is None:
        return target.host == "localhost"
    return _plain(target.address).is_loopback


def _outcome_of(status: int) -> Outcome:
    if status == httpx.codes.GONE:
        return Outcome.GONE
    return Outcome.DELIVERED if 200 <= status < 300 else Outcome.FAILED


def _extensions(target: Target) -> dict[str, Any]:
    timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    extensions: dict[str, Any] = {"timeout": timeout.as_dict()}
    if target.address is None:
        extensions["sni_hostname"] = target.host  # also the name that the certificate must bear
    return extensions


def _trust() -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()  # a hospital's own authority is known to the machine
    return context


async def _resolved(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Receiver:
    """One receiver that the operator names.

    Args:
        webhooks: sends the messages.
        url: where to.
        chance: a number from 0 to 1, for the pauses.
    """

    def __init__(
        self, webhooks: Webhooks, url: str, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._webhooks = webhooks
        self._url = url
        self._chance = chance

    async def tell(
        self, identity: str, body_fields: Mapping[str, Any], attempt: int
    ) -> tuple[bool, float | None]:
        """Try once; return whether it was taken, and the pause before the next attempt if any."""
        outcome = await self._webhooks.send(self._url, identity, body_fields)
        telemetry.log().info("notice-tried", code=str(outcome), count=attempt)
        pause = pause_s(attempt, self._chance()) if outcome is Outcome.FAILED else None
        return outcome is Outcome.DELIVERED, pause
