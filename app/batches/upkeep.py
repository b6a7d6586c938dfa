"""What keeps batches going whatever died: claims of lost workers, lost tickets, old batches.

Every worker calls it every few seconds; one at a time does it.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches import results as item_results
from app.batches.cutting import insert_chunks
from app.batches.records import ItemResult, SourceFile
from app.batches.results import KeyOf, Names
from app.batches.reviewing import go_on
from app.batches.sealing import BatchBox
from app.batches.settling import (
    MAX_ROWS_AT_ONCE,
    defer_for,
    end,
    forget,
    leave_over,
    lock_batch,
    settle,
    unsettle,
)
from app.batches.sql import IS_OPEN, row, rows, run, transaction
from app.batches.states import BatchState, ChunkState, ItemState
from app.batches.tickets import MAX_TICKETS, Task, defer, queue_of
from app.db.session import Database
from app.errors import StorageUnavailable, WorkerCrashed

# Deaths after which a chunk is divided; the first may have nothing to do with its files.
DEATHS_OF_CHUNK: Final = 2
DEATHS_OF_SUSPECT: Final = 1
DEATHS_OF_FILE: Final = 3
DEATHS_OF_PUBLISHING: Final = 5
PARTS: Final = 16
# A staging area that no worker serves for so long is given up, and its chunks are done again.
AREA_LOST_AFTER_S: Final = 900.0
LEFTOVER_KEPT_S: Final = 30 * 86_400.0
PIECES_OF_ROUND: Final = 10
_LOCK: Final = 4_107_002

_LOST_CHUNKS: Final = """
SELECT c.batch, c.number FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
WHERE c.state IN ('processing', 'publishing') AND b.state IN ('processing', 'publishing')
    AND NOT EXISTS (SELECT FROM batch_workers AS w WHERE w.id = c.worker
        AND w.seen_at > now() - make_interval(secs => %(lost_after)s))
LIMIT 1000
"""
_LOST_TASKS: Final = """
UPDATE batches AS b SET task_worker = NULL
WHERE state IN ('queued', 'processing', 'publishing') AND task_worker IS NOT NULL
    AND NOT EXISTS (SELECT FROM batch_workers AS w WHERE w.id = b.task_worker
        AND w.seen_at > now() - make_interval(secs => %(lost_after)s))
"""
# Whom a batch gave its place to is at its end, one way or another, or waits for people.
_UNPARK: Final = """
UPDATE batches AS b SET parked_behind = NULL, parked_at = NULL, version = version + 1
WHERE b.state IN ('queued', 'processing', 'publishing') AND b.parked_behind IS NOT NULL
    AND NOT EXISTS (SELECT FROM batches AS first WHERE first.id = b.parked_behind
        AND first.state IN ('queued', 'processing', 'publishing')
        AND NOT (first.state = 'processing' AND first.is_scanned AND first.open_chunks = 0
            AND first.in_review_files > 0 AND first.reopening IS NULL))
"""
_STILL_LOST: Final = """
SELECT c.number, c.state, c.files, c.bytes, c.attempts, c.waits, c.is_suspect, c.staging,
    c.sealed_files,
    (SELECT id FROM organizations WHERE number = c.organization) AS organization_id
FROM batch_chunks AS c
WHERE c.batch = %(batch)s AND c.number = %(number)s AND c.state IN ('processing', 'publishing')
    AND NOT EXISTS (SELECT FROM batch_workers AS w WHERE w.id = c.worker
        AND w.seen_at > now() - make_interval(secs => %(lost_after)s))
FOR UPDATE OF c
"""
# Area by area, from index entry to index entry, however many chunks are staged in each.
_LOST_AREAS: Final = """
WITH RECURSIVE area AS (
    (SELECT staging FROM batch_chunks WHERE state IN ('processed', 'publishing')
        AND staging IS NOT NULL ORDER BY staging LIMIT 1)
    UNION ALL
    SELECT (SELECT c.staging FROM batch_chunks AS c WHERE c.state IN ('processed', 'publishing')
        AND c.staging > area.staging ORDER BY c.staging LIMIT 1)
    FROM area WHERE area.staging IS NOT NULL
),
lost AS (SELECT staging FROM area WHERE staging IS NOT NULL
    AND NOT EXISTS (SELECT FROM batch_workers AS w WHERE w.staging = area.staging
        AND w.seen_at > now() - make_interval(secs => %(lost_after)s)))
