"""What follows from what became of a chunk: counters, the batch's next state, what is left over.

Every function works in the caller's transaction, with the batch's row locked: so chunks of one
batch settle one after the other, and two transactions never wait for each other in a circle.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.sql import COUNTED, LESS_GONE, row, rows, run
from app.batches.states import BatchState, ChunkState, OnError, check_transition
from app.batches.tickets import Task, defer
from app.errors import (
    ArchiveTooLarge,
    GatewayError,
    InReview,
    InvalidArchive,
    NothingToPublish,
)

# A worker that lost its claim may put one more object before it learns so: tidy up after that.
CLEAN_AFTER_S: Final = 30.0
MAX_ROWS_AT_ONCE: Final = 20_000
"""Rows that are deleted in one transaction: well below what a statement may take."""

# Adding an item holds the key of its batch, which this lock lets be.
_LOCK: Final = """
SELECT id, organization, state, on_error, priority, home, is_scanned, succeeded_files,
    refused_files + failed_files AS unsuccessful_files, open_chunks, unpublished_chunks, revision,
    has_callback, sealed_request, code, in_review_files, reopening, reopening_from,
    reopening_until
FROM batches WHERE id = %(batch)s AND state <> 'deleted' FOR NO KEY UPDATE
"""
_PUBLISHABLE: Final = """
SELECT staging, count(*) AS chunks FROM batch_chunks
WHERE batch = %(batch)s AND state = 'processed' GROUP BY staging
"""
# Nothing is left to do until people have decided; ``reviewing`` goes on then.
_REVIEW: Final = """
UPDATE batches SET version = version + 1, waiting_for = %(code)s, waiting_since = now(),
    waiting_until = NULL
WHERE id = %(batch)s AND waiting_for IS DISTINCT FROM %(code)s
"""
_END: Final = """
UPDATE batches SET state = %(state)s, version = version + 1, finished_at = now(),
    task_worker = NULL, code = %(code)s, detail = %(detail)s, callback_attempts = 0,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL, parked_behind = NULL,
    parked_at = NULL,
    callback_due_at = CASE WHEN has_callback THEN now() END
WHERE id = %(batch)s
"""
_LEFT_STAGED: Final = """
INSERT INTO batch_leftovers (organization, batch, kind, staging, sealed_request, due_at)
SELECT %(organization)s, %(batch)s, 'staged', staging, %(sealed_request)s,
    now() + make_interval(secs => %(delay)s)
FROM (SELECT staging FROM batch_chunks WHERE batch = %(batch)s AND staging IS NOT NULL
    UNION SELECT staging FROM batch_workers) AS areas
RETURNING staging
"""
_LEFT: Final = """
INSERT INTO batch_leftovers (organization, batch, kind, staging, sealed_request, due_at)
VALUES (%(organization)s, %(batch)s, %(kind)s, %(home)s, %(sealed_request)s,
    now() + make_interval(secs => %(delay)s))
"""
_UNSETTLE_COUNTS: Final = f"""
UPDATE batches SET version = version + 1, open_chunks = open_chunks + 1, {LESS_GONE},
    bytes_in = bytes_in - (SELECT bytes FROM batch_chunks
        WHERE batch = %(batch)s AND number = %(chunk)s)
FROM (SELECT {COUNTED} FROM batch_items WHERE batch = %(batch)s AND chunk = %(chunk)s) AS gone
WHERE id = %(batch)s
"""  # noqa: S608 - constants
_UNSETTLE_PROBLEMS: Final = """
UPDATE batch_problems AS p SET count = p.count - gone.count
FROM (SELECT code, count(*) AS count FROM batch_items
    WHERE batch = %(batch)s AND chunk = %(chunk)s AND code IS NOT NULL GROUP BY code) AS gone
