"""A batch is opened again page by page: what is to be done once more becomes chunks, and no result.

Every page leaves counters, items, chunks and problems agreeing with each other. It is a range of
chunks by number, below the number that new chunks began at. Its beginning stands in the batch's row
and moves in the page's own transaction, so that each chunk is met once, whoever comes next. What is
not opened yet is claimed by nobody, and the batch is not settled.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.cutting import insert_chunks
from app.batches.records import SourceFile
from app.batches.sealing import BatchBox
from app.batches.settling import defer_for, defer_publishing, lock_batch, settle
from app.batches.sql import COUNTED, LESS_GONE, row, rows, run
from app.batches.states import UNSUCCESSFUL, ItemState, OnError
from app.batches.tickets import Task
from app.errors import Quarantined, ReviewExpired

# Of one page: the batch's row is locked for about a tenth of a second.
MAX_CHUNKS: Final = 500
MAX_FILES: Final = 10_000


class Reopening(StrEnum):
    """What a batch is opened again for."""

    RETRY = "retry"  # what did not succeed
    GONE = "gone"  # the same, and what went away after it was published
    REVIEW = "review"  # what people have decided about


# Speed is counted from here on; what a page takes out of the counters it takes out here as well.
_BEGIN: Final = """
UPDATE batches SET version = version + 1, reopening = %(reopening)s, reopening_from = 0,
    reopening_until = chunks, task_worker = NULL, task_epoch = task_epoch + 1, due_at = now(),
    run_at = now(), run_bytes = bytes_in, run_published = published_files,
    run_files = succeeded_files + duplicate_files + ignored_files + refused_files + failed_files,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s
"""
_GO_ON: Final = """
UPDATE batches SET version = version + 1, reopening_from = %(end)s,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s
"""
_END: Final = """
UPDATE batches SET version = version + 1, reopening = NULL, reopening_from = NULL,
    reopening_until = NULL, task_worker = NULL,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s
"""
_NEXT_CHUNKS: Final = """
SELECT number, files FROM batch_chunks
WHERE batch = %(batch)s AND number >= %(first)s AND number < %(end)s
ORDER BY number LIMIT %(limit)s
"""
_TRY_ANEW: Final = """
UPDATE batch_chunks SET not_before = now(), attempts = 0, waits = 0
WHERE batch = %(batch)s AND number >= %(first)s AND number < %(end)s
    AND state IN ('pending', 'processed')
"""
# Nothing of them may be at the destination any more: they are staged again, and published again.
_GONE: Final = """
WITH gone AS (UPDATE batch_chunks AS c SET state = 'processed', staging = NULL, epoch = epoch + 1
    WHERE c.batch = %(batch)s AND c.number >= %(first)s AND c.number < %(end)s
        AND c.state = 'published' AND EXISTS (SELECT FROM batch_items AS i
            WHERE i.batch = c.batch AND i.chunk = c.number AND i.state = 'succeeded')
    RETURNING c.number),
objects AS (SELECT count(*) AS count FROM batch_items
    WHERE batch = %(batch)s AND chunk IN (SELECT number FROM gone) AND state = 'succeeded')
UPDATE batches SET unpublished_chunks = unpublished_chunks + (SELECT count(*) FROM gone),
    published_files = published_files - objects.count,
    run_published = run_published - objects.count
FROM objects WHERE id = %(batch)s
"""
# Chunks that are processed and staged nowhere gave their room to others: they are done whole.
_DO_GIVEN_UP: Final = """
UPDATE batch_chunks SET state = 'pending', worker = NULL, attempts = 0, waits = 0,
    not_before = now()
WHERE batch = %(batch)s AND number >= %(first)s AND number < %(end)s
    AND state = 'processed' AND staging IS NULL
RETURNING number, bytes
"""
_COUNT_GIVEN_UP: Final = """
UPDATE batches SET open_chunks = open_chunks + %(chunks)s, bytes_in = bytes_in - %(bytes)s,
    run_bytes = run_bytes - %(bytes)s
WHERE id = %(batch)s
"""
_TAKE_OUT: Final = f"""
WITH taken AS (DELETE FROM batch_items WHERE batch = %(batch)s AND {{which}}
    RETURNING state, code, size),
fewer AS (UPDATE batch_problems AS p SET count = p.count - by_code.count
    FROM (SELECT code, count(*) AS count FROM taken WHERE code IS NOT NULL GROUP BY code) AS by_code
    WHERE p.batch = %(batch)s AND p.code = by_code.code)
