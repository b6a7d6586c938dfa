"""A batch that is tried again: what did not succeed, what gave its room away, and nothing else."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.cutting import insert_chunks
from app.batches.records import SourceFile
from app.batches.sealing import BatchBox
from app.batches.settling import change, defer_for, defer_publishing, settle
from app.batches.sql import row, rows, run
from app.batches.states import UNSUCCESSFUL, BatchState, ItemState, OnError
from app.batches.tickets import Task
from app.errors import ObjectsGone

_UNSUCCESSFUL_CHUNKS: Final = """
SELECT c.number, c.sealed_files, array_agg(i.seq) AS seqs
FROM batch_items AS i JOIN batch_chunks AS c ON c.batch = i.batch AND c.number = i.chunk
WHERE i.batch = %(batch)s AND i.state <> 'succeeded' AND i.state = ANY(%(states)s)
GROUP BY c.number, c.sealed_files ORDER BY c.number
"""
_FORGET_UNSUCCESSFUL: Final = """
WITH gone AS (DELETE FROM batch_items WHERE batch = %(batch)s AND state <> 'succeeded'
    AND state = ANY(%(states)s) RETURNING code),
counted AS (SELECT code, count(*) AS count FROM gone GROUP BY code)
UPDATE batch_problems AS p SET count = p.count - counted.count FROM counted
WHERE p.batch = %(batch)s AND p.code = counted.code
"""
# A chunk keeps its other files alone: should it be done again, each file is done once.
_LEAVE: Final = """
UPDATE batch_chunks SET sealed_files = %(sealed)s, files = %(files)s, bytes = %(bytes)s
WHERE batch = %(batch)s AND number = %(number)s
"""
_COUNT_AGAIN: Final = """
UPDATE batches SET chunks = chunks + %(new)s, open_chunks = open_chunks + %(new)s,
    unpublished_chunks = unpublished_chunks + %(new)s, {emptied}
WHERE id = %(batch)s RETURNING chunks
"""
# Nothing of them may be at the destination any more: they are staged again, and published again.
_GONE: Final = """
WITH gone AS (UPDATE batch_chunks AS c SET state = 'processed', staging = NULL, epoch = epoch + 1
    WHERE c.batch = %(batch)s AND c.state = 'published' AND EXISTS (SELECT FROM batch_items AS i
        WHERE i.batch = c.batch AND i.chunk = c.number AND i.state = 'succeeded')
    RETURNING c.number)
UPDATE batches SET unpublished_chunks = unpublished_chunks + (SELECT count(*) FROM gone),
    published_files = 0 WHERE id = %(batch)s
"""
# The staged results of all chunks that are processed and staged nowhere are taken back, at once.
_CHUNKS_GIVEN_UP: Final = """
SELECT number, bytes FROM batch_chunks
WHERE batch = %(batch)s AND state = 'processed' AND staging IS NULL
"""
_TAKE_BACK_COUNTS: Final = f"""
WITH chunks AS ({_CHUNKS_GIVEN_UP}),
items AS (SELECT
    count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE state = 'duplicate') AS duplicate,
    count(*) FILTER (WHERE state = 'ignored') AS ignored,
    count(*) FILTER (WHERE state = 'refused') AS refused,
    count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'in_review') AS in_review,
    coalesce(sum(size) FILTER (WHERE state = 'succeeded'), 0) AS bytes
    FROM batch_items WHERE batch = %(batch)s AND chunk IN (SELECT number FROM chunks))
UPDATE batches SET open_chunks = open_chunks + (SELECT count(*) FROM chunks),
    succeeded_files = succeeded_files - items.succeeded,
    duplicate_files = duplicate_files - items.duplicate,
    ignored_files = ignored_files - items.ignored,
    refused_files = refused_files - items.refused,
    failed_files = failed_files - items.failed,
    in_review_files = in_review_files - items.in_review,
    bytes_out = bytes_out - items.bytes,
    bytes_in = bytes_in - (SELECT coalesce(sum(bytes), 0) FROM chunks)
FROM items WHERE id = %(batch)s
RETURNING (SELECT count(*) FROM chunks) AS chunks
"""  # noqa: S608 - constants
_TAKE_BACK_PROBLEMS: Final = f"""
WITH chunks AS ({_CHUNKS_GIVEN_UP}),
gone AS (DELETE FROM batch_items WHERE batch = %(batch)s
    AND chunk IN (SELECT number FROM chunks) RETURNING code),
counted AS (SELECT code, count(*) AS count FROM gone WHERE code IS NOT NULL GROUP BY code)
UPDATE batch_problems AS p SET count = p.count - counted.count FROM counted
WHERE p.batch = %(batch)s AND p.code = counted.code
"""  # noqa: S608 - constants
_TAKE_BACK_CHUNKS: Final = """
UPDATE batch_chunks SET state = 'pending', worker = NULL, attempts = 0, waits = 0,
    not_before = now()
