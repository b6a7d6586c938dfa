"""What nobody decided about in time is rejected and destroyed, now and then."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from app import telemetry
from app.audit.events import AuditEvent
from app.db.acting import acting_for
from app.errors import GatewayError
from app.quarantine import records
from app.quarantine.shelf import Shelf
from app.vault.disclosure.transactions import Recorder

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

EXPIRE: Final = "quarantine-expire"
ACTOR: Final = "retention"
FIRST_AFTER_S: Final = 60.0
_ORGANIZATIONS: Final = "SELECT id FROM organizations ORDER BY number"


class Expiry:
    """Ends what waits for too long.

    Args:
        recorder: lends transactions and writes the audit.
        shelf: where the sealed objects lie.
        kept: how long they wait.
    """

    def __init__(self, recorder: Recorder, shelf: Shelf, kept: dt.timedelta) -> None:
        self._recorder = recorder
        self._shelf = shelf
        self._kept = kept

    async def apply(self) -> Sequence[UUID]:
        """Reject and destroy what is too old, and sweep away files that belong to nothing.

        Returns:
            The ids of what was rejected.

        Raises:
            DatabaseUnavailable, StorageUnavailable: what was done stays done.
        """
        async with self._recorder.transaction() as connection:
            rows = await (await connection.execute(_ORGANIZATIONS)).fetchall()
        with acting_for(*[row[0] for row in rows]):
            async with self._recorder.transaction() as connection:
                expired = await records.expire(connection, self._kept, actor=ACTOR)
                await self._recorder.append(connection, [_row(*one) for one in expired])
            async with self._recorder.transaction() as connection:
                held = await records.held_ids(connection)
        for object_id, _ in expired:
            self._shelf.remove(object_id)
        swept = await asyncio.to_thread(self._shelf.sweep, held)
        if expired:
            telemetry.log().info("quarantine-expired", count=len(expired))
        if swept:
            telemetry.log().info("quarantine-swept", count=swept)
        return [object_id for object_id, _ in expired]

    async def keep(self, every_s: float) -> None:
        """Apply it now and then until cancelled; what fails is tried again the next time."""
        await asyncio.sleep(min(FIRST_AFTER_S, every_s))
        while True:
            try:
                await self.apply()
            except GatewayError as error:
                telemetry.log().warning("quarantine-expiry-failed", code=error.code)
            await asyncio.sleep(every_s)


def _row(object_id: UUID, organization: str) -> AuditEvent:
    return AuditEvent(
        action=EXPIRE,
        organization=organization,
        actor=ACTOR,
        detail={"quarantine": str(object_id)},
    )
