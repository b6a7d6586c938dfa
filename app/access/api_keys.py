"""API keys: made, listed, revoked, and recognised when they are presented.

A token is shown once. The database keeps the SHA-256 of its secret, which has 256 random bits,
so that a slow hash would add nothing. Which header carries a token is the API's business.
"""

import datetime as dt
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from app.access.principals import Principal
from app.access.repository import ApiKeyRepository, StoredApiKey, Trail
from app.access.scopes import Scope, parse_scopes
from app.db.session import Database
from app.errors import InvalidRequest, NotAuthenticated, NotFound

ANY_PROFILE: Final = "*"
CACHE_LIFETIME_S: Final = 5.0
MAX_NAME_CHARACTERS: Final = 100

_PREFIX: Final = "dgw"
# What the audit calls subjects of tokens and users of the command line.
_OTHER_ACTORS: Final = ("oidc:", "cli:")
_ID_ALPHABET: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_TOKEN: Final = re.compile(rf"{_PREFIX}_([{_ID_ALPHABET}]{{8}})_([A-Za-z0-9_-]{{43}})")
# Compared with where no key has the id, so that an unknown id takes the same time.
_NOBODY: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """An API key as it is listed; nothing in it is secret."""

    id: str
    name: str
    organization: str
    scopes: frozenset[Scope]
    profile: str
    profiles: frozenset[str]
    organizations: frozenset[str]
    created_at: dt.datetime
    revoked_at: dt.datetime | None


class ApiKeys:
    """The API keys of every organisation.

    Args:
        database: where they are kept.
        trail: appends audit rows (`app.audit.repository.AuditTrail`).
        clock: seconds that only grow.
    """

    def __init__(
        self, database: Database, trail: Trail, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._repository = ApiKeyRepository(database, trail)
        self._clock = clock
        self._seen: dict[str, tuple[float, bytes, Principal]] = {}

    async def create(  # noqa: PLR0913 - a key has this many properties
        self,
        *,
        name: str,
        organization: str,
        scopes: Iterable[str],
        profile: str = "",
        profiles: Iterable[str] = (),
        organizations: Iterable[str] = (),
        actor: str = "",
    ) -> tuple[ApiKeyRecord, str]:
        """Make a key; returns its record and the token, which cannot be shown again.

        Args:
            name: for people, to tell keys apart.
            organization: whom it belongs to.
            scopes: what it may do.
            profile: the profile it uses where a call names none; empty for the organisation's.
            profiles: further profiles that a call may name; ``*`` is any.
            organizations: further organisations that a call may act for.
            actor: who makes it, for the audit.

        Raises:
            InvalidRequest: name or scopes are not valid.
            OrganizationNotFound: one of the organisations is not there.
            DatabaseUnavailable: Postgres does not answer.
        """
        _check_name(name)
        key_id = "".join([secrets.choice(_ID_ALPHABET) for _ in range(8)])
        secret = secrets.token_urlsafe(32)
        stored = await self._repository.add(
            StoredApiKey(
                id=key_id,
                organization=organization,
                name=name.strip(),
                secret_hash=_hash(secret),
                scopes=sorted(parse_scopes(scopes)),
                profile=profile,
                profiles=sorted(set(profiles)),
                organizations=sorted(set(organizations)),
            ),
            actor=actor,
        )
        return _record(stored), f"{_PREFIX}_{key_id}_{secret}"

    async def list(self, organization: str | None = None) -> "list[ApiKeyRecord]":
        """List the keys of one organisation or of all, oldest first, revoked ones too.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return [_record(stored) for stored in await self._repository.all(organization)]

    async def revoke(self, api_key_id: str, *, actor: str = "") -> ApiKeyRecord:
        """Revoke a key for ever; doing it again changes nothing.

        It takes effect at once for what is committed with the mapping and for
        re-identification, and within `CACHE_LIFETIME_S` for everything else.

        Raises:
            NotFound: there is no key by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        stored = await self._repository.revoke(api_key_id, actor=actor)
        if stored is None:
            raise NotFound("There is no API key by that id")
        self._seen.pop(api_key_id, None)
        return _record(stored)

    async def authenticate(self, token: str) -> Principal:
        """Recognise a token.

        Raises:
            NotAuthenticated: it is malformed, unknown or revoked; which one is not told.
            DatabaseUnavailable: Postgres does not answer and the key was not seen lately.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise NotAuthenticated
        key_id, presented = match[1], _hash(match[2])
        now = self._clock()
        seen = self._seen.get(key_id)
        if seen is not None and seen[0] > now and hmac.compare_digest(presented, seen[1]):
            return seen[2]
        stored = await self._repository.get(key_id)
        expected = stored.secret_hash if stored else _NOBODY
        if not hmac.compare_digest(presented, expected) or stored is None or stored.revoked_at:
            raise NotAuthenticated
        principal = _principal(stored)
        # Counted from before the question: what was answered is at least as fresh.
        self._seen[key_id] = (now + CACHE_LIFETIME_S, expected, principal)
        return principal


def key_id_of(credential: str) -> str | None:
    """Return the public part of what may be an API key; None for anything else."""
    match = _TOKEN.fullmatch(credential)
    return match[1] if match else None


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidRequest(f"an API key needs a name of 1 to {MAX_NAME_CHARACTERS} letters")
    if name.strip().lower().startswith(_OTHER_ACTORS):
        raise InvalidRequest("The name of an API key must not begin like that of another actor")


def _principal(stored: StoredApiKey) -> Principal:
    return Principal(
        api_key_id=stored.id,
        name=stored.name,
        organization=stored.organization,
        scopes=_scopes(stored),
        profile=stored.profile,
        profiles=frozenset(stored.profiles),
        organizations=frozenset(stored.organizations),
    )


def _record(stored: StoredApiKey) -> ApiKeyRecord:
    return ApiKeyRecord(
        id=stored.id,
        name=stored.name,
        organization=stored.organization,
        scopes=_scopes(stored),
        profile=stored.profile,
        profiles=frozenset(stored.profiles),
        organizations=frozenset(stored.organizations),
        created_at=stored.created_at,
        revoked_at=stored.revoked_at,
    )


def _scopes(stored: StoredApiKey) -> frozenset[Scope]:
    """Read the scopes of a row; what a newer release granted and this one does not know is not."""
    known = frozenset(Scope)
    return frozenset([Scope(name) for name in stored.scopes if name in known])