WHERE batch = %(batch)s AND state = 'processed' AND staging IS NULL
"""
# Speed is counted from here on: what did not succeed is taken out of the counters.
_RUN_AGAIN: Final = """
UPDATE batches SET run_at = now(), run_bytes = bytes_in, run_published = published_files,
    run_files = succeeded_files + duplicate_files + ignored_files
WHERE id = %(batch)s
"""
# As many chunks as a transaction takes in one statement.
_AGAIN_AT_ONCE: Final = 500


async def try_again(
    connection: AsyncConnection, box: BatchBox, organization: str, batch: RowMapping
) -> None:
    """Put a batch to work again.

    Args:
        connection: the transaction, with the batch's row locked.
        box: opens and seals the files of chunks.
        organization: id of the organisation.
        batch: the batch, in a state that may be tried again.
    """
    await change(connection, batch, BatchState.PROCESSING)
    await _free_claims(connection, batch["id"])
    await do_given_up_again(connection, batch)
    await run(connection, _RUN_AGAIN, batch=batch["id"])
    if not batch["is_scanned"]:
        await defer_for(connection, batch, Task.SCAN)
        return
    await open_again(connection, box, organization, batch, UNSUCCESSFUL)
    await settle(connection, batch["id"])
    if batch["on_error"] == OnError.SKIP:
        await defer_publishing(connection, batch)


async def _free_claims(connection: AsyncConnection, batch_id: UUID) -> None:
    """Take what workers of the ended run may still hold from them."""
    for held, free in (("processing", "pending"), ("publishing", "processed")):
        await run(
            connection,
            "UPDATE batch_chunks SET state = %(free)s, worker = NULL, epoch = epoch + 1"
            " WHERE batch = %(batch)s AND state = %(held)s",
            batch=batch_id,
            held=held,
            free=free,
        )
    await run(
        connection,
        "UPDATE batch_chunks SET not_before = now(), attempts = 0, waits = 0"
        " WHERE batch = %(batch)s AND state IN ('pending', 'processed')",
        batch=batch_id,
    )
    await run(
        connection,
        "UPDATE batches SET task_worker = NULL, task_epoch = task_epoch + 1, due_at = now()"
        " WHERE id = %(batch)s",
        batch=batch_id,
    )


async def do_given_up_again(connection: AsyncConnection, batch: RowMapping) -> None:
    """Have chunks done again whose results gave their room to others, or went away published."""
    await run(connection, "SET LOCAL statement_timeout = 0")  # it grows with what was staged
    if batch["code"] == ObjectsGone.code:
        await run(connection, _GONE, batch=batch["id"])
    taken = await row(connection, _TAKE_BACK_COUNTS, batch=batch["id"])
    if taken is not None and taken["chunks"]:
        await run(connection, _TAKE_BACK_PROBLEMS, batch=batch["id"])
        await run(connection, _TAKE_BACK_CHUNKS, batch=batch["id"])
        await defer_for(connection, batch, Task.PROCESS, count=taken["chunks"])


async def open_again(
    connection: AsyncConnection,
    box: BatchBox,
    organization: str,
    batch: RowMapping,
    states: Collection[ItemState],
) -> None:
    """Make a chunk of the items in some states of each chunk, and take them out of the counters.

    None of the states is ``succeeded``.
    """
    batch_id = batch["id"]
    values = {"batch": batch_id, "states": sorted(map(str, states))}
    chunks = await rows(connection, _UNSUCCESSFUL_CHUNKS, **values)
    await run(connection, _FORGET_UNSUCCESSFUL, **values)
    statement = _COUNT_AGAIN.format(emptied=", ".join(f"{state}_files = 0" for state in states))
    counted = await row(connection, statement, new=len(chunks), batch=batch_id)
    first = counted["chunks"] - len(chunks) if counted else 0
    for begin in range(0, len(chunks), _AGAIN_AT_ONCE):
        page = chunks[begin : begin + _AGAIN_AT_ONCE]
        again = {}
        for number, chunk in enumerate(page, start=first + begin):
            again[number], rest = _files_again(box, organization, batch_id, chunk)
            before = chunk["number"]
            await run(
                connection,
                _LEAVE,
                sealed=box.seal_files(organization, batch_id, before, rest),
                files=len(rest),
                bytes=sum(file.size for file in rest),
                batch=batch_id,
                number=before,
            )
        await insert_chunks(connection, box, organization, batch, again)
    if chunks:
        await defer_for(connection, batch, Task.PROCESS, count=len(chunks))


def _files_again(
    box: BatchBox, organization: str, batch_id: UUID, chunk: RowMapping
) -> tuple[Sequence[SourceFile], Sequence[SourceFile]]:
    """Return the files of a chunk that are tried again, and those that stay in it."""
    wanted = set(chunk["seqs"])
    files = box.open_files(organization, batch_id, chunk["number"], chunk["sealed_files"])
    again = [_tried_again(file) for file in files if file.seq in wanted]
    return again, [file for file in files if file.seq not in wanted]


def _tried_again(file: SourceFile) -> SourceFile:
    """Have a file opened that was not even tried; what a directory holds only a scan can tell."""
    return file if file.name.endswith("/") else replace(file, code="")
