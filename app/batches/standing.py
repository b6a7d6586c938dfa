"""What a worker asks of the tables beside its claims: how it stands with them, and with its area.

A claim whose answer was lost with the connection is in the tables and unknown to its worker, which
is alive: nobody else would ever take it over. Such strays are given back here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from app.batches.records import ChunkClaim, FinishClaim, PublishClaim, ScanClaim
from app.batches.sql import row, rows, run, transaction
from app.db.session import Database

Key: TypeAlias = tuple[UUID, int, int]
"""Batch, chunk and epoch of a claim; the chunk of a claim of the whole batch is -1."""

_WHOLE: Final = -1
_CLAIMED: Final = """
SELECT batch, number, epoch FROM batch_chunks
WHERE worker = %(worker)s AND state IN ('processing', 'publishing')
UNION ALL
SELECT id, -1, task_epoch FROM batches
WHERE task_worker = %(worker)s AND state IN ('queued', 'processing', 'publishing')
"""
_GIVE_CHUNK_BACK: Final = """
UPDATE batch_chunks SET worker = NULL, attempts = greatest(attempts - 1, 0), not_before = now(),
    state = CASE state WHEN 'publishing' THEN 'processed' ELSE 'pending' END
WHERE batch = %(batch)s AND number = %(number)s AND epoch = %(epoch)s AND worker = %(worker)s
    AND state IN ('processing', 'publishing')
"""
_GIVE_BATCH_BACK: Final = """
UPDATE batches SET task_worker = NULL, due_at = now()
WHERE id = %(batch)s AND task_epoch = %(epoch)s AND task_worker = %(worker)s
"""
_AREA: Final = """
SELECT coalesce(sum(c.bytes), 0)::bigint AS bytes, coalesce(bool_or(b.state = 'publishing'
    OR (b.state = 'processing' AND b.on_error = 'skip')), false) AS drains
FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
WHERE c.staging = %(staging)s AND c.state IN ('processed', 'publishing')
"""


@dataclass(frozen=True, slots=True)
class AreaState:
    """What waits in a staging area.

    Attributes:
        bytes: of the source files whose results wait.
        drains: something of it is being published, or may be.
    """

    bytes: int
    drains: bool


class Standing:
    """The tables as one worker asks them.

    Args:
        known: the claims that the worker knows of.
    """

    def __init__(
        self, database: Database, worker: UUID, known: Callable[[], Collection[Key]]
    ) -> None:
        self._database = database
        self._worker = worker
        self._known = known
        self._suspected: frozenset[Key] = frozenset()

    async def give_strays_back(self) -> int:
        """Give back what was unknown to the worker the last time and still is; count it.

        Twice, because the answer to a claim may be under way.
        """
        async with transaction(self._database) as connection:
            found = await rows(connection, _CLAIMED, worker=self._worker)
            unknown = {(f["batch"], f["number"], f["epoch"]) for f in found} - set(self._known())
            strays = unknown & self._suspected
            for batch, number, epoch in strays:
                await run(
                    connection,
                    _GIVE_BATCH_BACK if number == _WHOLE else _GIVE_CHUNK_BACK,
                    batch=batch,
                    number=number,
                    epoch=epoch,
                    worker=self._worker,
                )
        self._suspected = frozenset(unknown - strays)
        return len(strays)

    async def holds_batch(self, claim: FinishClaim) -> bool:
        """Whether a batch is still this worker's to be finished."""
        async with transaction(self._database) as connection:
            found = await row(
                connection,
                "SELECT id FROM batches WHERE id = %(batch)s AND task_epoch = %(epoch)s"
                " AND task_worker = %(worker)s AND state = 'publishing'",
                batch=claim.batch.batch_id,
                epoch=claim.epoch,
                worker=self._worker,
            )
        return found is not None

    async def scanned_bytes(self, batch_id: UUID) -> int:
        """Return the bytes of the files that are listed so far."""
        async with transaction(self._database) as connection:
            found = await row(
                connection, "SELECT total_bytes FROM batches WHERE id = %(batch)s", batch=batch_id
            )
        return int(found["total_bytes"]) if found else 0


async def area_state(database: Database, staging: UUID) -> AreaState:
    """Ask what waits in a staging area."""
    async with transaction(database) as connection:
        found = await row(connection, _AREA, staging=staging)
    return AreaState(int(found["bytes"]), bool(found["drains"])) if found else AreaState(0, False)


def key_of(claim: ScanClaim | ChunkClaim | PublishClaim | FinishClaim) -> Key:
    """Name a claim."""
    if isinstance(claim, ChunkClaim | PublishClaim):
        return claim.batch_id, claim.number, claim.epoch
    if isinstance(claim, ScanClaim):
        return claim.batch_id, _WHOLE, claim.epoch
    return claim.batch.batch_id, _WHOLE, claim.epoch
