"""What a batch waits for: from what a worker met to what the interface says. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import RowMapping

from app.batches.records import Waiting
from app.batches.states import BatchState
from app.batches.tickets import Task
from app.errors import (
    DestinationUnavailable,
    GatewayError,
    InReview,
    NoWorker,
    SourceUnavailable,
    StagingYielded,
    StorageUnavailable,
    Unavailable,
)
from app.telemetry import rfc3339

# A worker is heard of every two seconds; a batch that came just now has none yet.
HEARD_WITHIN_S: Final = 30
FOUND_WITHIN_S: Final = 10

# What stands beside a batch's own columns where it is shown.
COLUMNS: Final = """,
    b.waiting_for, b.waiting_since, b.waiting_until, b.parked_at, b.open_chunks,
    crew.workers, crew.free_workers, crew.waiting_for AS crew_waits_for,
    crew.waiting_since AS crew_waits_since
"""
TABLES: Final = f"""
LEFT JOIN LATERAL (SELECT
        count(*) + (b.submitted_at > now() - interval '{FOUND_WITHIN_S} seconds')::int AS workers,
        count(*) FILTER (WHERE w.waiting_for IS NULL) + (SELECT count(*) FROM (
            SELECT FROM batch_chunks AS c WHERE c.batch = b.id AND c.state = 'processing'
            AND c.state IN ('processing', 'publishing') LIMIT 1) AS busy) AS free_workers,
        max(w.waiting_for) AS waiting_for, max(w.waiting_since) AS waiting_since
    FROM batch_workers AS w
    WHERE b.state IN ('queued', 'processing', 'publishing')
        AND (b.home IS NULL OR w.staging = b.home)
        AND w.seen_at > now() - interval '{HEARD_WITHIN_S} seconds') AS crew ON true
"""  # noqa: S608 - constants

_BY_TASK: Final = {
    Task.SCAN: SourceUnavailable,
    Task.PROCESS: SourceUnavailable,
    Task.PUBLISH: DestinationUnavailable,
    Task.FINISH: DestinationUnavailable,
}
_WORKING: Final = frozenset({BatchState.QUEUED, BatchState.PROCESSING, BatchState.PUBLISHING})


def reason_of(task: Task, error: GatewayError) -> str:
    """Return the code of what a piece of work waits for.

    Storage that does not name itself is that which the work is done for: what files are read from,
    or what objects go to.
    """
    if type(error) is StorageUnavailable:
        return _BY_TASK.get(task, StorageUnavailable).code
    return error.code


def waiting_of(found: RowMapping) -> Waiting | None:
    """Return what a batch waits for, of a row with `COLUMNS`."""
    if found["state"] not in _WORKING:
        return None
    if found["parked_at"] is not None:
        return Waiting(StagingYielded.code, found["parked_at"])
    # Workers have nothing to do with what people decide.
    if not found["workers"] and found["waiting_for"] != InReview.code:
        return Waiting(NoWorker.code)
    if found["waiting_for"] is not None:
        return Waiting(found["waiting_for"], found["waiting_since"], found["waiting_until"])
    is_held_up = found["state"] == BatchState.PROCESSING and found["open_chunks"]
    if is_held_up and not found["free_workers"] and found["crew_waits_for"] is not None:
        return Waiting(found["crew_waits_for"], found["crew_waits_since"])
    return None


def title_of(code: str) -> str:
    """Return the public text of a code."""
    return _TITLES.get(code, GatewayError.title)


def shown(waiting: Waiting | None) -> dict[str, Any] | None:
    """Describe it in the words of JSON."""
    if waiting is None:
        return None
    return {
        "code": waiting.code,
        "title": title_of(waiting.code),
        "since": rfc3339(waiting.since) if waiting.since is not None else None,
        "next_try_at": rfc3339(waiting.until) if waiting.until is not None else None,
    }


def _known(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _known(child)


_TITLES: Final = {kind.code: kind.title for kind in reversed(list(_known(Unavailable)))}
