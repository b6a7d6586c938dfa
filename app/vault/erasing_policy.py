"""How long an organisation keeps originals, and what becomes of patients that were erased."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import select, update

from app.db.models import organizations
from app.db.session import Database, database_errors
from app.errors import InvalidRequest, OrganizationNotFound

MAX_DAYS: Final = 36_500


class AfterErasure(StrEnum):
    """What a later upload of an erased patient meets."""

    REFUSE = "refuse"
    RECREATE = "recreate"


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """One organisation's.

    Attributes:
        retention_days: after how many days originals are destroyed; None for never.
    """

    organization: str
    retention_days: int | None
    after_erasure: AfterErasure


class RetentionPolicies:
    """The policies of all organisations.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[RetentionPolicy]:
        """Return every organisation's policy, by id.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        wanted = select(
            organizations.c.id, organizations.c.retention_days, organizations.c.after_erasure
        ).order_by(organizations.c.id)
        with database_errors():
            async with self._database.engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return [
            RetentionPolicy(row.id, row.retention_days, AfterErasure(row.after_erasure))
            for row in rows
        ]

    async def set(self, policy: RetentionPolicy) -> None:
        """Change an organisation's policy.

        Raises:
            InvalidRequest: the number of days is not between 1 and 36,500.
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        days = policy.retention_days
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise InvalidRequest(f"Originals are kept for 1 to {MAX_DAYS} days, or for ever")
        change = (
            update(organizations)
            .where(organizations.c.id == policy.organization)
            .values(retention_days=days, after_erasure=str(policy.after_erasure))
        )
        with database_errors():
            async with self._database.engine.begin() as connection:
                changed = (await connection.execute(change)).rowcount
        if not changed:
            raise OrganizationNotFound
