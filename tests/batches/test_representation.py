"""What a batch looks like from outside: the seed's fields, rate, estimate, links, nothing else."""

import datetime as dt
import json
from uuid import UUID

import pytest

from app.batches.records import Batch
from app.batches.representation import estimated_end, representation
from app.batches.states import BatchState, OnError, Priority

START = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
BATCH_ID = UUID("0b0e7a0e-9d5c-4a55-8f4e-2f4d1c2b3a49")


def after(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def batch(state: BatchState = BatchState.PROCESSING, **changed) -> Batch:
    fields = {
        "batch_id": BATCH_ID,
        "organization": "DEMO",
        "state": state,
        "version": 7,
        "priority": Priority.STAT,
        "on_error": OnError.HOLD,
        "profile": "basic",
        "profile_version": "0123456789ab",
        "destination": "staging",
        "submitted_at": START,
        "started_at": START,
        "finished_at": None,
        "is_scanned": True,
        "total_files": 100,
        "total_bytes": 1000,
        "succeeded_files": 20,
        "duplicate_files": 2,
        "ignored_files": 1,
        "refused_files": 1,
        "failed_files": 1,
        "published_files": 0,
        "bytes_in": 250,
        "bytes_out": 240,
        "revision": 0,
        "manifest_path": None,
        "staging_directory": None,
        "code": None,
        "detail": None,
        "problems": {"truncated": 1, "not-dicom": 1},
    }
    return Batch(**fields | changed)


def test_a_batch_under_way_shows_what_is_known_so_far() -> None:
    shown = representation(batch(), after(10))

    assert shown["batch_id"] == str(BATCH_ID)
    assert shown["success"] is None
    assert (shown["state"], shown["priority"]) == ("processing", "STAT")
    assert (shown["total_files"], shown["successful_files"]) == (100, 20)
    assert (shown["manifest_path"], shown["staging_directory"]) == (None, None)
    assert shown["counts"] == {
        "waiting": 75,
        "succeeded": 20,
        "duplicate": 2,
        "ignored": 1,
        "refused": 1,
        "failed": 1,
        "in_review": 0,
        "published": 0,
    }
    assert shown["rate"] == {"files_per_s": 2.5, "bytes_per_s": 25.0}
    assert shown["estimated_end_at"] == "2026-01-31T12:00:40.000Z"


@pytest.mark.parametrize(
    ("state", "success"),
    [
        (BatchState.QUEUED, None),
        (BatchState.PROCESSING, None),
        (BatchState.PUBLISHING, None),
        (BatchState.SUCCEEDED, True),
        (BatchState.PARTIAL, False),
        (BatchState.HELD, False),
        (BatchState.FAILED, False),
        (BatchState.CANCELLED, False),
    ],
)
def test_success_is_told_when_a_batch_has_ended(state: BatchState, success: bool | None) -> None:
    assert representation(batch(state), after(10))["success"] is success


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        (BatchState.QUEUED, {"cancel"}),
        (BatchState.PROCESSING, {"cancel"}),
        (BatchState.PUBLISHING, {"cancel"}),
        (BatchState.SUCCEEDED, set()),
        (BatchState.PARTIAL, {"retry"}),
        (BatchState.HELD, {"cancel", "retry"}),
        (BatchState.FAILED, {"cancel", "retry"}),
        (BatchState.CANCELLED, set()),
    ],
)
def test_the_links_are_those_that_the_state_allows(state: BatchState, possible: set[str]) -> None:
    links = representation(batch(state), after(10))["links"]

    assert set(links) == {"self", "items", "events"} | possible
    assert links["self"] == f"/batches/{BATCH_ID}"


@pytest.mark.parametrize(
    "unknown",
    [
        {"started_at": None},
        {"is_scanned": False},
        {"state": BatchState.SUCCEEDED, "finished_at": after(5)},
        {
            "succeeded_files": 0,
            "duplicate_files": 0,
            "ignored_files": 0,
            "refused_files": 0,
            "failed_files": 0,
        },
    ],
    ids=["not-started", "not-scanned", "ended", "nothing-done"],
)
def test_the_end_is_not_estimated_from_nothing(unknown: dict[str, object]) -> None:
    assert representation(batch(**unknown), after(10))["estimated_end_at"] is None


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    shown = representation(batch(), START)

    assert (shown["rate"], shown["estimated_end_at"]) == (None, None)


def test_publishing_counts_every_object_as_a_step() -> None:
    publishing = batch(
        BatchState.PUBLISHING, total_files=100, succeeded_files=95, published_files=20
    )

    # 100 decided and 20 published in 60 s, 75 to go
    assert estimated_end(publishing, after(60)) == after(60 + 37.5)


def test_an_estimate_beyond_the_calendar_is_none() -> None:
    endless = batch(total_files=2**62, succeeded_files=1)

    assert estimated_end(endless, after(10**6)) is None


def test_an_ended_batch_looks_the_same_for_ever() -> None:
    ended = batch(BatchState.SUCCEEDED, finished_at=after(5))

    assert representation(ended, after(10)) == representation(ended, after(10**6))
    assert representation(ended, after(10))["rate"] == {"files_per_s": 5.0, "bytes_per_s": 50.0}


def test_a_batch_can_be_written_as_json() -> None:
    shown = representation(batch(), after(10))

    assert json.loads(json.dumps(shown)) == shown
    assert list(shown["problems"]) == ["not-dicom", "truncated"]


def test_a_batch_in_review_counts_what_is_held_and_estimates_no_end() -> None:
    shown = representation(batch(in_review_files=3), after(10))

    assert (shown["counts"]["in_review"], shown["counts"]["waiting"]) == (3, 72)
    assert shown["success"] is None
    assert shown["estimated_end_at"] is None
