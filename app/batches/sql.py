"""How the repositories of this package speak SQL: short statements, named parameters, rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.records import Batch
from app.batches.states import BatchState, ItemState, OnError, Priority
from app.db.session import Database, database_errors

BATCH_COLUMNS: Final = """
    b.id, o.id AS organization_id, b.organization, b.state, b.version, b.priority, b.on_error,
    b.profile, b.profile_version, b.destination, b.sealed_request, b.actor, b.request_id, b.home,
    b.submitted_at, b.started_at, b.finished_at, b.is_scanned, b.total_files, b.total_bytes,
    b.succeeded_files, b.duplicate_files, b.ignored_files, b.refused_files, b.failed_files,
    b.published_files, b.bytes_in, b.bytes_out, b.revision, b.manifest_path, b.code, b.detail,
    b.run_at, b.run_files, b.run_bytes, b.run_published, b.in_review_files,
    b.reopening IS NOT NULL AS is_reopening,
    (SELECT jsonb_object_agg(p.code, p.count) FROM batch_problems AS p
        WHERE p.batch = b.id AND p.count > 0) AS problems
"""
# Of a batch ``b`` and its chunk ``c``: it does not wait to be opened again. (A worker of an older
# release may have settled the batch with pages left; then nothing waits any more.)
IS_OPEN: Final = """
    (b.state = 'processing' AND c.number >= b.reopening_from AND c.number < b.reopening_until)
    IS NOT TRUE
"""
# What a batch counts, less ``gone``: the items that are taken back, counted like this.
LESS_GONE: Final = (
    ", ".join(f"{state}_files = {state}_files - gone.{state}" for state in ItemState)
    + ", bytes_out = bytes_out - gone.bytes"
)
COUNTED: Final = (
    ", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in ItemState)
    + ", coalesce(sum(size) FILTER (WHERE state = 'succeeded'), 0) AS bytes"
)
BATCH_TABLES: Final = "batches AS b JOIN organizations AS o ON o.number = b.organization"


@asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[AsyncConnection]:
    """Lend a connection in a transaction that is committed at the end.

    Raises:
        DatabaseUnavailable: Postgres does not answer; nothing is known to be committed.
    """
    with database_errors():
        async with database.engine.begin() as connection:
            yield connection


async def rows(connection: AsyncConnection, statement: str, **values: Any) -> list[RowMapping]:  # noqa: ANN401 - whatever the driver takes
    """Run a statement and return its rows."""
    result = await connection.exec_driver_sql(statement, values)
    return list(result.mappings())


async def row(connection: AsyncConnection, statement: str, **values: Any) -> RowMapping | None:  # noqa: ANN401 - whatever the driver takes
    """Run a statement and return its first row, if there is one."""
    return next(iter(await rows(connection, statement, **values)), None)


async def run(connection: AsyncConnection, statement: str, **values: Any) -> int:  # noqa: ANN401 - whatever the driver takes
    """Run a statement and return how many rows it changed."""
    return (await connection.exec_driver_sql(statement, values)).rowcount


async def batch_row(connection: AsyncConnection, batch_id: UUID) -> RowMapping:
    """Return the row of one batch that is known to be there."""
    found = await rows(
        connection,
        f"SELECT {BATCH_COLUMNS} FROM {BATCH_TABLES} WHERE b.id = %(batch)s",  # noqa: S608 - constants
        batch=batch_id,
    )
    return found[0]


def batch_of(found: RowMapping, staging_directory: str | None) -> Batch:
    """Read a row of ``BATCH_COLUMNS``."""
    return Batch(
        batch_id=found["id"],
        organization=found["organization_id"],
        state=BatchState(found["state"]),
        priority=Priority(found["priority"]),
        on_error=OnError(found["on_error"]),
        staging_directory=staging_directory,
        problems=found["problems"] or {},
        **{name: found[name] for name in _PLAIN},
    )


_PLAIN: Final = (
    "version",
    "profile",
    "profile_version",
    "destination",
    "submitted_at",
    "started_at",
    "finished_at",
    "is_scanned",
    "total_files",
    "total_bytes",
    "succeeded_files",
    "duplicate_files",
    "ignored_files",
    "refused_files",
    "failed_files",
    "published_files",
    "bytes_in",
    "bytes_out",
    "revision",
    "manifest_path",
    "code",
    "detail",
    "run_at",
    "run_files",
    "run_bytes",
    "run_published",
    "in_review_files",
    "is_reopening",
)
