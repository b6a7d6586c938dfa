"""Everything that a worker does to the tables of batches: claims, and what comes of them.

A claim is a right for as long as the epoch in the database is the claim's and its worker is
heard of. Whoever lost it (it was too slow, was stopped, the batch was cancelled) changes nothing
any more: the methods that answer a bool say False then, and what was done is to be dropped.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.events import SUCCESS, AuditEvent
from app.batches import results as item_results
from app.batches.records import (
    Batch,
    CallbackClaim,
    ChunkClaim,
    CleanClaim,
    FinishClaim,
    ItemResult,
    ManifestEntry,
    PublishClaim,
    ScanClaim,
    SourceFile,
    StagedObject,
)
from app.batches.results import Names
from app.batches.sealing import BatchBox
from app.batches.settling import defer_for, end, lock_batch, settle, unsettle
from app.batches.sql import BATCH_COLUMNS, BATCH_TABLES, batch_of, row, rows, run, transaction
from app.batches.states import BatchState, ChunkState, ItemState, OnError, Priority
from app.batches.tickets import Task, defer
from app.db.session import Database, database_errors
from app.errors import GatewayError, StorageUnavailable

if TYPE_CHECKING:
    from app.vault.service import Vault

# Faults of the destination, each followed by a longer wait, after which the batch is given up.
MAX_PUBLISH_ATTEMPTS: Final = 60
CALLBACK_LEASE_S: Final = 120
CLEAN_LEASE_S: Final = 300
PAGE: Final = 5000

_DUE_BATCHES: Final = """
SELECT b.id FROM batches AS b
LEFT JOIN (SELECT organization, count(*) AS chunks FROM batch_chunks
    WHERE state = 'processing' GROUP BY organization) AS running USING (organization)
LEFT JOIN batch_turns AS turn USING (organization)
WHERE b.state IN ('queued', 'processing', 'publishing') AND b.state = 'processing'
    AND (b.home IS NULL OR b.home = %(staging)s) AND b.open_chunks > 0
    AND EXISTS (SELECT FROM batch_chunks AS c
        WHERE c.batch = b.id AND c.state = 'pending' AND c.not_before <= now())
ORDER BY b.priority DESC, coalesce(running.chunks, 0), turn.taken_at NULLS FIRST,
    b.submitted_at, b.id
LIMIT 8
"""
_TAKE_CHUNK: Final = """
UPDATE batch_chunks SET state = 'processing', epoch = epoch + 1, attempts = attempts + 1,
    worker = %(worker)s