SELECT c.batch, c.number FROM lost JOIN batch_chunks AS c USING (staging)
    JOIN batches AS b ON b.id = c.batch
WHERE c.state IN ('processed', 'publishing') AND c.state = 'processed' AND b.home IS NULL
    AND b.state IN ('queued', 'processing', 'publishing')
LIMIT 1000
"""
# What is due by kind and queue, against the tickets that there are.
_DUE: Final = f"""
SELECT 'batches.process' AS task, home AS staging, max(priority) AS priority, sum(waiting) AS due
FROM (SELECT b.home, b.priority,
        (SELECT count(*) FROM (SELECT FROM batch_chunks AS c WHERE c.batch = b.id
            AND c.state = 'pending' AND c.not_before <= now() AND {IS_OPEN}
            LIMIT %(most)s) AS counted) AS waiting
    FROM batches AS b WHERE b.state IN ('queued', 'processing', 'publishing')
        AND b.state = 'processing' AND b.open_chunks > 0
        AND b.parked_behind IS NULL) AS processing
GROUP BY home
UNION ALL
SELECT 'batches.publish', staging, max(priority), count(*)
FROM (SELECT c.staging, b.priority FROM batches AS b JOIN batch_chunks AS c ON c.batch = b.id
    WHERE b.state IN ('queued', 'processing', 'publishing') AND b.unpublished_chunks > 0
        AND (b.state = 'publishing' OR (b.state = 'processing' AND b.on_error = 'skip'))
        AND c.state IN ('processed', 'publishing') AND c.state = 'processed'
        AND c.not_before <= now() AND {IS_OPEN}
    LIMIT %(most)s) AS staged
GROUP BY staging
UNION ALL
SELECT 'batches.scan', home, max(priority), count(*) FROM batches
WHERE state IN ('queued', 'processing', 'publishing') AND state <> 'publishing'
    AND (NOT is_scanned OR reopening IS NOT NULL) AND task_worker IS NULL AND due_at <= now()
GROUP BY home
UNION ALL
SELECT 'batches.finish', home, max(priority), count(*) FROM batches
WHERE state IN ('queued', 'processing', 'publishing') AND state = 'publishing'
    AND unpublished_chunks = 0 AND task_worker IS NULL AND due_at <= now()
GROUP BY home
UNION ALL
SELECT 'batches.clean', staging, 0, count(*) FROM batch_leftovers WHERE due_at <= now()
GROUP BY staging
UNION ALL
SELECT 'batches.call_back', NULL, 0, count(*) FROM batches WHERE callback_due_at <= now()
"""  # noqa: S608 - constants
_TICKETS: Final = """
SELECT task_name AS task, queue_name AS queue, count(*) AS tickets FROM procrastinate_jobs
WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
GROUP BY task_name, queue_name
"""
# Tickets are hints: one whose worker died is dropped, because what it stood for is counted anew.
_DROP_ORPHANS: Final = """
DELETE FROM procrastinate_jobs WHERE status IN ('failed', 'aborted', 'cancelled')
    OR (status = 'doing' AND (worker_id IS NULL OR worker_id NOT IN (
        SELECT id FROM procrastinate_workers
        WHERE last_heartbeat > now() - make_interval(secs => %(lost_after)s))))
"""
_EXPIRED: Final = """
SELECT id FROM batches WHERE finished_at < now() - make_interval(days => %(days)s)
    AND state <> 'deleted' LIMIT 20
"""
_DELETED: Final = "SELECT id FROM batches WHERE state = 'deleted' LIMIT 1"
_DELETE_ITEMS: Final = """
DELETE FROM batch_items WHERE batch = %(batch)s AND seq IN (
    SELECT seq FROM batch_items WHERE batch = %(batch)s ORDER BY seq LIMIT %(rows)s)
