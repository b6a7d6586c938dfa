"""Whether there is anything left to do, for workers that end when there is not."""

from typing import Final
from uuid import UUID

from app.batches.reviewing import IS_IN_REVIEW, IS_REVIEWED
from app.batches.sql import row, transaction
from app.db.session import Database

# A batch that waits for the workers of another staging area, or for people, is none of ours.
_WORK: Final = f"""
SELECT EXISTS (SELECT FROM batches AS b
        WHERE b.state IN ('queued', 'processing', 'publishing')
        AND (b.home IS NULL OR b.home = %(staging)s)
        AND (NOT b.is_scanned OR b.reopening IS NOT NULL OR b.open_chunks > 0
            OR (b.state = 'publishing' AND b.unpublished_chunks = 0) OR ({IS_REVIEWED})))
    OR EXISTS (SELECT FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
        WHERE c.staging = %(staging)s AND c.state IN ('processed', 'publishing')
        AND b.state IN ('queued', 'processing', 'publishing')
        AND NOT (b.on_error = 'hold' AND {IS_IN_REVIEW})) AS is_any
"""  # noqa: S608 - constants
# Once: what fails then is tried again later, by whoever works then.
_AFTERMATH: Final = """
SELECT EXISTS (SELECT FROM batch_leftovers
        WHERE (staging IS NULL OR staging = %(staging)s) AND due_at <= now() AND attempts = 0)
    OR EXISTS (SELECT FROM batches WHERE callback_due_at IS NOT NULL AND callback_attempts = 0)
    AS is_any
"""


async def is_work_left(database: Database, staging: UUID) -> bool:
    """Tell whether workers at one staging area have, or will have, something to do.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    return await _is_any(database, _WORK, staging)


async def is_aftermath_left(database: Database, staging: UUID) -> bool:
    """Tell whether ended batches are still to be tidied up, or their clients to be told.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    return await _is_any(database, _AFTERMATH, staging)


async def _is_any(database: Database, question: str, staging: UUID) -> bool:
    async with transaction(database) as connection:
        found = await row(connection, question, staging=staging)
    return found is not None and bool(found["is_any"])
