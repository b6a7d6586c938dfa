"""The rows of organisations and API keys. Decisions about them are in the modules beside it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.db.acting import acting_for
from app.db.models import api_keys, organizations
from app.db.session import Database, database_errors
from app.errors import OrganizationNotFound

_NOT_YET: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_ADD: Final = """
INSERT INTO api_keys (
    id, organization, name, secret_hash, scopes, profile, profiles, organizations
) VALUES (
    %(id)s, %(organization)s, %(name)s, %(secret_hash)s, %(scopes)s, %(profile)s, %(profiles)s,
    %(organizations)s
)
"""
_KNOWN_ORGANIZATIONS: Final = "SELECT id FROM organizations WHERE id = ANY(%s)"
_REVOKE: Final = "UPDATE api_keys SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL"


class Trail(Protocol):
    """The audit as this package sees it; `app.audit.repository.AuditTrail` is it."""

    async def record(
        self,
        connection: psycopg.AsyncConnection[tuple[Any, ...]],
        *,
        action: str,
        organization: str,
        actor: str,
        detail: Mapping[str, str | int],
    ) -> None:
        """Append one event in the transaction of the connection."""


@dataclass(frozen=True, slots=True)
class StoredApiKey:
    """One row of API keys."""

    id: str
    organization: str
    name: str
    secret_hash: bytes = field(repr=False)
    scopes: Sequence[str]
    profile: str
    profiles: Sequence[str]
    organizations: Sequence[str]
    created_at: dt.datetime = _NOT_YET
    revoked_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Organization:
    """One organisation: an id that enters its pseudonyms, and a name for people."""

    id: str
    name: str
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class OrganizationPolicy:
    """What callers of one organisation get where nothing else is said.

    Attributes:
        profile: used where neither key nor call names one.
        profiles: further profiles that a call may name; ``*`` is any.
    """

    profile: str
    profiles: frozenset[str]


class ApiKeyRepository:
    """Reads and writes API keys; what changes them is audited in the same transaction."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    async def add(self, key: StoredApiKey, *, actor: str) -> StoredApiKey:
        """Insert a key.

        Raises:
            OrganizationNotFound: one of its organisations is not there.
        """
        wanted = sorted({key.organization, *key.organizations})
        values = {
            "id": key.id,
            "organization": key.organization,
            "name": key.name,
            "secret_hash": key.secret_hash,
            "scopes": list(key.scopes),
            "profile": key.profile,
            "profiles": list(key.profiles),
            "organizations": list(key.organizations),
        }
        with database_errors():
            async with await self._database.connect() as connection:
                known = await connection.execute(_KNOWN_ORGANIZATIONS, [wanted])
                if len(await known.fetchall()) != len(wanted):
                    raise OrganizationNotFound
                await connection.execute(_ADD, values)
                await self._trail.record(
                    connection,
                    action="create-api-key",
                    organization=key.organization,
                    actor=actor,
                    detail={"key": key.id, "scopes": " ".join(key.scopes)},
                )
        return await self._require(key.id)

    async def revoke(self, key_id: str, *, actor: str) -> StoredApiKey | None:
        """Mark a key as revoked; None where there is none."""
        stored = await self.get(key_id)
        if stored is None:
            return None
        with database_errors():
            async with await self._database.connect() as connection:
                revoked = await connection.execute(_REVOKE, [key_id])
                if revoked.rowcount:
                    await self._trail.record(
                        connection,
                        action="revoke-api-key",
                        organization=stored.organization,
                        actor=actor,
                        detail={"key": key_id},
                    )
        return await self._require(key_id)

    async def get(self, key_id: str) -> StoredApiKey | None:
        """Read one key; whose it is shows then."""
        with database_errors(), acting_for(api_keys=[key_id]):
            async with self._database.engine.connect() as connection:
                row = (
                    await connection.execute(select(api_keys).where(api_keys.c.id == key_id))
                ).one_or_none()
        return StoredApiKey(**row._asdict()) if row else None

    async def all(self, organization: str | None) -> list[StoredApiKey]:
        """Read the keys of one organisation or of all."""
        wanted = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if organization is not None:
            wanted = wanted.where(api_keys.c.organization == organization)
        with database_errors():
            async with self._database.engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return [StoredApiKey(**row._asdict()) for row in rows]

    async def _require(self, key_id: str) -> StoredApiKey:
        stored = await self.get(key_id)
        if stored is None:
            raise LookupError("an API key vanished")
        return stored


class OrganizationRepository:
    """Reads and writes organisations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, organization: str, name: str) -> bool:
        """Insert an organisation; False where the id is taken."""
        row = insert(organizations).values(id=organization, name=name)
        with database_errors():
            async with self._database.engine.begin() as connection:
                added = await connection.execute(
                    row.on_conflict_do_nothing().returning(organizations.c.id)
                )
                return added.scalar_one_or_none() is not None

    async def all(self) -> list[Organization]:
        """Read every organisation."""
        wanted = select(
            organizations.c.id, organizations.c.name, organizations.c.created_at
        ).order_by(organizations.c.id)
        with database_errors():
            async with self._database.engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return [Organization(row.id, row.name, row.created_at) for row in rows]

    async def exists(self, organization: str) -> bool:
        """Ask for one organisation."""
        wanted = select(organizations.c.id).where(organizations.c.id == organization)
        with database_errors():
            async with self._database.engine.connect() as connection:
                return (await connection.execute(wanted)).scalar_one_or_none() is not None

    async def policy(self, organization: str) -> OrganizationPolicy | None:
        """Read what an organisation allows; None where there is none by that id."""
        if not await self.exists(organization):
            return None
        return OrganizationPolicy("basic", frozenset())
