"""Claims on staged chunks that are to be published, and on the end of a batch."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import UUID

from app.audit.events import SUCCESS, AuditEvent
from app.batches.claims import Claims
from app.batches.records import (
    Batch,
    FinishClaim,
    ManifestEntry,
    PublishClaim,
    StagedObject,
)
from app.batches.settling import end, settle, unsettle
from app.batches.sql import IS_OPEN, batch_of, batch_row, row, rows, run, transaction
from app.batches.states import BatchState, ItemState, Priority
from app.db.session import database_errors

PAGE: Final = 5000

_DUE_FOR_PUBLISHING: Final = f"""
SELECT b.id, b.organization,
    CASE WHEN b.state = 'processing' THEN b.reopening_from END AS shut_from,
    CASE WHEN b.state = 'processing' THEN b.reopening_until END AS shut_until
FROM batches AS b
WHERE (b.state = 'publishing' OR (b.state = 'processing' AND b.on_error = 'skip'))
    AND b.state IN ('queued', 'processing', 'publishing') AND b.unpublished_chunks > 0
    AND EXISTS (SELECT FROM batch_chunks AS c WHERE c.staging = %(staging)s AND c.batch = b.id
        AND c.state IN ('processed', 'publishing') AND c.state = 'processed'
        AND c.not_before <= now() AND {IS_OPEN})
ORDER BY b.priority DESC, b.submitted_at, b.id LIMIT 8
"""  # noqa: S608 - constants
_TAKE_PUBLISH: Final = """
UPDATE batch_chunks SET state = 'publishing', epoch = epoch + 1, attempts = attempts + 1,
    worker = %(worker)s
WHERE batch = %(batch)s AND number = (SELECT number FROM batch_chunks
    WHERE staging = %(staging)s AND batch = %(batch)s
    AND state IN ('processed', 'publishing') AND state = 'processed' AND not_before <= now()
    AND (number >= %(shut_from)s::int AND number < %(shut_until)s::int) IS NOT TRUE
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
    ORDER BY priority DESC, submitted_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id, task_epoch
"""
_ENTRIES: Final = """
SELECT cloud_study_id, study_uid, coalesce(series_uid, '') AS series_uid,
    coalesce(modality, '') AS modality, sop_instance_uid, coalesce(sop_class_uid, ''), size, sha256,
    coalesce(patient_id, '')
FROM batch_items WHERE batch = %s AND state = 'succeeded'
ORDER BY cloud_study_id, coalesce(series_uid, ''), sop_instance_uid
"""


class Publications(Claims):
    """The right to publish a chunk's objects."""

    async def claim_publish(self, worker: UUID, staging: UUID) -> PublishClaim | None:
        """Claim a staged chunk that may be published; it is staged where the worker is."""
        async with transaction(self._database) as connection:
            for due in await rows(connection, _DUE_FOR_PUBLISHING, staging=staging):
                taken = await row(
                    connection,
                    _TAKE_PUBLISH,
                    batch=due["id"],
                    worker=worker,
                    staging=staging,
                    shut_from=due["shut_from"],
                    shut_until=due["shut_until"],
                )
                if taken is not None:
                    break
            else:
                return None
            batch = await batch_row(connection, due["id"])
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
            if not await self._held(connection, claim):
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
                " waiting_for = NULL, waiting_since = NULL, waiting_until = NULL,"
                " unpublished_chunks = unpublished_chunks - 1 WHERE id = %(batch)s",
                objects=len(claim.objects),
                batch=claim.batch_id,
            )
            await settle(connection, claim.batch_id)
        return True

    async def restage(self, claim: PublishClaim) -> bool:
        """Have a chunk de-identified again, because its staged results are gone or damaged."""
        async with transaction(self._database) as connection:
            batch = await self._held(connection, claim)
            if batch is None:
                return False
            await unsettle(connection, batch, claim.number)
        return True


class Endings(Claims):
    """The right to publish the manifest and to end a batch."""

    async def claim_finish(self, worker: UUID, staging: UUID) -> FinishClaim | None:
        """Claim a batch whose objects are all published and whose manifest is not."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_FINISH, worker=worker, staging=staging)
            if taken is None:
                return None
            found = await batch_row(connection, taken["id"])
        request = self._box.open_request(
            found["organization_id"], found["id"], found["sealed_request"]
        )
        return FinishClaim(batch_of(found, None), taken["task_epoch"], request)

    async def entries(self, claim: FinishClaim) -> AsyncGenerator[Sequence[ManifestEntry], None]:
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
            locked = await self._held(connection, claim)
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


def _entry(found: Sequence[Any]) -> ManifestEntry:
    *texts, size, sha256, patient_id = found
    study, study_uid, series_uid, modality, sop_instance_uid, sop_class_uid = texts
    return ManifestEntry(
        cloud_study_id=study,
        study_uid=study_uid,
        series_uid=series_uid,
        modality=modality,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        size=size,
        sha256=bytes(sha256),
        patient_id=patient_id,
    )
