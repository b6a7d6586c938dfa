"""The base of what workers do to the tables of batches."""

from typing import TYPE_CHECKING

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.records import FinishClaim, PublishClaim, ScanClaim
from app.batches.sealing import BatchBox
from app.batches.settling import end, lock_batch
from app.batches.sql import row, transaction
from app.batches.states import WORKING, BatchState
from app.db.session import Database
from app.errors import GatewayError

if TYPE_CHECKING:
    from app.vault.service import Vault


class Claims:
    """The tables, what opens their sealed parts, and whether a claim still holds.

    Args:
        database: where they are.
        box: opens what workers must read.
        vault: seals the names of files for the way back; records the audit.
    """

    def __init__(self, database: Database, box: BatchBox, vault: "Vault") -> None:
        self._database = database
        self._box = box
        self._vault = vault

    async def fail(
        self, claim: ScanClaim | PublishClaim | FinishClaim, error: GatewayError
    ) -> bool:
        """End a batch that cannot be done as a whole."""
        async with transaction(self._database) as connection:
            batch = await self._held(connection, claim)
            if batch is None:
                return False
            await end(connection, batch, BatchState.FAILED, error)
        return True

    async def _held(
        self, connection: AsyncConnection, claim: ScanClaim | PublishClaim | FinishClaim
    ) -> RowMapping | None:
        """Lock what was claimed, and return the batch where the claim still holds."""
        batch_id = claim.batch.batch_id if isinstance(claim, FinishClaim) else claim.batch_id
        batch = await lock_batch(connection, batch_id)
        if batch is None or batch["state"] not in WORKING:
            return None
        if isinstance(claim, PublishClaim):
            held = await row(
                connection,
                "SELECT number FROM batch_chunks WHERE batch = %(batch)s AND number = %(number)s"
                " AND epoch = %(epoch)s AND state = 'publishing' FOR UPDATE",
                batch=batch_id,
                number=claim.number,
                epoch=claim.epoch,
            )
        else:
            held = await row(
                connection,
                "SELECT id FROM batches WHERE id = %(batch)s AND task_epoch = %(epoch)s"
                " AND task_worker IS NOT NULL",
                batch=batch_id,
                epoch=claim.epoch,
            )
        return batch if held is not None else None
