"""The OpenID provider over HTTP: discovery, its published keys, and how long they are trusted.

What a token must say is decided in `tokens`. Texts of errors never hold what the provider sent.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from app import telemetry
from app.access.key_sets import KeySet, SigningKey, read_key_set
from app.access.tokens import Head
from app.errors import IdentityProviderUnavailable, Misconfigured

FETCH_TIMEOUT_S: Final = 5.0
MAX_DOCUMENT_BYTES: Final = 512 << 10
# A key id that nobody knows is asked for at most this often, whoever makes them up.
REFETCH_PAUSE_S: Final = 10.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
_DISCOVERY: Final = "/.well-known/openid-configuration"

Fetch = Callable[[], Awaitable[KeySet]]


class Unreachable(Exception):
    """The provider does not answer, or not with what it should."""


class ProviderKeys:
    """The last good keys of the provider, fetched again when they are old or one is missing.

    One fetch runs at a time and is bounded; after a failure pauses grow. While the provider is
    down the last good keys are used up to a bounded age.

    Args:
        fetch: asks the provider; raises `Unreachable`.
        fresh_s: age from which keys are fetched again, beside the requests.
        max_age_s: age from which they are not used any more.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        fresh_s: float,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._fresh_s = fresh_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._may_fetch_at = 0.0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows whenever other keys are published: what was verified with the old ones is void."""

    async def fitting(self, head: Head) -> Sequence[SigningKey]:
        """Return the keys that may have signed a token; none where the provider has no such key.

        Raises:
            IdentityProviderUnavailable: it cannot be told, because the provider does not answer.
        """
        found = self._known(head)
        if not found:
            await self._refetch()
            found = self._known(head)
            if not found and (self._failures or not self.are_known()):
                raise IdentityProviderUnavailable
        return found

    def are_known(self) -> bool:
        """Tell whether there are keys that may be used; fetches old ones anew in the background."""
        age = self._clock() - self._fetched_at
        if self._keys is None or age >= self._max_age_s:
            return False
        if age >= self._fresh_s:
            self._start()
        return True

    async def close(self) -> None:
        """End a fetch that is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _known(self, head: Head) -> Sequence[SigningKey]:
        if self._keys is None or not self.are_known():
            return ()
        return self._keys.fitting(head.algorithm, head.key_id)

    async def _refetch(self) -> None:
        self._start()
        if self._task is not None:
            await asyncio.wait([self._task])  # whoever gives up waiting does not end the fetch

    def _start(self) -> None:
        if self._task is None and self._clock() >= self._may_fetch_at:
            self._task = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                keys = await self._fetch()
        except (Unreachable, TimeoutError):
            self._failed()
        else:
            self._succeeded(keys)
        finally:
            self._task = None

    def _failed(self) -> None:
        self._failures += 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
        self._may_fetch_at = self._clock() + pause_s
        telemetry.log().warning("identity-provider-silent", count=self._failures)

    def _succeeded(self, keys: KeySet) -> None:
        now = self._clock()
        if self._keys is None or self._keys.identity() != keys.identity():
            self.generation += 1
            telemetry.log().info("identity-provider-keys", count=len(keys.keys))
        self._keys, self._fetched_at, self._failures = keys, now, 0
        self._may_fetch_at = now + REFETCH_PAUSE_S


class Provider:
    """Asks one provider for its keys.

    Args:
        issuer: its address, as tokens and discovery spell it.
        ca_file: certificates to trust beside those of the machine; None for no others.
        is_loopback_allowed: lets it be on this machine without TLS.

    Raises:
        Misconfigured: the address or the file is not fit.
    """

    def __init__(
        self, issuer: str, *, ca_file: Path | None = None, is_loopback_allowed: bool = False
    ) -> None:
        self._issuer = issuer
        self._is_loopback_allowed = is_loopback_allowed
        if not self._is_fit(issuer):
            raise Misconfigured("DEID_OIDC_ISSUER: must be an https:// address without a query")
        self._tls = _trust(ca_file)

    async def keys(self) -> KeySet:
        """Find and fetch the published keys.

        Raises:
            Unreachable: it does not answer, or not with what it should.
        """
        try:
            async with httpx.AsyncClient(
                verify=self._tls, trust_env=False, follow_redirects=False, timeout=FETCH_TIMEOUT_S
            ) as client:
                about = await _document(client, self._issuer.rstrip("/") + _DISCOVERY)
                address = self._keys_address(about)
                return read_key_set(await _document(client, address))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError):
            raise Unreachable from None

    def _keys_address(self, about: object) -> str:
        """Return where the keys are, if the document is about this issuer."""
        if not isinstance(about, dict) or about.get("issuer") != self._issuer:
            raise Unreachable
        address = about.get("jwks_uri")
        if not isinstance(address, str) or not self._is_fit(address, has_query=True):
            raise Unreachable
        return address

    def _is_fit(self, address: str, *, has_query: bool = False) -> bool:
        try:
            parts = urlsplit(address)
            host = parts.hostname or ""
        except ValueError:
            return False
        if not host or parts.username or parts.fragment or (parts.query and not has_query):
            return False
        if parts.scheme == "https":
            return True
        return parts.scheme == "http" and self._is_loopback_allowed and _is_loopback(host)


async def _document(client: httpx.AsyncClient, address: str) -> object:
    """Fetch one JSON document of a bounded size."""
    content = bytearray()
    async with client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != httpx.codes.OK:
            raise Unreachable
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MAX_DOCUMENT_BYTES:
                raise Unreachable
    return json.loads(content)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()  # a hospital's own authority is known to the machine
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError):
            raise Misconfigured("DEID_OIDC_CA_FILE: no certificates can be read from it") from None
    return context
