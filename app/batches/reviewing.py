"""Batches that wait for people to decide about pixels, and go on by themselves when they have.

A batch is in review when all of its files are decided but those that are held. What people decided
stays with the quarantine, under the digest of the bytes: the files are simply done again, and the
pipeline meets the decision.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.retrying import do_given_up_again, open_again
from app.batches.sealing import BatchBox
from app.batches.settling import lock_batch, settle
from app.batches.sql import row, rows, run, transaction
from app.batches.states import BatchState, ItemState
from app.db.session import Database
from app.errors import Quarantined, ReviewExpired

#: Of a row of batches called ``b``: nothing is left to be done before people have decided.
IS_IN_REVIEW: Final = """
    b.state = 'processing' AND b.is_scanned AND b.open_chunks = 0 AND b.in_review_files > 0
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
# What nobody decided about in time is refused: a retry has it held once more.
_EXPIRE: Final = """
WITH expired AS (UPDATE batch_items AS i SET state = 'refused', code = %(code)s,
        detail = %(detail)s
    FROM quarantine AS q
    WHERE i.batch = %(batch)s AND i.state <> 'succeeded' AND i.state = 'in_review'
        AND q.id = i.quarantine AND q.state = 'expired'
    RETURNING i.seq)
UPDATE batches SET in_review_files = in_review_files - counted.files,
    refused_files = refused_files + counted.files
FROM (SELECT count(*) AS files FROM expired) AS counted WHERE id = %(batch)s
RETURNING counted.files
"""
_RENAME_PROBLEM: Final = """
WITH less AS (UPDATE batch_problems SET count = count - %(files)s
    WHERE batch = %(batch)s AND code = %(old)s)
INSERT INTO batch_problems (batch, code, count) VALUES (%(batch)s, %(new)s, %(files)s)
ON CONFLICT (batch, code) DO UPDATE SET count = batch_problems.count + EXCLUDED.count
"""
# Speed is counted from here on: what people took is none of the workers'.
_GO_ON: Final = """
UPDATE batches SET version = version + 1, run_at = now(), run_bytes = bytes_in,
    run_published = published_files, run_files = succeeded_files + duplicate_files
        + ignored_files + refused_files + failed_files,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s
"""


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
        await do_given_up_again(connection, batch)
        await _expire(connection, batch["id"])
        reviewed = {ItemState.IN_REVIEW}
        await open_again(connection, box, found["organization_id"], batch, reviewed)
        await run(connection, _GO_ON, batch=batch["id"])
        await settle(connection, batch["id"])
    return True


async def _expire(connection: AsyncConnection, batch_id: UUID) -> None:
    expired = await row(
        connection,
        _EXPIRE,
        batch=batch_id,
        code=ReviewExpired.code,
        detail=ReviewExpired.title,
    )
    if expired is not None and expired["files"]:
        await run(
            connection,
            _RENAME_PROBLEM,
            batch=batch_id,
            files=expired["files"],
            old=Quarantined.code,
            new=ReviewExpired.code,
        )


def is_in_review(batch: RowMapping) -> bool:
    """Say of a locked batch whether nothing is left to be done before people have decided."""
    return bool(
        batch["state"] == BatchState.PROCESSING
        and batch["is_scanned"]
        and not batch["open_chunks"]
        and batch["in_review_files"]
    )