WHERE p.batch = %(batch)s AND p.code = gone.code
"""


async def lock_batch(connection: AsyncConnection, batch_id: UUID) -> RowMapping | None:
    """Lock a batch and return what its next state depends on."""
    return await row(connection, _LOCK, batch=batch_id)


async def settle(connection: AsyncConnection, batch_id: UUID) -> None:
    """Bring a batch into its next state when its last file is decided, or its last one is out."""
    batch = await lock_batch(connection, batch_id)
    if batch is None or not batch["is_scanned"] or batch["open_chunks"]:
        return
    if batch["state"] == BatchState.PROCESSING and batch["reopening"] is not None:
        return  # pages are left
    if batch["state"] == BatchState.PROCESSING and batch["in_review_files"]:
        await run(connection, _REVIEW, batch=batch_id, code=InReview.code)
    elif batch["state"] == BatchState.PROCESSING:
        await _settle_processed(connection, batch)
    elif batch["state"] == BatchState.PUBLISHING and not batch["unpublished_chunks"]:
        await defer_for(connection, batch, Task.FINISH)


async def _settle_processed(connection: AsyncConnection, batch: RowMapping) -> None:
    is_held = batch["on_error"] == OnError.HOLD and batch["unsuccessful_files"]
    if is_held:
        await end(connection, batch, BatchState.HELD)
        return
    if not batch["succeeded_files"]:
        await end(connection, batch, BatchState.FAILED, NothingToPublish())
        return
    await change(connection, batch, BatchState.PUBLISHING)
    if not batch["unpublished_chunks"]:
        await defer_for(connection, batch, Task.FINISH)
    elif batch["on_error"] == OnError.HOLD:
        await defer_publishing(connection, batch)


async def defer_publishing(connection: AsyncConnection, batch: RowMapping) -> None:
    """Make a ticket for every staged chunk."""
    for area in await rows(connection, _PUBLISHABLE, batch=batch["id"]):
        await defer(
            connection,
            Task.PUBLISH,
            staging=area["staging"],
            priority=batch["priority"],
            count=area["chunks"],
        )


async def defer_for(
    connection: AsyncConnection, batch: RowMapping, task: Task, *, count: int = 1
) -> None:
    """Make tickets for whoever may work on the batch."""
    await defer(connection, task, staging=batch["home"], priority=batch["priority"], count=count)


async def change(connection: AsyncConnection, batch: RowMapping, state: BatchState) -> None:
    """Bring a batch into a state that is no end.

    Raises:
        IllegalTransition: it may not follow.
    """
    check_transition(BatchState(batch["state"]), state)
    await run(
        connection,
        "UPDATE batches SET state = %(state)s, version = version + 1, finished_at = NULL,"
        " code = NULL, detail = NULL, callback_due_at = NULL, due_at = now(),"
        " waiting_for = NULL, waiting_since = NULL, waiting_until = NULL"
        " WHERE id = %(batch)s",
        state=str(state),
        batch=batch["id"],
    )


async def end(
    connection: AsyncConnection,
    batch: RowMapping,
    state: BatchState,
    error: GatewayError | None = None,
) -> None:
    """End a batch: what nobody needs any more is forgotten, or listed to be tidied up.

    Raises:
        IllegalTransition: the state may not follow.
    """
    check_transition(BatchState(batch["state"]), state)
    await run(
        connection,
        _END,
        state=str(state),
        code=error.code if error else None,
        detail=error.detail if error else None,
        batch=batch["id"],
    )
    if state in {BatchState.SUCCEEDED, BatchState.CANCELLED}:
        await run(
            connection,
            "UPDATE batch_chunks SET sealed_files = NULL WHERE batch = %(batch)s",
            batch=batch["id"],
        )
        kinds = ["upload"]
        if state is BatchState.CANCELLED and not batch["revision"]:
            kinds.append("published")
        await leave_over(connection, batch, kinds)
    elif _is_spent(batch, error):
        await leave_over(connection, batch, ["upload"])
    if batch["has_callback"]:
        await defer(connection, Task.CALL_BACK, priority=batch["priority"])


def _is_spent(batch: RowMapping, error: GatewayError | None) -> bool:
    """Tell whether no retry could make more of the source, if it is an archive."""
    if isinstance(error, NothingToPublish):
        return not batch["unsuccessful_files"]
    return isinstance(error, InvalidArchive | ArchiveTooLarge)


async def leave_over(connection: AsyncConnection, batch: RowMapping, kinds: Sequence[str]) -> None:
    """List what workers have to tidy up: staged results always, and the kinds named."""
    values = {
        "organization": batch["organization"],
        "batch": batch["id"],
        "sealed_request": batch["sealed_request"],
        "delay": CLEAN_AFTER_S,
    }
    areas = await rows(connection, _LEFT_STAGED, **values)
    for kind in kinds:
        await run(connection, _LEFT, **values, kind=kind, home=batch["home"])
        await defer(connection, Task.CLEAN, staging=batch["home"], delay_s=CLEAN_AFTER_S)
    for area in areas:
        await defer(connection, Task.CLEAN, staging=area["staging"], delay_s=CLEAN_AFTER_S)


async def unsettle(connection: AsyncConnection, batch: RowMapping, chunk: int) -> None:
    """Take back what became of a chunk whose staged results are lost; it is worked on again.

    The chunk must be ``processed`` or ``publishing`` (nothing of it counts as published).
    """
    await run(connection, _UNSETTLE_COUNTS, batch=batch["id"], chunk=chunk)
    await run(connection, _UNSETTLE_PROBLEMS, batch=batch["id"], chunk=chunk)
    await run(
        connection,
        "DELETE FROM batch_items WHERE batch = %(batch)s AND chunk = %(chunk)s",
        batch=batch["id"],
        chunk=chunk,
    )
    await run(
        connection,
        "UPDATE batch_chunks SET state = %(state)s, worker = NULL, staging = NULL, attempts = 0,"
        " waits = 0, not_before = now() WHERE batch = %(batch)s AND number = %(chunk)s",
        state=str(ChunkState.PENDING),
        batch=batch["id"],
        chunk=chunk,
    )
    if batch["state"] == BatchState.PUBLISHING:
        await change(connection, batch, BatchState.PROCESSING)
    await defer_for(connection, batch, Task.PROCESS)


async def forget(connection: AsyncConnection, batch_id: UUID) -> None:
    """Delete a batch; one with many rows is hidden, and deleted by upkeep piece by piece."""
    await run(
        connection,
        "UPDATE batches SET state = 'deleted', idempotency_key = NULL, callback_due_at = NULL,"
        " version = version + 1 WHERE id = %(batch)s AND total_files > %(most)s",
        batch=batch_id,
        most=MAX_ROWS_AT_ONCE,
    )
    await run(
        connection,
        "DELETE FROM batches WHERE id = %(batch)s AND state <> 'deleted'",
        batch=batch_id,
    )
