"""Retention by age for every organisation: one process at a time, on request or now and then."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from app import telemetry
from app.db.session import Database, database_errors
from app.errors import GatewayError
from app.vault.erasing import Eraser
from app.vault.erasing_policy import RetentionPolicies

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

FIRST_AFTER_S: Final = 60.0
_TURN: Final = "SELECT pg_try_advisory_lock(hashtextextended('retention', 0))"


async def apply_retention(
    database: Database, eraser: Eraser, event: "AuditEvent"
) -> Mapping[str, int] | None:
    """Destroy what is older than its organisation keeps it.

    Returns:
        The number of patients by organisation, of those that keep originals for a time; None
        where another process is at it.

    Raises:
        DatabaseUnavailable: Postgres does not answer; what was done stays done.
    """
    async with _turn(database) as is_ours:
        if not is_ours:
            return None
        done: dict[str, int] = {}
        for policy in await RetentionPolicies(database).all():
            if policy.retention_days is not None:
                expired = [one async for one in eraser.expire(policy.organization, event)]
                done[policy.organization] = len(expired)
    return done


async def keep_applying(
    database: Database, eraser: Eraser, event: "AuditEvent", *, every_s: float
) -> None:
    """Apply retention now and then until cancelled; what fails is tried again the next time."""
    await asyncio.sleep(min(FIRST_AFTER_S, every_s))
    while True:
        try:
            done = await apply_retention(database, eraser, event)
        except GatewayError as error:
            telemetry.log().warning("retention-failed", code=error.code)
        else:
            for organization, count in (done or {}).items():
                if count:
                    telemetry.log().info(
                        "originals-expired", organization=organization, count=count
                    )
        await asyncio.sleep(every_s)


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[bool]:
    """Hold the lock of whoever applies retention, for as long as its connection lives."""
    with database_errors():
        connection = await database.connect()
    try:
        with database_errors():
            await connection.set_autocommit(True)
            found = await (await connection.execute(_TURN)).fetchone()
        yield found is not None and bool(found[0])
    finally:
        await connection.close()
