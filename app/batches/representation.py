"""A batch as everybody outside sees it: the interface, its events and callbacks. Pure.

Nothing of the source is in it: the names of directories and files can name patients.
"""

import datetime as dt
from typing import Any, Final

from app.batches import waiting
from app.batches.records import Batch
from app.batches.states import ENDED, RETRIABLE, BatchState, check_transition
from app.errors import IllegalTransition
from app.telemetry import rfc3339

# A rate over less time than this says nothing.
SHORTEST_S: Final = 0.001


def representation(batch: Batch, now: dt.datetime) -> dict[str, Any]:
    """Describe a batch in the words of JSON.

    Args:
        batch: the batch as it stands.
        now: the time, for rate and estimate; an ended batch looks the same for ever.
    """
    has_ended = batch.state in ENDED
    return {
        "batch_id": str(batch.batch_id),
        "organization_id": batch.organization,
        "state": str(batch.state),
        "success": batch.state is BatchState.SUCCEEDED if has_ended else None,
        "version": batch.version,
        "priority": batch.priority.name,
        "on_error": str(batch.on_error),
        "profile": batch.profile,
        "profile_version": batch.profile_version,
        "destination": batch.destination,
        "submitted_at": rfc3339(batch.submitted_at),
        "started_at": _moment(batch.started_at),
        "finished_at": _moment(batch.finished_at),
        "waiting_for": waiting.shown(batch.waiting),
        "estimated_end_at": _moment(estimated_end(batch, now)),
        "rate": _rate(batch, now),
        "is_scanned": batch.is_scanned,
        "total_files": batch.total_files,
        "total_bytes": batch.total_bytes,
        "successful_files": batch.succeeded_files,
        "counts": _counts(batch),
        "problems": dict(sorted(batch.problems.items())),
        "bytes_in": batch.bytes_in,
        "bytes_out": batch.bytes_out,
        "revision": batch.revision,
        "manifest_path": batch.manifest_path,
        "staging_directory": batch.staging_directory,
        "code": batch.code,
        "detail": batch.detail,
        "links": _links(batch),
    }


def elapsed_s(batch: Batch, now: dt.datetime) -> float | None:
    """Return the time worked on a batch so far, in seconds; None before there is any.

    It begins anew with each retry.
    """
    began_at = batch.run_at or batch.started_at
    if began_at is None:
        return None
    elapsed = ((batch.finished_at or now) - began_at).total_seconds()
    return elapsed if elapsed >= SHORTEST_S else None


def estimated_end(batch: Batch, now: dt.datetime) -> dt.datetime | None:
    """Estimate when a batch ends at its mean speed so far; None where that cannot be known.

    While files are de-identified, each of them is a step. When all are decided, the objects that
    still have to be published are steps too. Nobody knows when people will have decided, or how
    much a batch has to do again that is still being opened.
    """
    elapsed = elapsed_s(batch, now)
    is_known = batch.is_scanned and not batch.is_reopening and not batch.in_review_files
    if elapsed is None or not is_known or batch.state in ENDED:
        return None
    done, left = _done_files(batch), batch.total_files - batch.done_files
    if batch.state is BatchState.PUBLISHING:
        done += batch.published_files - (batch.run_published or 0)
        left += batch.succeeded_files - batch.published_files
    if done <= 0:
        return None
    try:
        return now + dt.timedelta(seconds=elapsed / done * max(left, 0))
    except OverflowError:  # after the year 9999
        return None


def _moment(moment: dt.datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _rate(batch: Batch, now: dt.datetime) -> dict[str, float] | None:
    elapsed = elapsed_s(batch, now)
    done = _done_files(batch)
    if elapsed is None or not done:
        return None
    return {
        "files_per_s": round(done / elapsed, 3),
        "bytes_per_s": round(max(batch.bytes_in - (batch.run_bytes or 0), 0) / elapsed, 3),
    }


def _done_files(batch: Batch) -> int:
    """Count the files decided since the batch was started or last tried again."""
    return max(batch.done_files - (batch.run_files or 0), 0)


def _counts(batch: Batch) -> dict[str, int]:
    return {
        "waiting": max(batch.total_files - batch.done_files - batch.in_review_files, 0),
        "succeeded": batch.succeeded_files,
        "duplicate": batch.duplicate_files,
        "ignored": batch.ignored_files,
        "refused": batch.refused_files,
        "failed": batch.failed_files,
        "in_review": batch.in_review_files,
        "published": batch.published_files,
    }


def _links(batch: Batch) -> dict[str, str]:
    """Name what can be asked and done next."""
    own = f"/batches/{batch.batch_id}"
    links = {"self": own, "items": f"{own}/items", "events": f"{own}/events"}
    if _may_be_cancelled(batch.state):
        links["cancel"] = f"{own}/cancel"
    if batch.state in RETRIABLE:
        links["retry"] = f"{own}/retry"
    return links


def _may_be_cancelled(state: BatchState) -> bool:
    try:
        check_transition(state, BatchState.CANCELLED)
    except IllegalTransition:
        return False
    return True