WHERE batch = %(batch)s AND number = (SELECT number FROM batch_chunks
    WHERE batch = %(batch)s AND state = 'pending' AND not_before <= now()
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING number, epoch, attempts, sealed_files
"""
_TURN: Final = """
INSERT INTO batch_turns (organization, taken_at) VALUES (%(organization)s, clock_timestamp())
ON CONFLICT (organization) DO UPDATE SET taken_at = clock_timestamp()
"""
_TAKE_SCAN: Final = """
UPDATE batches SET state = 'processing', version = version + 1, task_worker = %(worker)s,
    task_epoch = task_epoch + 1, started_at = coalesce(started_at, now())
WHERE id = (SELECT id FROM batches
    WHERE state IN ('queued', 'processing', 'publishing') AND state <> 'publishing'
    AND NOT is_scanned AND task_worker IS NULL AND due_at <= now()
    AND (home IS NULL OR home = %(staging)s)
    ORDER BY priority DESC, submitted_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, task_epoch, total_files, chunks, sealed_cursor
"""
_ADD_CHUNKS: Final = """
INSERT INTO batch_chunks (batch, number, organization, files, bytes, sealed_files)
SELECT %(batch)s, number, %(organization)s, files, bytes, sealed
FROM unnest(%(numbers)s::int[], %(files)s::int[], %(bytes)s::bigint[], %(sealed)s::bytea[])
    AS new (number, files, bytes, sealed)
"""
_COUNT_SCANNED: Final = """
UPDATE batches SET version = version + 1, chunks = chunks + %(chunks)s,
    open_chunks = open_chunks + %(chunks)s, unpublished_chunks = unpublished_chunks + %(chunks)s,
    total_files = total_files + %(files)s, total_bytes = total_bytes + %(bytes)s,
    sealed_cursor = %(cursor)s
WHERE id = %(batch)s AND task_epoch = %(epoch)s AND state = 'processing' AND NOT is_scanned
"""
_FINISH_SCAN: Final = """
UPDATE batches SET is_scanned = true, task_worker = NULL, version = version + 1
WHERE id = %(batch)s AND task_epoch = %(epoch)s AND state = 'processing' AND NOT is_scanned
"""
_DUE_FOR_PUBLISHING: Final = """
SELECT b.id, b.organization FROM batches AS b
WHERE (b.state = 'publishing' OR (b.state = 'processing' AND b.on_error = 'skip'))
    AND b.state IN ('queued', 'processing', 'publishing') AND b.unpublished_chunks > 0
    AND EXISTS (SELECT FROM batch_chunks AS c WHERE c.staging = %(staging)s AND c.batch = b.id
        AND c.state IN ('processed', 'publishing') AND c.state = 'processed'
        AND c.not_before <= now())
ORDER BY b.priority DESC, b.submitted_at, b.id LIMIT 8
"""
_TAKE_PUBLISH: Final = """
UPDATE batch_chunks SET state = 'publishing', epoch = epoch + 1, attempts = attempts + 1,
    worker = %(worker)s
WHERE batch = %(batch)s AND number = (SELECT number FROM batch_chunks
    WHERE staging = %(staging)s AND batch = %(batch)s
    AND state IN ('processed', 'publishing') AND state = 'processed' AND not_before <= now()
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING number, epoch, attempts, staged_epoch
"""
_OBJECTS: Final = """
SELECT seq, cloud_study_id, study_uid, coalesce(series_uid, '') AS series_uid, sop_instance_uid,
    size, sha256
FROM batch_items WHERE batch = %(batch)s AND chunk = %(chunk)s AND state = 'succeeded'
ORDER BY seq
"""
_TAKE_FINISH: Final = """
UPDATE batches SET task_worker = %(worker)s, task_epoch = task_epoch + 1
WHERE id = (SELECT id FROM batches
    WHERE state IN ('queued', 'processing', 'publishing') AND state = 'publishing'
    AND unpublished_chunks = 0 AND task_worker IS NULL AND due_at <= now()
    AND (home IS NULL OR home = %(staging)s)
    ORDER BY priority DESC, submitted_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, task_epoch
"""
_ENTRIES: Final = """
SELECT cloud_study_id, study_uid, coalesce(series_uid, '') AS series_uid,
    coalesce(modality, '') AS modality, sop_instance_uid, coalesce(sop_class_uid, ''), size, sha256
FROM batch_items WHERE batch = %s AND state = 'succeeded'
ORDER BY cloud_study_id, series_uid, sop_instance_uid
"""
_TAKE_LEFTOVER: Final = """
UPDATE batch_leftovers SET due_at = now() + make_interval(secs => %(lease)s),
    attempts = attempts + 1
WHERE id = (SELECT id FROM batch_leftovers
    WHERE due_at <= now() AND (staging IS NULL OR staging = %(staging)s)
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, batch, organization, kind, sealed_request, attempts,
    (SELECT id FROM organizations WHERE number = batch_leftovers.organization) AS organization_id
"""
_TAKE_CALLBACK: Final = """
UPDATE batches SET callback_due_at = now() + make_interval(secs => %(lease)s),
    callback_attempts = callback_attempts + 1
WHERE id = (SELECT id FROM batches WHERE callback_due_at <= now()
    ORDER BY callback_due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, callback_attempts
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


class BatchWork:
    """The tables of batches as workers see them.

    Args:
        database: where they are.
        box: opens what workers must read.
        vault: seals the names of files for the way back; records the audit.
    """

    def __init__(self, database: Database, box: BatchBox, vault: "Vault") -> None:
        self._database = database
        self._box = box
        self._vault = vault

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

    # The scan

    async def claim_scan(self, worker: UUID, staging: UUID) -> ScanClaim | None:
        """Claim the most urgent batch whose source is to be listed."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_SCAN, worker=worker, staging=staging)
            if taken is None:
                return None
            batch = await _batch_row(connection, taken["id"])
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
            await run(
                connection,
                _ADD_CHUNKS,
                batch=batch_id,
                organization=batch["organization"],
                numbers=list(numbers),
                files=[len(chunk) for chunk in chunks],
                bytes=[sum(file.size for file in chunk) for chunk in chunks],
                sealed=[
                    self._box.seal_files(organization, batch_id, number, chunk)
                    for number, chunk in zip(numbers, chunks, strict=True)
                ],
            )
            await defer_for(connection, batch, Task.PROCESS, count=len(chunks))
        return ScanClaim(
            batch_id=batch_id,
            organization=organization,
            epoch=claim.epoch,
            request=claim.request,
            priority=claim.priority,
            on_error=claim.on_error,
            next_seq=claim.next_seq + sum(map(len, chunks)),
            next_chunk=numbers.stop,
            after=last,
        )

    async def finish_scan(self, claim: ScanClaim) -> bool:
        """Say that every file is listed."""
        async with transaction(self._database) as connection:
            if not await run(connection, _FINISH_SCAN, batch=claim.batch_id, epoch=claim.epoch):
                return False
            await settle(connection, claim.batch_id)
        return True

    # De-identifying

    async def claim_chunk(self, worker: UUID, staging: UUID) -> ChunkClaim | None:
        """Claim a chunk: of the most urgent batches, of the organisation whose turn it is."""
        async with transaction(self._database) as connection:
            for due in await rows(connection, _DUE_BATCHES, staging=staging):
                taken = await row(connection, _TAKE_CHUNK, batch=due["id"], worker=worker)
                if taken is not None:
                    batch = await _batch_row(connection, due["id"])
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
    ) -> bool:
        """Record what became of every file of a chunk; its results are staged, durably."""
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, claim.batch_id)
            if batch is None or batch["state"] != BatchState.PROCESSING:
                return False
            chunk = await row(
                connection,
                "SELECT bytes FROM batch_chunks WHERE batch = %(batch)s AND number = %(number)s"
                " AND epoch = %(epoch)s AND state = 'processing' FOR UPDATE",
                batch=claim.batch_id,
                number=claim.number,
                epoch=claim.epoch,
            )
            if chunk is None:
                return False
            settled = await item_results.record(
                connection,
                organization=batch["organization"],
                batch_id=claim.batch_id,
                chunk=claim.number,
                results=results,
                names=Names(self._vault.data_key, claim.organization),
            )
            has_objects = await item_results.count(
                connection, batch_id=claim.batch_id, results=settled, bytes_in=chunk["bytes"]
            )
            await self._stage(connection, claim, staging, has_objects=has_objects)
            if has_objects and claim.on_error is OnError.SKIP:
                await defer(connection, Task.PUBLISH, staging=staging, priority=claim.priority)
            await settle(connection, claim.batch_id)
        return True

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

    # Publishing

    async def claim_publish(self, worker: UUID, staging: UUID) -> PublishClaim | None:
        """Claim a staged chunk that may be published; it is staged where the worker is."""
        async with transaction(self._database) as connection:
            for due in await rows(connection, _DUE_FOR_PUBLISHING, staging=staging):
                taken = await row(
                    connection, _TAKE_PUBLISH, batch=due["id"], worker=worker, staging=staging
                )
                if taken is not None:
                    break
            else:
                return None
            batch = await _batch_row(connection, due["id"])
            found = await rows(connection, _OBJECTS, batch=due["id"], chunk=taken["number"])
        organization, batch_id = batch["organization_id"], batch["id"]
        return PublishClaim(
            batch_id=batch_id,
            organization=organization,
            number=taken["number"],
            epoch=taken["epoch"],
            staged_epoch=taken["staged_epoch"],
            is_first=taken["attempts"] == 1,
            attempts=taken["attempts"],
            request=self._box.open_request(organization, batch_id, batch["sealed_request"]),
            priority=Priority(batch["priority"]),
            objects=tuple(
                StagedObject(**{**entry, "sha256": bytes(entry["sha256"])}) for entry in found
            ),
        )

    async def finish_publish(self, claim: PublishClaim) -> bool:
        """Say that every object of a chunk is at the destination, verified and durable."""
        async with transaction(self._database) as connection:
            if not await self._lock_published(connection, claim):
                return False
            await run(
                connection,
                "UPDATE batch_chunks SET state = 'published', worker = NULL"
                " WHERE batch = %(batch)s AND number = %(number)s",
                batch=claim.batch_id,
                number=claim.number,
            )
            await run(
                connection,
                "UPDATE batches SET version = version + 1,"
                " published_files = published_files + %(objects)s,"
                " unpublished_chunks = unpublished_chunks - 1 WHERE id = %(batch)s",
                objects=len(claim.objects),
                batch=claim.batch_id,
            )
            await settle(connection, claim.batch_id)
        return True

    async def restage(self, claim: PublishClaim) -> bool:
        """Have a chunk de-identified again, because its staged results are gone or damaged."""
        async with transaction(self._database) as connection:
            batch = await self._lock_published(connection, claim)
            if batch is None:
                return False
            await unsettle(connection, batch, claim.number)
        return True

    async def _lock_published(
        self, connection: AsyncConnection, claim: PublishClaim
    ) -> RowMapping | None:
        """Lock batch and chunk, and return the batch where the claim still holds."""
        batch = await lock_batch(connection, claim.batch_id)
        if batch is None or batch["state"] not in {BatchState.PROCESSING, BatchState.PUBLISHING}:
            return None
        held = await row(
            connection,
            "SELECT number FROM batch_chunks WHERE batch = %(batch)s AND number = %(number)s"
            " AND epoch = %(epoch)s AND state = 'publishing' FOR UPDATE",
            batch=claim.batch_id,
            number=claim.number,
            epoch=claim.epoch,
        )
        return batch if held is not None else None

    # The end

    async def claim_finish(self, worker: UUID, staging: UUID) -> FinishClaim | None:
        """Claim a batch whose objects are all published and whose manifest is not."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_FINISH, worker=worker, staging=staging)
            if taken is None:
                return None
            found = await _batch_row(connection, taken["id"])
        request = self._box.open_request(
            found["organization_id"], found["id"], found["sealed_request"]
        )
        return FinishClaim(batch_of(found, None), taken["task_epoch"], request)

    async def entries(self, claim: FinishClaim) -> AsyncIterator[Sequence[ManifestEntry]]:
        """Yield the published objects in pages, by study, series and instance."""
        with database_errors():
            connection = await self._database.connect()
            async with connection:
                await connection.execute("SET statement_timeout = 0")
                async with connection.cursor(name="entries") as cursor:
                    await cursor.execute(_ENTRIES, [claim.batch.batch_id])
                    while page := await cursor.fetchmany(PAGE):
                        yield [_entry(found) for found in page]

    async def finish(self, claim: FinishClaim, manifest_path: str) -> bool:
        """End a batch whose manifest lies at the destination."""
        batch = claim.batch
        is_whole = not batch.refused_files and not batch.failed_files
        state = BatchState.SUCCEEDED if is_whole else BatchState.PARTIAL
        await self._audit(batch, state)
        async with transaction(self._database) as connection:
            locked = await self._lock_task(connection, claim)
            if locked is None or locked["state"] != BatchState.PUBLISHING:
                return False
            await run(
                connection,
                "UPDATE batches SET manifest_path = %(path)s, revision = revision + 1"
                " WHERE id = %(batch)s",
                path=manifest_path,
                batch=batch.batch_id,
            )
            await end(connection, locked, state)
        return True

    async def fail(self, claim: Claim, error: GatewayError) -> bool:
        """End a batch that cannot be done as a whole."""
        async with transaction(self._database) as connection:
            if isinstance(claim, PublishClaim):
                batch = await self._lock_published(connection, claim)
            elif isinstance(claim, ChunkClaim):
                batch = await lock_batch(connection, claim.batch_id)
            else:
                batch = await self._lock_task(connection, claim)
            if batch is None or batch["state"] not in {
                BatchState.PROCESSING,
                BatchState.PUBLISHING,
            }:
                return False
            await end(connection, batch, BatchState.FAILED, error)
        return True

    async def give_back(self, claim: Claim, seconds: float = 0.0) -> None:
        """Let others have what cannot be done now.

        Args:
            claim: where it is lost already, nothing happens.
            seconds: how long to wait before it is tried again, because something it needs does
                not answer; 0 where this worker just ends.
        """
        if isinstance(claim, ScanClaim | FinishClaim):
            await self._give_back_task(claim, seconds)
        elif isinstance(claim, ChunkClaim):
            await self._give_back_chunk(claim, seconds)
        elif seconds and claim.attempts >= MAX_PUBLISH_ATTEMPTS:
            await self.fail(claim, StorageUnavailable("The destination does not answer"))
        else:
            await self._give_back_chunk(claim, seconds)

    async def _give_back_chunk(self, claim: ChunkClaim | PublishClaim, seconds: float) -> None:
        is_publishing = isinstance(claim, PublishClaim)
        # Waiting for a destination counts as an attempt, everything else does not.
        counts = is_publishing and seconds > 0
        async with transaction(self._database) as connection:
            given = await row(
                connection,
                "UPDATE batch_chunks SET state = %(new)s, worker = NULL,"
                " attempts = attempts - %(back)s,"
                " not_before = now() + make_interval(secs => %(seconds)s)"
                " WHERE batch = %(batch)s AND number = %(number)s AND epoch = %(epoch)s"
                " AND state = %(old)s RETURNING staging,"
                " (SELECT home FROM batches WHERE id = batch_chunks.batch) AS home",
                new=str(ChunkState.PROCESSED if is_publishing else ChunkState.PENDING),
                old=str(ChunkState.PUBLISHING if is_publishing else ChunkState.PROCESSING),
                back=0 if counts else 1,
                seconds=seconds,
                batch=claim.batch_id,
                number=claim.number,
                epoch=claim.epoch,
            )
            if given is not None:
                await defer(
                    connection,
                    Task.PUBLISH if is_publishing else Task.PROCESS,
                    staging=given["staging"] if is_publishing else given["home"],
                    priority=claim.priority,
                    delay_s=seconds,
                )

    async def _give_back_task(self, claim: ScanClaim | FinishClaim, seconds: float) -> None:
        async with transaction(self._database) as connection:
            batch = await self._lock_task(connection, claim)
            if batch is None:
                return
            await run(
                connection,
                "UPDATE batches SET task_worker = NULL,"
                " due_at = now() + make_interval(secs => %(seconds)s) WHERE id = %(batch)s",
                seconds=seconds,
                batch=batch["id"],
            )
            await defer(
                connection,
                Task.SCAN if isinstance(claim, ScanClaim) else Task.FINISH,
                staging=batch["home"],
                priority=batch["priority"],
                delay_s=seconds,
            )

    async def _lock_task(
        self, connection: AsyncConnection, claim: ScanClaim | FinishClaim
    ) -> RowMapping | None:
        batch_id = claim.batch_id if isinstance(claim, ScanClaim) else claim.batch.batch_id
        batch = await lock_batch(connection, batch_id)
        held = await row(
            connection,
            "SELECT id FROM batches WHERE id = %(batch)s AND task_epoch = %(epoch)s"
            " AND task_worker IS NOT NULL",
            batch=batch_id,
            epoch=claim.epoch,
        )
        return batch if held is not None else None

    # What comes after

    async def claim_clean(self, staging: UUID) -> CleanClaim | None:
        """Claim something to be tidied up; it comes again when it is not finished in time."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_LEFTOVER, staging=staging, lease=CLEAN_LEASE_S)
        if taken is None:
            return None
        request = self._box.open_request(
            taken["organization_id"], taken["batch"], taken["sealed_request"]
        )
        return CleanClaim(
            leftover_id=taken["id"],
            batch_id=taken["batch"],
            organization=taken["organization_id"],
            kind=taken["kind"],
            request=request,
            attempts=taken["attempts"],
        )

    async def finish_clean(self, claim: CleanClaim) -> None:
        """Say that it is tidied up."""
        async with transaction(self._database) as connection:
            await run(
                connection,
                "DELETE FROM batch_leftovers WHERE id = %(leftover)s",
                leftover=claim.leftover_id,
            )

    async def claim_callback(self) -> CallbackClaim | None:
        """Claim a client that is to be told; it comes again when it is not finished in time."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_CALLBACK, lease=CALLBACK_LEASE_S)
            if taken is None:
                return None
            found = await _batch_row(connection, taken["id"])
        request = self._box.open_request(
            found["organization_id"], found["id"], found["sealed_request"]
        )
        return CallbackClaim(
            batch_of(found, None), request.callback_url or "", taken["callback_attempts"]
        )

    async def finish_callback(self, claim: CallbackClaim, retry_in_s: float | None) -> None:
        """Say that a client was told, or given up (None), or is to be told again later."""
        async with transaction(self._database) as connection:
            await run(
                connection,
                "UPDATE batches SET callback_due_at ="
                " now() + make_interval(secs => %(seconds)s::double precision)"
                " WHERE id = %(batch)s AND callback_attempts = %(attempt)s",
                seconds=retry_in_s,
                batch=claim.batch.batch_id,
                attempt=claim.attempt,
            )
            if retry_in_s is not None:
                await defer(connection, Task.CALL_BACK, delay_s=retry_in_s)

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

    async def backlog(self) -> Backlog:
        """Count what waits."""
        async with transaction(self._database) as connection:
            found = await rows(
                connection,
                "SELECT c.state, count(*) AS chunks FROM batch_chunks AS c JOIN batches AS b"
                " ON b.id = c.batch WHERE b.state IN ('queued', 'processing', 'publishing')"
                " AND c.state <> 'published' GROUP BY c.state"
                " UNION ALL SELECT 'batches', count(*) FROM batches WHERE state = 'queued'",
            )
        counts = {entry["state"]: entry["chunks"] for entry in found}
        return Backlog(
            waiting_chunks=counts.get("pending", 0),
            processing_chunks=counts.get("processing", 0),
            staged_chunks=counts.get("processed", 0),
            publishing_chunks=counts.get("publishing", 0),
            waiting_batches=counts.get("batches", 0),
        )

    async def _audit(self, batch: Batch, state: BatchState) -> None:
        """Put into the audit what a batch published; before it ends, or it does not end."""
        await self._vault.audit(
            AuditEvent(
                action="batch-publish",
                outcome=SUCCESS,
                organization=batch.organization,
                actor=f"batch:{batch.batch_id}",
                profile=batch.profile,
                profile_version=batch.profile_version,
                detail={
                    "batch_id": str(batch.batch_id),
                    "state": str(state),
                    "revision": batch.revision + 1,
                    **{str(s): getattr(batch, f"{s}_files") for s in ItemState},
                },
            )
        )


async def _batch_row(connection: AsyncConnection, batch_id: UUID) -> RowMapping:
    found = await rows(
        connection,
        f"SELECT {BATCH_COLUMNS} FROM {BATCH_TABLES} WHERE b.id = %(batch)s",  # noqa: S608 - constants
        batch=batch_id,
    )
    return found[0]


def _entry(found: Sequence[Any]) -> ManifestEntry:
    study, study_uid, series_uid, modality, sop_instance_uid, sop_class_uid, size, sha256 = found
    return ManifestEntry(
        cloud_study_id=study,
        study_uid=study_uid,
        series_uid=series_uid,
        modality=modality,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        size=size,
        sha256=bytes(sha256),
    )
