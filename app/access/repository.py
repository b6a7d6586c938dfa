"""The rows of organisations and API keys. Decisions about them are in the modules beside it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from app.access.principals import OrganizationPolicy
from app.db.acting import acting_for
from app.db.models.access import api_keys, organization_usage, organizations
from app.db.models.batches import batches
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
# Batches are above this package; a test compares the words.
_OPEN_STATES: Final = ("queued", "processing", "publishing")
_ADD_ORGANIZATION: Final = """
INSERT INTO organizations (id, name) VALUES (%(id)s, %(name)s) ON CONFLICT DO NOTHING
"""
_KNOWN_ORGANIZATIONS: Final = "SELECT id FROM organizations WHERE id = ANY(%s)"
_CHANGE: Final = """
UPDATE organizations SET profile = %(profile)s, profiles = %(profiles)s,
    objects_per_day = %(objects_per_day)s, open_batches = %(open_batches)s
WHERE id = %(id)s
"""
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

    async def add(self, organization: str, name: str, trail: Trail | None, *, actor: str) -> bool:
        """Insert an organisation, with its audit row; False where the id is taken."""
        values = {"id": organization, "name": name}
        with database_errors(), acting_for(organization):
            async with await self._database.connect() as connection:
                added = await connection.execute(_ADD_ORGANIZATION, values)
                if added.rowcount and trail is not None:
                    await trail.record(
                        connection,
                        action="create-organization",
                        organization=organization,
                        actor=actor,
                        detail={},
                    )
                return added.rowcount > 0

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
        table = organizations.c
        wanted = select(
            table.number, table.profile, table.profiles, table.objects_per_day, table.open_batches
        ).where(table.id == organization)
        with database_errors():
            async with self._database.engine.connect() as connection:
                row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            return None
        members = row._asdict()
        return OrganizationPolicy(**members | {"profiles": frozenset(row.profiles)})

    async def change(
        self,
        organization: str,
        policy: OrganizationPolicy,
        trail: Trail,
        *,
        actor: str,
    ) -> None:
        """Write what an organisation allows, with its audit row."""
        values = {
            "id": organization,
            "profile": policy.profile,
            "profiles": sorted(policy.profiles),
            "objects_per_day": policy.objects_per_day,
            "open_batches": policy.open_batches,
        }
        facts = {name: _fact(value) for name, value in values.items() if name != "id"}
        with database_errors(), acting_for(organization):
            async with await self._database.connect() as connection:
                await connection.execute(_CHANGE, values)
                await trail.record(
                    connection,
                    action="change-organization",
                    organization=organization,
                    actor=actor,
                    detail=facts,
                )


class UsageRepository:
    """Adds up what organisations use."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, organization: str, number: int, day: dt.date, objects: int) -> int:
        """Add instances to a day; returns how many it has now."""
        row = insert(organization_usage).values(organization=number, day=day, objects=objects)
        added = row.on_conflict_do_update(
            index_elements=[organization_usage.c.organization, organization_usage.c.day],
            set_={"objects": organization_usage.c.objects + row.excluded.objects},
        ).returning(organization_usage.c.objects)
        with database_errors(), acting_for(organization):
            async with self._database.engine.begin() as connection:
                return int((await connection.execute(added)).scalar_one())

    async def open_batches(self, number: int) -> int:
        """Count the batches that have not ended, as the task that asks sees them."""
        counted = (
            select(func.count())
            .select_from(batches)
            .where(batches.c.organization == number, batches.c.state.in_(_OPEN_STATES))
        )
        with database_errors():
            async with self._database.engine.connect() as connection:
                return int((await connection.execute(counted)).scalar_one())


def _fact(value: object) -> str | int:
    if isinstance(value, int):
        return value
    return " ".join(value) if isinstance(value, list) else str(value or "unbounded")