"""


class Upkeep:
    """Puts in order what the death of a process left behind.

    Args:
        database: where batches are.
        box: opens and seals the files of chunks that are divided.
        key_of: gives data keys, for the names of files that are given up.
        lost_after_s: silence after which a worker is lost.
        kept_days: how long ended batches are kept.
    """

    def __init__(
        self,
        database: Database,
        box: BatchBox,
        key_of: KeyOf,
        *,
        lost_after_s: float,
        kept_days: int,
    ) -> None:
        self._database = database
        self._box = box
        self._key_of = key_of
        self._lost_after_s = lost_after_s
        self._kept_days = kept_days

    async def run(self) -> None:
        """Do one round, unless another worker does it just now.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        async with transaction(self._database) as connection:
            locked = await row(
                connection, "SELECT pg_try_advisory_xact_lock(%(key)s) AS mine", key=_LOCK
            )
            if locked is None or not locked["mine"]:
                return
            lost = await rows(connection, _LOST_CHUNKS, lost_after=self._lost_after_s)
            homeless = await rows(connection, _LOST_AREAS, lost_after=AREA_LOST_AFTER_S)
            expired = await rows(connection, _EXPIRED, days=self._kept_days)
            await run(connection, _LOST_TASKS, lost_after=self._lost_after_s)
            await run(connection, _UNPARK)
            await run(connection, _DROP_ORPHANS, lost_after=self._lost_after_s)
            await self._forget_old(connection)
            deleted = await row(connection, _DELETED)
        for chunk in lost:
            await self._take_back(chunk)
        for chunk in homeless:
            await self._do_again(chunk)
        await go_on(self._database, self._box)
        await self.top_up()
        for batch in expired:
            await self._forget_batch(batch)
        if deleted is not None:
            await self._delete_piece(deleted)

    async def top_up(self) -> None:
        """Make the tickets that are missing."""
        async with transaction(self._database) as connection:
            found = await rows(connection, _TICKETS)
            tickets = {(entry["task"], entry["queue"]): entry["tickets"] for entry in found}
            for due in await rows(connection, _DUE, most=MAX_TICKETS):
                there = tickets.get((due["task"], queue_of(due["staging"])), 0)
                if min(due["due"], MAX_TICKETS) > there:
                    await defer(
                        connection,
                        Task(due["task"]),
                        staging=due["staging"],
                        priority=due["priority"],
                        count=int(due["due"] - there),
                    )

    async def _forget_old(self, connection: AsyncConnection) -> None:
        await run(
            connection,
            "DELETE FROM batch_workers WHERE seen_at < now() - make_interval(secs => %(age)s)",
            age=AREA_LOST_AFTER_S * 2,
        )
        await run(
            connection,
            "DELETE FROM batch_leftovers WHERE due_at < now() - make_interval(secs => %(age)s)",
            age=LEFTOVER_KEPT_S,
        )

    async def _take_back(self, lost: RowMapping) -> None:
        """Give a lost worker's chunk to others, whole or divided, or give its file up."""
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, lost["batch"])
            chunk = await row(
                connection,
                _STILL_LOST,
                batch=lost["batch"],
                number=lost["number"],
                lost_after=self._lost_after_s,
            )
            if batch is None or chunk is None:
                return
            if chunk["state"] == ChunkState.PUBLISHING:
                await self._publish_again(connection, batch, chunk)
            elif chunk["attempts"] < _bearable_deaths(chunk):
                await self._set(connection, batch, chunk, ChunkState.PENDING)
                await defer_for(connection, batch, Task.PROCESS)
            elif chunk["files"] > 1:
                await self._split(connection, batch, chunk)
            else:
                await self._give_up(connection, batch, chunk)

    async def _publish_again(
        self, connection: AsyncConnection, batch: RowMapping, chunk: RowMapping
    ) -> None:
        if chunk["attempts"] - chunk["waits"] >= DEATHS_OF_PUBLISHING:
            error = StorageUnavailable("Workers died while they published a part of the batch")
            await end(connection, batch, BatchState.FAILED, error)
            return
        await self._set(connection, batch, chunk, ChunkState.PROCESSED)
        await defer(connection, Task.PUBLISH, staging=chunk["staging"], priority=batch["priority"])

    async def _split(
        self, connection: AsyncConnection, batch: RowMapping, chunk: RowMapping
    ) -> None:
        files = self._files(batch, chunk)
        size = -(-len(files) // PARTS)
        parts = [files[first : first + size] for first in range(0, len(files), size)]
        given = await row(
            connection,
            "UPDATE batches SET version = version + 1, chunks = chunks + %(parts)s,"
            " open_chunks = open_chunks + %(parts)s - 1,"
            " unpublished_chunks = unpublished_chunks + %(parts)s - 1"
            " WHERE id = %(batch)s RETURNING chunks",
            parts=len(parts),
            batch=batch["id"],
        )
        last = given["chunks"] if given else 0
        numbers = list(range(last - len(parts), last))
        await run(
            connection,
            "DELETE FROM batch_chunks WHERE batch = %(batch)s AND number = %(number)s",
            batch=batch["id"],
            number=chunk["number"],
        )
        added = dict(zip(numbers, parts, strict=True))
        organization = chunk["organization_id"]
        await insert_chunks(connection, self._box, organization, batch, added, is_suspect=True)
        await defer_for(connection, batch, Task.PROCESS, count=len(parts))

    async def _give_up(
        self, connection: AsyncConnection, batch: RowMapping, chunk: RowMapping
    ) -> None:
        """Report the one file that kills every worker that touches it."""
        results = [
            ItemResult(file, ItemState.FAILED, WorkerCrashed.code, WorkerCrashed.title)
            for file in self._files(batch, chunk)
        ]
        names = Names(self._key_of, chunk["organization_id"])
        settled = await item_results.record(
            connection,
            organization=batch["organization"],
            batch_id=batch["id"],
            chunk=chunk["number"],
            results=results,
            sealed=item_results.sealed(batch["id"], results, names),
        )
        await item_results.count(
            connection, batch_id=batch["id"], results=settled, bytes_in=chunk["bytes"]
        )
        await self._set(connection, batch, chunk, ChunkState.PUBLISHED)
        await settle(connection, batch["id"])

    def _files(self, batch: RowMapping, chunk: RowMapping) -> Sequence[SourceFile]:
        return self._box.open_files(
            chunk["organization_id"], batch["id"], chunk["number"], chunk["sealed_files"]
        )

    async def _set(
        self, connection: AsyncConnection, batch: RowMapping, chunk: RowMapping, state: ChunkState
    ) -> None:
        await run(
            connection,
            "UPDATE batch_chunks SET state = %(state)s, worker = NULL, not_before = now()"
            " WHERE batch = %(batch)s AND number = %(number)s",
            state=str(state),
            batch=batch["id"],
            number=chunk["number"],
        )

    async def _do_again(self, homeless: RowMapping) -> None:
        """Have a chunk done elsewhere whose staging area is gone."""
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, homeless["batch"])
            chunk = await row(
                connection,
                "SELECT number FROM batch_chunks WHERE batch = %(batch)s"
                " AND number = %(number)s AND state = 'processed' FOR UPDATE",
                batch=homeless["batch"],
                number=homeless["number"],
            )
            working = {BatchState.PROCESSING, BatchState.PUBLISHING}
            if batch is not None and chunk is not None and batch["state"] in working:
                await unsettle(connection, batch, chunk["number"])

    async def _forget_batch(self, expired: RowMapping) -> None:
        async with transaction(self._database) as connection:
            batch = await lock_batch(connection, expired["id"])
            if batch is None:
                return
            # Objects without a manifest are of use to nobody.
            is_published = batch["revision"] or batch["state"] in {
                BatchState.HELD,
                BatchState.CANCELLED,
            }
            await leave_over(
                connection, batch, ["upload"] if is_published else ["upload", "published"]
            )
            await forget(connection, batch["id"])

    async def _delete_piece(self, deleted: RowMapping) -> None:
        """Delete some rows of a forgotten batch; the last ones with the batch itself."""
        for _ in range(PIECES_OF_ROUND):
            async with transaction(self._database) as connection:
                removed = await run(
                    connection, _DELETE_ITEMS, batch=deleted["id"], rows=MAX_ROWS_AT_ONCE
                )
                if removed < MAX_ROWS_AT_ONCE:
                    await run(
                        connection, "DELETE FROM batches WHERE id = %(batch)s", batch=deleted["id"]
                    )
                    return


def _bearable_deaths(chunk: RowMapping) -> int:
    if chunk["files"] == 1:
        return DEATHS_OF_FILE
    return DEATHS_OF_SUSPECT if chunk["is_suspect"] else DEATHS_OF_CHUNK
