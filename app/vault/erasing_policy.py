"""How long an organisation keeps originals, and what becomes of patients that were erased."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from app.db.acting import acting_for
from app.db.models.access import organizations
from app.db.session import Database, database_errors
from app.errors import InvalidRequest, OrganizationNotFound
from app.vault.repository import Trail

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

CHANGE: Final = "change-retention"
MAX_DAYS: Final = 36_500
_CHANGE: Final = "UPDATE organizations SET retention_days = %s, after_erasure = %s WHERE id = %s"


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

    async def set(self, policy: RetentionPolicy, event: "AuditEvent", trail: Trail) -> None:
        """Change an organisation's policy, with its audit row.

        Args:
            policy: what holds from now on.
            event: who changes it.
            trail: appends audit rows.

        Raises:
            InvalidRequest: the number of days is not between 1 and 36,500.
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        days = policy.retention_days
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise InvalidRequest(f"Originals are kept for 1 to {MAX_DAYS} days, or for ever")
        after = str(policy.after_erasure)
        detail: dict[str, str | int] = {
            "retention-days": "" if days is None else days,
            "after-erasure": after,
        }
        event = replace(event, action=CHANGE, organization=policy.organization, detail=detail)
        with database_errors(), acting_for(policy.organization):
            async with await self._database.connect() as connection:
                changed = await connection.execute(_CHANGE, [days, after, policy.organization])
                if not changed.rowcount:
                    raise OrganizationNotFound
                await trail.append(connection, await trail.lock(connection, [event]), [event])
