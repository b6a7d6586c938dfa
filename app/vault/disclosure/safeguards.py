"""What an organisation asks for before anybody learns whose study it is. Rows only."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from app.db.acting import acting_for
from app.errors import OrganizationNotFound
from app.vault.disclosure.quotas import Bounds
from app.vault.disclosure.transactions import Recorder

if TYPE_CHECKING:
    import psycopg

    from app.audit.events import AuditEvent

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

CHANGE: Final = "reidentify-safeguards"

_ONE: Final = """
SELECT o.number, coalesce(s.needs_approval, false), coalesce(s.allows_break_glass, true),
    s.per_hour, s.per_day
FROM organizations AS o LEFT JOIN reidentify_safeguards AS s ON s.organization = o.number
WHERE o.id = %s
"""
_SET: Final = """
INSERT INTO reidentify_safeguards
    (organization, needs_approval, allows_break_glass, per_hour, per_day)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (organization) DO UPDATE SET needs_approval = excluded.needs_approval,
    allows_break_glass = excluded.allows_break_glass, per_hour = excluded.per_hour,
    per_day = excluded.per_day
"""


@dataclass(frozen=True, slots=True)
class Safeguards:
    """The safeguards of one organisation.

    Attributes:
        needs_approval: a second person approves every look.
        allows_break_glass: emergencies need none.
        per_hour, per_day: most looks of one caller; 0 is no bound, None what the gateway says.
    """

    needs_approval: bool = False
    allows_break_glass: bool = True
    per_hour: int | None = None
    per_day: int | None = None

    def bounds(self, otherwise: Bounds) -> Bounds:
        """Return the quota of a caller."""
        return Bounds(
            otherwise.per_hour if self.per_hour is None else self.per_hour,
            otherwise.per_day if self.per_day is None else self.per_day,
        )


async def of(connection: "_Connection", organization: str) -> tuple[int, Safeguards]:
    """Read an organisation's number and its safeguards.

    Raises:
        OrganizationNotFound: there is none by that id.
    """
    row = await (await connection.execute(_ONE, [organization])).fetchone()
    if row is None:
        raise OrganizationNotFound
    number, *columns = row
    return number, Safeguards(*columns)


async def shown(recorder: Recorder, organization: str) -> Safeguards:
    """Read the safeguards of an organisation.

    Raises:
        OrganizationNotFound: there is none by that id.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with acting_for(organization):
        async with recorder.transaction() as connection:
            return (await of(connection, organization))[1]


async def change(
    recorder: Recorder, event: "AuditEvent", **changes: bool | int | None
) -> Safeguards:
    """Change safeguards of the event's organisation; what is not named stays.

    Raises:
        OrganizationNotFound: there is none by that id.
        DatabaseUnavailable: PostgreSQL does not answer, or the user may not change them.
    """
    organization = event.organization or ""
    with acting_for(organization):
        async with recorder.transaction() as connection:
            number, before = await of(connection, organization)
            after = replace(before, **changes)  # type: ignore[arg-type]
            values = (after.needs_approval, after.allows_break_glass, after.per_hour, after.per_day)
            await connection.execute(_SET, [number, *values])
            detail = {
                "needs-approval": int(after.needs_approval),
                "allows-break-glass": int(after.allows_break_glass),
                "per-hour": "" if after.per_hour is None else after.per_hour,
                "per-day": "" if after.per_day is None else after.per_day,
            }
            await recorder.append(connection, [replace(event, action=CHANGE, detail=detail)])
    return after
