"""Tickets: jobs of the queue that say "there is work of this kind", no more.

What is to be done, and by whose turn, stands in the tables of the batches. So a lost ticket loses
nothing (it is made again), and one too many finds nothing to do.
"""

from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.states import Priority

WORK_QUEUE: Final = "work"
MAX_TICKETS: Final = 2000
"""Most tickets that are made at once: upkeep makes more of them when these are used up."""

# Many at once in one statement; the type is that of the queue's own interface.
_DEFER: Final = """
SELECT procrastinate_defer_jobs_v1(ARRAY(
    SELECT ROW(%(queue)s, %(task)s, %(priority)s, NULL, NULL, '{}'::jsonb,
        CASE WHEN %(delay)s > 0 THEN now() + make_interval(secs => %(delay)s) END
    )::procrastinate_job_to_defer_v1
    FROM generate_series(1, %(count)s)
))
"""


class Task(StrEnum):
    """The kinds of work, as the queue names them."""

    SCAN = "batches.scan"
    PROCESS = "batches.process"
    PUBLISH = "batches.publish"
    FINISH = "batches.finish"
    CLEAN = "batches.clean"
    CALL_BACK = "batches.call_back"


def queue_of(staging: UUID | None) -> str:
    """Name the queue of the workers at one staging area, or of all workers."""
    # Its name ends in a channel of the server, which takes 63 bytes.
    return WORK_QUEUE if staging is None else f"staging-{staging.hex}"


async def defer(
    connection: AsyncConnection,
    task: Task,
    *,
    staging: UUID | None = None,
    priority: int = Priority.ROUTINE,
    count: int = 1,
    delay_s: float = 0.0,
) -> None:
    """Add tickets in the caller's transaction; they are seen when it commits.

    Args:
        connection: the transaction.
        task: what there is to do.
        staging: whose workers alone can do it; None for any.
        priority: of the batch; more urgent tickets are taken first.
        count: how many there is to do; a hint, see `MAX_TICKETS`.
        delay_s: seconds until they are due.
    """
    await connection.exec_driver_sql(
        _DEFER,
        {
            "queue": queue_of(staging),
            "task": str(task),
            "priority": int(priority),
            "count": min(count, MAX_TICKETS),
            "delay": delay_s,
        },
    )
