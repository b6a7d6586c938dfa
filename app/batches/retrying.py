"""A batch that is tried again: what did not succeed, what gave its room away, and nothing else."""

from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.reopening import Reopening, begin, open_page
from app.batches.sealing import BatchBox
from app.batches.settling import change, defer_for
from app.batches.sql import run
from app.batches.states import BatchState
from app.batches.tickets import Task
from app.errors import ObjectsGone

# No more than workers held when the batch ended.
_FREE: Final = """
UPDATE batch_chunks SET state = %(free)s, worker = NULL, epoch = epoch + 1
WHERE batch = %(batch)s AND state = %(held)s AND state IN ('processing', 'publishing')
"""


async def try_again(
    connection: AsyncConnection, box: BatchBox, organization: str, batch: RowMapping
) -> None:
    """Put a batch to work again: its first page here, the others by whoever may scan it.

    Args:
        connection: the transaction, with the batch's row locked.
        box: opens and seals the files of chunks.
        organization: id of the organisation.
        batch: the batch, in a state that may be tried again.
    """
    await change(connection, batch, BatchState.PROCESSING)
    await _free_claims(connection, batch["id"])
    # It may have ended before all that was gone was found.
    is_gone = batch["code"] == ObjectsGone.code or batch["reopening"] == Reopening.GONE
    await begin(connection, batch["id"], Reopening.GONE if is_gone else Reopening.RETRY)
    if await open_page(connection, box, organization, batch["id"]):
        await defer_for(connection, batch, Task.SCAN)


async def _free_claims(connection: AsyncConnection, batch_id: UUID) -> None:
    """Take what workers of the ended run may still hold from them."""
    for held, free in (("processing", "pending"), ("publishing", "processed")):
        await run(connection, _FREE, batch=batch_id, held=held, free=free)