UPDATE batches SET {LESS_GONE}, run_files = run_files - gone.decided
FROM (SELECT {COUNTED}, count(*) FILTER (WHERE state <> 'in_review') AS decided
    FROM taken) AS gone
WHERE id = %(batch)s
"""  # noqa: S608 - constants
_TAKE_OUT_CHUNKS: Final = _TAKE_OUT.format(which="chunk = ANY(%(chunks)s)")
_IN_STATES: Final = """
chunk >= %(first)s AND chunk < %(end)s AND state <> 'succeeded' AND state = ANY(%(states)s)
"""
_TAKE_OUT_STATES: Final = _TAKE_OUT.format(which=_IN_STATES)
_CHUNKS_IN_STATES: Final = f"""
SELECT c.number, c.sealed_files, i.seqs
FROM (SELECT chunk, array_agg(seq) AS seqs FROM batch_items
    WHERE batch = %(batch)s AND {_IN_STATES} GROUP BY chunk) AS i
JOIN batch_chunks AS c ON c.batch = %(batch)s AND c.number = i.chunk ORDER BY c.number
"""  # noqa: S608 - constants
# What nobody decided about in time is refused: a retry has it held once more.
_EXPIRE: Final = """
WITH expired AS (UPDATE batch_items AS i SET state = 'refused', code = %(code)s,
        detail = %(detail)s
    FROM quarantine AS q
    WHERE i.batch = %(batch)s AND i.chunk >= %(first)s AND i.chunk < %(end)s
        AND i.state <> 'succeeded' AND i.state = 'in_review'
        AND q.id = i.quarantine AND q.state = 'expired'
    RETURNING i.seq)
UPDATE batches SET in_review_files = in_review_files - counted.files,
    refused_files = refused_files + counted.files, run_files = run_files + counted.files
FROM (SELECT count(*) AS files FROM expired) AS counted WHERE id = %(batch)s
RETURNING counted.files
"""
_RENAME_PROBLEM: Final = """
WITH less AS (UPDATE batch_problems SET count = count - %(files)s
    WHERE batch = %(batch)s AND code = %(old)s)
INSERT INTO batch_problems (batch, code, count) VALUES (%(batch)s, %(new)s, %(files)s)
ON CONFLICT (batch, code) DO UPDATE SET count = batch_problems.count + EXCLUDED.count
"""
# A chunk keeps its other files alone: should it be done again, each file is done once.
_LEAVE: Final = """
UPDATE batch_chunks AS c SET files = rest.files, bytes = rest.bytes, sealed_files = rest.sealed
FROM unnest(%(numbers)s::int[], %(files)s::int[], %(bytes)s::bigint[], %(sealed)s::bytea[])
    AS rest (number, files, bytes, sealed)
WHERE c.batch = %(batch)s AND c.number = rest.number
"""
_COUNT_AGAIN: Final = """
UPDATE batches SET chunks = chunks + %(new)s, open_chunks = open_chunks + %(new)s,
    unpublished_chunks = unpublished_chunks + %(new)s
