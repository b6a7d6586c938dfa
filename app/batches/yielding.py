"""A full disk on which nothing drains: who gives its place in the staging area to whom.

Batches that are held back until they are whole can fill a disk together, and none of them would
ever end. So there is an order among them, and the last one gives its staged results back until
the first one has ended. Batches that have ended and are kept for a retry give way before any other,
and after them those that wait for a review.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping

from app import telemetry
from app.batches.reviewing import IS_IN_REVIEW, is_in_review
from app.batches.room import Room
from app.batches.settling import lock_batch, unsettle
from app.batches.sql import row, rows, run, transaction
from app.batches.staging import StagingArea
from app.batches.standing import area_state
from app.batches.states import RETRIABLE, BatchState
from app.db.session import Database

# What is under way may still end, and somebody may tidy up.
STUCK_S: Final = 10.0

_ENDED: Final = """
SELECT b.id FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
WHERE c.staging = %(staging)s AND c.state IN ('processed', 'publishing')
    AND b.finished_at IS NOT NULL AND b.state IN ('held', 'failed')
ORDER BY b.finished_at LIMIT 1
"""
# People may take days; what they decide is done again from the source.
_IN_REVIEW: Final = f"""
SELECT b.id FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
WHERE c.staging = %(staging)s AND c.state IN ('processed', 'publishing')
    AND b.on_error = 'hold' AND {IS_IN_REVIEW}
ORDER BY b.submitted_at DESC LIMIT 1
"""  # noqa: S608 - constants
_FORGET_STAGED: Final = """
UPDATE batch_chunks SET staging = NULL, state = 'processed', worker = NULL, epoch = epoch + 1
WHERE batch = %(batch)s AND staging = %(staging)s AND state IN ('processed', 'publishing')
RETURNING number, staged_epoch
"""
# The first one goes on, the last one gives way; whoever gave way before is behind all others.
_HELD_BACK: Final = """
SELECT b.id, b.parked_behind FROM batches AS b
WHERE b.state = 'processing' AND b.on_error = 'hold' AND EXISTS (SELECT FROM batch_chunks AS c
    WHERE c.batch = b.id AND c.staging = %(staging)s AND c.state IN ('processed', 'publishing'))
ORDER BY b.parked_behind IS NOT NULL, b.priority DESC, b.submitted_at, b.id
"""
_PARK: Final = """
UPDATE batches SET version = version + 1, parked_behind = %(first)s, parked_at = now()
WHERE id = %(batch)s AND state = 'processing' AND parked_behind IS NULL
"""
_STAGED: Final = """
SELECT number, staged_epoch FROM batch_chunks
WHERE batch = %(batch)s AND staging = %(staging)s AND state = 'processed'
    AND state IN ('processed', 'publishing')
"""
_STILL_STAGED: Final = _STAGED + "    AND number = %(number)s FOR UPDATE"


class Yielding:
    """Makes room in one staging area when nothing else does.

    Args:
        room: says whether the disk is short.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        database: Database,
        staging: StagingArea,
        room: Room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._staging = staging
        self._room = room
        self._clock = clock
        self._short_since: float | None = None

    async def look(self) -> None:
        """Make room if the disk has been short for a while and nothing drains.

        Raises:
            DatabaseUnavailable, StorageUnavailable: they do not answer; it is tried again.
        """
        if not self._room.is_short:
            self._short_since = None
            return
        if self._short_since is None:
            self._short_since = self._clock()
        if self._clock() - self._short_since < STUCK_S:
            return
        if (await area_state(self._database, self._staging.staging_id)).drains:
            return
        if (
            await self._from_kept(_ENDED)
            or await self._from_kept(_IN_REVIEW)
            or await self._from_last()
        ):
            self._short_since = None
            self._room.relieved()

    async def _from_kept(self, statement: str) -> bool:
        """Take away what one batch keeps that nothing works on: it will be made again."""
        staging = self._staging.staging_id
        async with transaction(self._database) as connection:
            found = await row(connection, statement, staging=staging)
            if found is None:
                return False
            batch = await lock_batch(connection, found["id"])
            if batch is None or not (batch["state"] in RETRIABLE or is_in_review(batch)):
                return False
            given = await rows(connection, _FORGET_STAGED, batch=found["id"], staging=staging)
        await self._remove(found["id"], given)
        telemetry.log().warning("kept-given-up", batch_id=str(found["id"]), count=len(given))
        return True

    async def _from_last(self) -> bool:
        """Have the last of those that are held back give its place to the first."""
        async with transaction(self._database) as connection:
            held = await rows(connection, _HELD_BACK, staging=self._staging.staging_id)
        if not held or (len(held) == 1 and held[0]["parked_behind"] is None):
            return False  # nobody is in anybody's way
        first, last = held[0]["id"], held[-1]["id"]
        async with transaction(self._database) as connection:
            await run(connection, _PARK, batch=last, first=first)
            staged = await rows(connection, _STAGED, batch=last, staging=self._staging.staging_id)
        count = sum([await self._give_back(last, chunk) for chunk in staged])
        telemetry.log().warning("staging-yielded", batch_id=str(last), count=count)
        return count > 0

    async def _give_back(self, batch_id: UUID, staged: RowMapping) -> bool:
        """Have one chunk done again later, and remove what is staged of it."""
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, batch_id)
            if batch is None or batch["state"] != BatchState.PROCESSING:
                return False
            values = {"staging": self._staging.staging_id, "number": staged["number"]}
            chunk = await row(connection, _STILL_STAGED, batch=batch_id, **values)
            if chunk is None:
                return False
            await unsettle(connection, batch, chunk["number"])
        await self._remove(batch_id, [chunk])
        return True

    async def _remove(self, batch_id: UUID, chunks: Sequence[RowMapping]) -> None:
        for chunk in chunks:
            await asyncio.to_thread(
                self._staging.remove_chunk, batch_id, chunk["number"], chunk["staged_epoch"]
            )
