"""Everything that a worker does to the tables of batches.

A claim is a right for as long as the epoch in the database is the claim's and its worker is
heard of. Whoever lost it (it was too slow, was stopped, the batch was cancelled) changes nothing
any more: the methods that answer a bool say False then, and what was done is to be dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.aftermath import Aftermath
from app.batches.chunks import Chunks, Scans
from app.batches.publications import Endings, Publications
from app.batches.records import ChunkClaim, FinishClaim, PublishClaim, ScanClaim
from app.batches.settling import end, lock_batch
from app.batches.sql import row, rows, run, transaction
from app.batches.standing import AreaState, area_state
from app.batches.states import WORKING, BatchState, ChunkState
from app.batches.tickets import Task, defer
from app.errors import StorageUnavailable

# Faults of the destination, each followed by a wait of up to `ending.LONGEST_PAUSE_S`, after which
# the batch is given up: about an hour.
MAX_WAITS: Final = 300

_BACKLOG: Final = """
SELECT coalesce(sum(open_chunks), 0)::bigint AS open_chunks,
    coalesce(sum(unpublished_chunks), 0)::bigint AS unpublished,
    count(*) FILTER (WHERE state = 'queued') AS queued,
    (SELECT count(*) FROM batch_chunks
        WHERE state IN ('processing', 'publishing') AND state = 'processing') AS processing,
    (SELECT count(*) FROM batch_chunks
        WHERE state IN ('processing', 'publishing') AND state = 'publishing') AS publishing
FROM batches WHERE state IN ('queued', 'processing', 'publishing')
"""

_WAITING: Final = """
SELECT CASE WHEN parked_behind IS NULL THEN waiting_for ELSE 'staging-yielded' END AS code,
    count(*) AS batches FROM batches
WHERE state IN ('queued', 'processing', 'publishing')
    AND (waiting_for IS NOT NULL OR parked_behind IS NOT NULL)
GROUP BY 1
"""
_BATCH_WAITS: Final = """
UPDATE batches SET version = version + 1, waiting_for = %(reason)s,
    waiting_since = CASE WHEN waiting_for = %(reason)s THEN waiting_since ELSE now() END,
    waiting_until = CASE WHEN waiting_until > now()
        THEN least(waiting_until, now() + make_interval(secs => %(seconds)s))
        ELSE now() + make_interval(secs => %(seconds)s) END
WHERE id = %(batch)s AND state IN ('queued', 'processing', 'publishing')
"""
_WORKER_WAITS: Final = """
UPDATE batch_workers SET waiting_for = %(reason)s::text,
    waiting_since = CASE WHEN %(reason)s::text IS NOT NULL THEN now() END
WHERE id = %(worker)s AND waiting_for IS DISTINCT FROM %(reason)s::text
"""

Claim: TypeAlias = ScanClaim | ChunkClaim | PublishClaim | FinishClaim


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what is under way; for metrics and autoscaling."""

    waiting_chunks: int
    processing_chunks: int
    staged_chunks: int
    publishing_chunks: int
    waiting_batches: int


