"""Claims on the listing of a source and on its chunks of files."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches import results as item_results
from app.batches.claims import Claims
from app.batches.cutting import insert_chunks
from app.batches.records import ChunkClaim, ItemResult, ScanClaim, SourceFile
from app.batches.reopening import open_page
from app.batches.results import Names
from app.batches.settling import defer_for, lock_batch, settle
from app.batches.sql import IS_OPEN, batch_row, row, rows, run, transaction
from app.batches.states import BatchState, ChunkState, OnError, Priority
from app.batches.tickets import Task, defer

_TAKE_SCAN: Final = """
UPDATE batches SET state = 'processing', version = version + 1, task_worker = %(worker)s,
    task_epoch = task_epoch + 1, started_at = coalesce(started_at, now())
WHERE id = (SELECT id FROM batches
    WHERE state IN ('queued', 'processing', 'publishing') AND state <> 'publishing'
    AND (NOT is_scanned OR reopening IS NOT NULL) AND task_worker IS NULL AND due_at <= now()
    AND (home IS NULL OR home = %(staging)s)
    ORDER BY priority DESC, submitted_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id, task_epoch, total_files, chunks, sealed_cursor,
    reopening IS NOT NULL AS is_reopening
"""
_COUNT_SCANNED: Final = """
UPDATE batches SET version = version + 1, chunks = chunks + %(chunks)s,
    open_chunks = open_chunks + %(chunks)s, unpublished_chunks = unpublished_chunks + %(chunks)s,
    total_files = total_files + %(files)s, total_bytes = total_bytes + %(bytes)s,
    sealed_cursor = %(cursor)s, waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s AND task_epoch = %(epoch)s AND state = 'processing' AND NOT is_scanned
"""
_FINISH_SCAN: Final = """
UPDATE batches SET is_scanned = true, task_worker = NULL, version = version + 1,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s AND task_epoch = %(epoch)s AND state = 'processing' AND NOT is_scanned
"""
# By priority and organisation the oldest batch that has something to do, found from index entry
# to index entry: what it costs grows with the organisations, not with the batches.
_DUE_BATCHES: Final = f"""
WITH RECURSIVE place AS (
    (SELECT priority, organization FROM batches WHERE state = 'processing'
        ORDER BY priority DESC, organization LIMIT 1)
    UNION ALL
    SELECT next.priority, next.organization FROM place CROSS JOIN LATERAL (
        (SELECT b.priority, b.organization FROM batches AS b WHERE b.state = 'processing'
            AND b.priority = place.priority AND b.organization > place.organization
            ORDER BY b.priority DESC, b.organization LIMIT 1)
        UNION ALL
        (SELECT b.priority, b.organization FROM batches AS b WHERE b.state = 'processing'
            AND b.priority < place.priority ORDER BY b.priority DESC, b.organization LIMIT 1)
        LIMIT 1) AS next
)
SELECT due.id, due.shut_from, due.shut_until FROM place
CROSS JOIN LATERAL (
    SELECT b.id, b.submitted_at, b.reopening_from AS shut_from, b.reopening_until AS shut_until
    FROM batches AS b
    WHERE b.state = 'processing' AND b.priority = place.priority
        AND b.organization = place.organization
        AND (b.home IS NULL OR b.home = %(staging)s) AND b.open_chunks > 0
        AND b.parked_behind IS NULL
        AND EXISTS (SELECT FROM batch_chunks AS c
            WHERE c.batch = b.id AND c.state = 'pending' AND c.not_before <= now() AND {IS_OPEN})
    ORDER BY b.submitted_at, b.id LIMIT 2) AS due
LEFT JOIN (SELECT organization, count(*) AS chunks FROM batch_chunks
    WHERE state IN ('processing', 'publishing') AND state = 'processing'
    GROUP BY organization) AS running USING (organization)
LEFT JOIN batch_turns AS turn USING (organization)
ORDER BY place.priority DESC, coalesce(running.chunks, 0), turn.taken_at NULLS FIRST,
    due.submitted_at, due.id
LIMIT 16
"""  # noqa: S608 - constants
_TAKE_CHUNK: Final = """
UPDATE batch_chunks SET state = 'processing', epoch = epoch + 1, attempts = attempts + 1,
    worker = %(worker)s
WHERE batch = %(batch)s AND number = (SELECT number FROM batch_chunks
    WHERE batch = %(batch)s AND state = 'pending' AND not_before <= now()
    AND (number >= %(shut_from)s::int AND number < %(shut_until)s::int) IS NOT TRUE
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING number, epoch, attempts, sealed_files
"""
_TURN: Final = """
INSERT INTO batch_turns (organization, taken_at) VALUES (%(organization)s, clock_timestamp())
ON CONFLICT (organization) DO UPDATE SET taken_at = clock_timestamp()
"""


class Scans(Claims):
    """The right to list a batch's source, and before to open it again where it is tried again."""

    async def claim_scan(self, worker: UUID, staging: UUID) -> ScanClaim | None:
        """Claim the most urgent batch whose source is to be listed."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_SCAN, worker=worker, staging=staging)
            if taken is None:
                return None
            batch = await batch_row(connection, taken["id"])
        organization, batch_id = batch["organization_id"], batch["id"]
        return ScanClaim(
            batch_id=batch_id,
            organization=organization,
            epoch=taken["task_epoch"],
            request=self._box.open_request(organization, batch_id, batch["sealed_request"]),
            priority=Priority(batch["priority"]),
            on_error=OnError(batch["on_error"]),
            next_seq=taken["total_files"],
            next_chunk=taken["chunks"],
            after=self._box.open_cursor(organization, batch_id, taken["sealed_cursor"]),
            is_reopening=taken["is_reopening"],
        )

    async def add_chunks(
        self, claim: ScanClaim, chunks: Sequence[Sequence[SourceFile]]
    ) -> ScanClaim | None:
        """Add chunks of listed files, in one transaction with their tickets.

        Returns:
            The claim for what comes next, or None where it is lost.
        """
        organization, batch_id = claim.organization, claim.batch_id
        numbers = range(claim.next_chunk, claim.next_chunk + len(chunks))
        last = chunks[-1][-1].name
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, batch_id)
            if batch is None or not await run(
                connection,
                _COUNT_SCANNED,
                batch=batch_id,
                epoch=claim.epoch,
                chunks=len(chunks),
                files=sum(map(len, chunks)),
                bytes=sum(file.size for chunk in chunks for file in chunk),
                cursor=self._box.seal_cursor(organization, batch_id, last),
            ):
                return None
            added = dict(zip(numbers, chunks, strict=True))
            await insert_chunks(connection, self._box, organization, batch, added)
            await defer_for(connection, batch, Task.PROCESS, count=len(chunks))
        return replace(
            claim,
            next_seq=claim.next_seq + sum(map(len, chunks)),
            next_chunk=numbers.stop,
            after=last,
        )

    async def open_page(self, claim: ScanClaim) -> bool:
        """Open the next page of a batch that is opened again.

        Returns:
            Whether pages are left; False as well where the claim is lost.
        """
        async with transaction(self._database) as connection:
            batch = await self._held(connection, claim)
            if batch is None:
                return False
            return await open_page(connection, self._box, claim.organization, claim.batch_id)

    async def finish_scan(self, claim: ScanClaim) -> bool:
        """Say that every file is listed."""
        async with transaction(self._database) as connection:
            if not await run(connection, _FINISH_SCAN, batch=claim.batch_id, epoch=claim.epoch):
                return False
            await settle(connection, claim.batch_id)
        return True


class ItemsAddedBefore(Exception):
    """A chunk that nobody has finished has items."""


class _NotTaken(Exception):
    """The chunk is not the claimant's any more: what its transaction did is taken back."""


class Chunks(Claims):
    """The right to de-identify a chunk of files."""

    async def claim_chunk(self, worker: UUID, staging: UUID) -> ChunkClaim | None:
        """Claim a chunk: of the most urgent batches, of the organisation whose turn it is."""
        async with transaction(self._database) as connection:
            for due in await rows(connection, _DUE_BATCHES, staging=staging):
                taken = await row(
                    connection,
                    _TAKE_CHUNK,
                    batch=due["id"],
                    worker=worker,
                    shut_from=due["shut_from"],
                    shut_until=due["shut_until"],
                )
                if taken is not None:
                    batch = await batch_row(connection, due["id"])
                    await run(connection, _TURN, organization=batch["organization"])
                    break
            else:
                return None
        organization, batch_id = batch["organization_id"], batch["id"]
        return ChunkClaim(
            batch_id=batch_id,
            organization=organization,
            number=taken["number"],
            epoch=taken["epoch"],
            attempts=taken["attempts"],
            request=self._box.open_request(organization, batch_id, batch["sealed_request"]),
            priority=Priority(batch["priority"]),
            on_error=OnError(batch["on_error"]),
            profile=batch["profile"],
            profile_version=batch["profile_version"],
            actor=batch["actor"],
            request_id=batch["request_id"],
            files=self._box.open_files(
                organization, batch_id, taken["number"], taken["sealed_files"]
            ),
        )

    async def finish_chunk(
        self, claim: ChunkClaim, results: Sequence[ItemResult], staging: UUID
    ) -> Sequence[ItemResult] | None:
        """Record what became of every file of a chunk; its results are staged, durably.

        The items are added before the batch is locked, which other chunks wait for, and only
        then it is certain whether the chunk is still the claimant's: if not, they go again.

        Returns:
            The results, doubles recognised: where none succeeded, nothing is to be published.
            None where the chunk is not the claimant's any more.
        """
        names = Names(self._vault.data_key, claim.organization)
        sealed = item_results.sealed(claim.batch_id, results, names)  # before anybody waits for it
        with suppress(_NotTaken):
            async with transaction(self._database) as connection:
                organization = await self._organization(connection, claim)
                settled = await item_results.record(
                    connection,
                    organization=organization,
                    batch_id=claim.batch_id,
                    chunk=claim.number,
                    results=results,
                    sealed=sealed,
                )
                bytes_in = await self._locked_bytes(connection, claim)
                if len(settled) < len(results):
                    raise ItemsAddedBefore
                has_objects = await item_results.count(
                    connection, batch_id=claim.batch_id, results=settled, bytes_in=bytes_in
                )
                await self._stage(connection, claim, staging, has_objects=has_objects)
                if has_objects and claim.on_error is OnError.SKIP:
                    await defer(connection, Task.PUBLISH, staging=staging, priority=claim.priority)
                await settle(connection, claim.batch_id)
            return settled
        return None

    async def _organization(self, connection: AsyncConnection, claim: ChunkClaim) -> int:
        """Return the batch's organisation if the chunk seems to be the claimant's."""
        found = await row(
            connection,
            "SELECT organization FROM batch_chunks WHERE batch = %(batch)s"
            " AND number = %(number)s AND epoch = %(epoch)s AND state = 'processing'",
            batch=claim.batch_id,
            number=claim.number,
            epoch=claim.epoch,
        )
        if found is None:
            raise _NotTaken
        return int(found["organization"])

    async def _locked_bytes(self, connection: AsyncConnection, claim: ChunkClaim) -> int:
        """Lock batch and chunk, and return the chunk's bytes if it is the claimant's."""
        batch = await lock_batch(connection, claim.batch_id)
        if batch is None or batch["state"] != BatchState.PROCESSING:
            raise _NotTaken
        chunk = await row(
            connection,
            "SELECT bytes FROM batch_chunks WHERE batch = %(batch)s AND number = %(number)s"
            " AND epoch = %(epoch)s AND state = 'processing' FOR UPDATE",
            batch=claim.batch_id,
            number=claim.number,
            epoch=claim.epoch,
        )
        if chunk is None:
            raise _NotTaken
        return int(chunk["bytes"])

    async def _stage(
        self, connection: AsyncConnection, claim: ChunkClaim, staging: UUID, *, has_objects: bool
    ) -> None:
        await run(
            connection,
            "UPDATE batch_chunks SET state = %(state)s, worker = NULL, staging = %(staging)s,"
            " staged_epoch = epoch, attempts = 0, not_before = now()"
            " WHERE batch = %(batch)s AND number = %(number)s",
            state=str(ChunkState.PROCESSED if has_objects else ChunkState.PUBLISHED),
            staging=staging,
            batch=claim.batch_id,
            number=claim.number,
        )
