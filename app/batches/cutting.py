"""Chunks enter the table here: from a scan, from a chunk that is divided, from a retry."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.records import SourceFile
from app.batches.sealing import BatchBox
from app.batches.sql import run

_INSERT: Final = """
INSERT INTO batch_chunks (batch, number, organization, files, bytes, sealed_files, is_suspect)
SELECT %(batch)s, number, %(organization)s, files, bytes, sealed, %(is_suspect)s
FROM unnest(%(numbers)s::int[], %(files)s::int[], %(bytes)s::bigint[], %(sealed)s::bytea[])
    AS new (number, files, bytes, sealed)
"""


async def insert_chunks(
    connection: AsyncConnection,
    box: BatchBox,
    organization: str,
    batch: RowMapping,
    chunks: Mapping[int, Sequence[SourceFile]],
    *,
    is_suspect: bool = False,
) -> None:
    """Add chunks by number; the batch's counters are the caller's.

    Args:
        connection: the transaction.
        box: seals the files.
        organization: id of the organisation.
        batch: the batch's row, locked.
        chunks: the files of each chunk.
        is_suspect: they are parts of a chunk that killed its workers.
    """
    await run(
        connection,
        _INSERT,
        batch=batch["id"],
        organization=batch["organization"],
        is_suspect=is_suspect,
        numbers=list(chunks),
        files=[len(files) for files in chunks.values()],
        bytes=[sum(file.size for file in files) for files in chunks.values()],
        sealed=[
            box.seal_files(organization, batch["id"], number, files)
            for number, files in chunks.items()
        ],
    )
