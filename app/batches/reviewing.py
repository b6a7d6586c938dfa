"""Batches that wait for people to decide about pixels, and go on by themselves when they have.

A batch is in review when all of its files are decided but those that are held. What people decided
stays with the quarantine, under the digest of the bytes: the files are simply done again, and the
pipeline meets the decision.
"""

from typing import Final

from sqlalchemy import RowMapping

from app.batches.reopening import Reopening, begin, open_page
from app.batches.sealing import BatchBox
from app.batches.settling import defer_for, lock_batch
from app.batches.sql import row, rows, transaction
from app.batches.states import BatchState
from app.batches.tickets import Task
from app.db.session import Database

#: Of a row of batches called ``b``: nothing is left to be done before people have decided.
IS_IN_REVIEW: Final = """
    b.state = 'processing' AND b.is_scanned AND b.open_chunks = 0 AND b.in_review_files > 0
    AND b.reopening IS NULL
"""
_IS_ANY_HELD: Final = """
EXISTS (SELECT FROM batch_items AS i JOIN quarantine AS q ON q.id = i.quarantine
    WHERE i.batch = b.id AND i.state <> 'succeeded' AND i.state = 'in_review'
        AND q.state = 'held')
"""
#: The same, and people have decided about everything.
IS_REVIEWED: Final = f"{IS_IN_REVIEW} AND NOT {_IS_ANY_HELD}"
_REVIEWED: Final = f"""
SELECT b.id, (SELECT id FROM organizations WHERE number = b.organization) AS organization_id
FROM batches AS b
WHERE b.state IN ('queued', 'processing', 'publishing') AND {IS_REVIEWED}
ORDER BY b.priority DESC, b.submitted_at LIMIT 100
"""  # noqa: S608 - constants
_STILL: Final = f"SELECT b.id FROM batches AS b WHERE b.id = %(batch)s AND {IS_REVIEWED}"  # noqa: S608 - constants


async def go_on(database: Database, box: BatchBox) -> int:
    """Have every batch go on about whose files people have decided; return how many did.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    async with transaction(database) as connection:
        found = await rows(connection, _REVIEWED)
    return sum([await _go_on(database, box, entry) for entry in found])


async def _go_on(database: Database, box: BatchBox, found: RowMapping) -> bool:
    async with transaction(database) as connection:
        batch = await lock_batch(connection, found["id"])
        # Somebody may have cancelled it, or gone on with it.
        if batch is None or await row(connection, _STILL, batch=batch["id"]) is None:
            return False
        await begin(connection, batch["id"], Reopening.REVIEW)
        if await open_page(connection, box, found["organization_id"], batch["id"]):
            await defer_for(connection, batch, Task.SCAN)
    return True


def is_in_review(batch: RowMapping) -> bool:
    """Say of a locked batch whether nothing is left to be done before people have decided."""
    return bool(
        batch["state"] == BatchState.PROCESSING
        and batch["is_scanned"]
        and not batch["open_chunks"]
        and batch["in_review_files"]
        and batch["reopening"] is None
    )