WHERE id = %(batch)s RETURNING chunks
"""


@dataclass(frozen=True, slots=True)
class _Page:
    """Chunks of a batch from one number to before another.

    Attributes:
        batch: the batch's row, locked.
    """

    connection: AsyncConnection
    batch: RowMapping
    first: int
    end: int

    @property
    def range(self) -> dict[str, object]:
        """Name the chunks to a statement."""
        return {"batch": self.batch["id"], "first": self.first, "end": self.end}


async def begin(connection: AsyncConnection, batch_id: UUID, reopening: Reopening) -> None:
    """Begin to open a batch again, in the state ``processing``; nobody is at it before."""
    await run(connection, _BEGIN, batch=batch_id, reopening=str(reopening))


async def open_page(
    connection: AsyncConnection, box: BatchBox, organization: str, batch_id: UUID
) -> bool:
    """Open the next page of a batch that is opened again.

    Args:
        connection: the transaction.
        box: opens and seals the files of chunks.
        organization: id of the organisation.
        batch_id: whose claim, or lock, is the caller's.

    Returns:
        Whether pages are left; if not, the batch is settled.
    """
    batch = await lock_batch(connection, batch_id)
    if batch is None or batch["reopening"] is None:
        return False
    page = await _next_page(connection, batch)
    await _open(page, box, organization)
    if page.end < batch["reopening_until"]:
        await run(connection, _GO_ON, batch=batch_id, end=page.end)
        return True
    await run(connection, _END, batch=batch_id)
    await _go_on_with(connection, batch)
    return False


async def _next_page(connection: AsyncConnection, batch: RowMapping) -> _Page:
    first, until = batch["reopening_from"], batch["reopening_until"]
    # One more than a page takes says where the next one begins.
    chunks = await rows(
        connection, _NEXT_CHUNKS, batch=batch["id"], first=first, end=until, limit=MAX_CHUNKS + 1
    )
    count = taken([chunk["files"] for chunk in chunks])
    end = chunks[count]["number"] if count < len(chunks) else until
    return _Page(connection, batch, first, end)


def taken(files: Sequence[int]) -> int:
    """Say how many of some chunks a page takes, by the files of each: one at least."""
    fitting = sum(total <= MAX_FILES for total in accumulate(files[:MAX_CHUNKS]))
    return max(fitting, min(len(files), 1))


async def _open(page: _Page, box: BatchBox, organization: str) -> None:
    reopening = Reopening(page.batch["reopening"])
    if reopening is not Reopening.REVIEW:
        await run(page.connection, _TRY_ANEW, **page.range)
    if reopening is Reopening.GONE:
        await run(page.connection, _GONE, **page.range)
    again = await _do_given_up_again(page)
    if reopening is Reopening.REVIEW:
        await _expire(page)
        again += await _open_items(page, box, organization, {ItemState.IN_REVIEW})
    elif page.batch["is_scanned"]:
        again += await _open_items(page, box, organization, UNSUCCESSFUL)
    if again:
        await defer_for(page.connection, page.batch, Task.PROCESS, count=again)


async def _go_on_with(connection: AsyncConnection, batch: RowMapping) -> None:
    """Go on with a batch that is open."""
    if not batch["is_scanned"]:
        await defer_for(connection, batch, Task.SCAN)
        return
    await settle(connection, batch["id"])
    if batch["on_error"] == OnError.SKIP:
        await defer_publishing(connection, batch)


async def _do_given_up_again(page: _Page) -> int:
    """Have chunks done whole whose results gave their room to others, or went away published."""
    given_up = await rows(page.connection, _DO_GIVEN_UP, **page.range)
    if given_up:
        batch_id = page.batch["id"]
        numbers = [chunk["number"] for chunk in given_up]
        await run(page.connection, _TAKE_OUT_CHUNKS, batch=batch_id, chunks=numbers)
        await run(
            page.connection,
            _COUNT_GIVEN_UP,
            batch=batch_id,
            chunks=len(given_up),
            bytes=sum(chunk["bytes"] for chunk in given_up),
        )
    return len(given_up)


async def _expire(page: _Page) -> None:
    expired = await row(
        page.connection,
        _EXPIRE,
        code=ReviewExpired.code,
        detail=ReviewExpired.title,
        **page.range,
    )
    if expired is not None and expired["files"]:
        await run(
            page.connection,
            _RENAME_PROBLEM,
            batch=page.batch["id"],
            files=expired["files"],
            old=Quarantined.code,
            new=ReviewExpired.code,
        )


async def _open_items(
    page: _Page, box: BatchBox, organization: str, states: Collection[ItemState]
) -> int:
    """Make a chunk of the items in some states of each chunk, none of them ``succeeded``."""
    batch_id = page.batch["id"]
    values = {**page.range, "states": sorted(map(str, states))}
    chunks = await rows(page.connection, _CHUNKS_IN_STATES, **values)
    if not chunks:
        return 0
    await run(page.connection, _TAKE_OUT_STATES, **values)
    counted = await rows(page.connection, _COUNT_AGAIN, new=len(chunks), batch=batch_id)
    last: int = counted[0]["chunks"]
    parts = [_parts(box, organization, batch_id, chunk) for chunk in chunks]
    rests = [rest for _, rest in parts]
    await run(
        page.connection,
        _LEAVE,
        batch=batch_id,
        numbers=[chunk["number"] for chunk in chunks],
        files=[len(rest) for rest in rests],
        bytes=[sum(file.size for file in rest) for rest in rests],
        sealed=[
            box.seal_files(organization, batch_id, chunk["number"], rest)
            for chunk, rest in zip(chunks, rests, strict=True)
        ],
    )
    again = dict(enumerate((again for again, _ in parts), start=last - len(chunks)))
    await insert_chunks(page.connection, box, organization, page.batch, again)
    return len(chunks)


def _parts(
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