class BatchWork(Scans, Chunks, Publications, Endings, Aftermath):
    """All that workers do: scans, chunks, publications, endings and what comes after."""

    async def join(self, staging: UUID) -> UUID:
        """Register a worker process at a staging area and return its id."""
        worker = uuid4()
        async with transaction(self._database) as connection:
            await run(
                connection,
                "INSERT INTO batch_workers (id, staging) VALUES (%(worker)s, %(staging)s)",
                worker=worker,
                staging=staging,
            )
        return worker

    async def leave(self, worker: UUID) -> None:
        """Strike a worker off; what it still claims is lost to it, and goes to others at once.

        `app.batches.upkeep.Upkeep` gives its claims to others at its next round.
        """
        async with transaction(self._database) as connection:
            await run(connection, "DELETE FROM batch_workers WHERE id = %(worker)s", worker=worker)

    async def tell_waiting(self, worker: UUID, reason: str | None) -> None:
        """Say why a worker takes no work just now; None where it does."""
        async with transaction(self._database) as connection:
            await run(connection, _WORKER_WAITS, worker=worker, reason=reason)

    async def give_back(self, claim: Claim, seconds: float = 0.0, reason: str = "") -> None:
        """Let others have what cannot be done now.

        Args:
            claim: where it is lost already, nothing happens.
            seconds: how long to wait before it is tried again, because something it needs does
                not answer; 0 where this worker just ends.
            reason: code of what the batch waits for.
        """
        if isinstance(claim, ScanClaim | FinishClaim):
            await self._give_back_task(claim, seconds, reason)
        else:
            await self._give_back_chunk(claim, seconds, reason)

    async def _give_back_chunk(
        self, claim: ChunkClaim | PublishClaim, seconds: float, reason: str
    ) -> None:
        is_publishing = isinstance(claim, PublishClaim)
        # Waiting for a destination counts as an attempt, everything else does not.
        counts = is_publishing and seconds > 0
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, claim.batch_id)
            given = await row(
                connection,
                "UPDATE batch_chunks SET state = %(new)s, worker = NULL,"
                " attempts = attempts - %(back)s, waits = waits + 1 - %(back)s,"
                " not_before = now() + make_interval(secs => %(seconds)s)"
                " WHERE batch = %(batch)s AND number = %(number)s AND epoch = %(epoch)s"
                " AND state = %(old)s RETURNING staging, waits,"
                " (SELECT home FROM batches WHERE id = batch_chunks.batch) AS home",
                new=str(ChunkState.PROCESSED if is_publishing else ChunkState.PENDING),
                old=str(ChunkState.PUBLISHING if is_publishing else ChunkState.PROCESSING),
                back=0 if counts else 1,
                seconds=seconds,
                batch=claim.batch_id,
                number=claim.number,
                epoch=claim.epoch,
            )
            if given is None or batch is None:
                return
            if given["waits"] >= MAX_WAITS and batch["state"] in WORKING:
                error = StorageUnavailable("The destination does not answer")
                await end(connection, batch, BatchState.FAILED, error)
                return
            await self._wait(connection, claim.batch_id, seconds, reason)
            await defer(
                connection,
                Task.PUBLISH if is_publishing else Task.PROCESS,
                staging=given["staging"] if is_publishing else given["home"],
                priority=claim.priority,
                delay_s=seconds,
            )

    async def _wait(
        self, connection: AsyncConnection, batch_id: UUID, seconds: float, reason: str
    ) -> None:
        """Note in the batch what it waits for, until it gets on."""
        if reason:
            await run(connection, _BATCH_WAITS, batch=batch_id, seconds=seconds, reason=reason)

    async def _give_back_task(
        self, claim: ScanClaim | FinishClaim, seconds: float, reason: str
    ) -> None:
        async with transaction(self._database) as connection:
            batch = await self._held(connection, claim)
            if batch is None:
                return
            await run(
                connection,
                "UPDATE batches SET task_worker = NULL,"
                " due_at = now() + make_interval(secs => %(seconds)s) WHERE id = %(batch)s",
                seconds=seconds,
                batch=batch["id"],
            )
            await self._wait(connection, batch["id"], seconds, reason)
            await defer(
                connection,
                Task.SCAN if isinstance(claim, ScanClaim) else Task.FINISH,
                staging=batch["home"],
                priority=batch["priority"],
                delay_s=seconds,
            )

    async def staged_bytes(self, staging: UUID) -> int:
        """Return the bytes of the source files whose results wait in a staging area."""
        async with transaction(self._database) as connection:
            found = await row(
                connection,
                "SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM batch_chunks"
                " WHERE staging = %(staging)s AND state IN ('processed', 'publishing')",
                staging=staging,
            )
        return int(found["bytes"]) if found else 0

    async def area(self, staging: UUID) -> AreaState:
        """Ask what waits in a staging area."""
        return await area_state(self._database, staging)

    async def waiting(self) -> Mapping[str, int]:
        """Count the batches that do not get on, by what they wait for."""
        async with transaction(self._database) as connection:
            found = await rows(connection, _WAITING)
        return {entry["code"]: entry["batches"] for entry in found}

    async def backlog(self) -> Backlog:
        """Count what waits, from the counters of the batches that are worked on."""
        async with transaction(self._database) as connection:
            found = (await rows(connection, _BACKLOG))[0]
        return Backlog(
            waiting_chunks=found["open_chunks"] - found["processing"],
            processing_chunks=found["processing"],
            staged_chunks=found["unpublished"] - found["open_chunks"] - found["publishing"],
            publishing_chunks=found["publishing"],
            waiting_batches=found["queued"],
        )
