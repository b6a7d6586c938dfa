"""Batches as clients see them, against PostgreSQL."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from app import errors
from app.batches.records import Request, SourceFile
from app.batches.repository import BatchRepository
from app.batches.states import BatchState, ItemState, OnError, Priority
from tests.batches.house import SECRET, event, new_batch, result, results
from tests.mapping_house import NORTH, SOUTH

pytestmark = pytest.mark.db


async def test_a_batch_is_queued_and_has_a_ticket(house):
    batch = await house.submit(priority=Priority.STAT)

    assert batch.state is BatchState.QUEUED
    assert batch.priority is Priority.STAT
    assert house.tickets() == {"scan": 1}


async def test_submitting_is_in_the_audit_without_the_source(house):
    await house.submit()

    (row,) = house.mapping.query("SELECT action, outcome, detail FROM audit_events")
    assert (row["action"], row["outcome"]) == ("batch-prepare", "success")
    assert SECRET not in str(row["detail"])


async def test_the_same_idempotency_key_answers_the_same_batch(house):
    first, is_new = await house.service.submit(new_batch(idempotency_key="a"))
    second, is_new_again = await house.service.submit(new_batch(idempotency_key="a"))

    assert (is_new, is_new_again) == (True, False)
    assert second.batch_id == first.batch_id
    assert house.tickets() == {"scan": 1}


async def test_an_idempotency_key_is_not_taken_for_another_request(house):
    await house.submit(idempotency_key="a")

    with pytest.raises(errors.IdempotencyKeyReused):
        await house.submit(idempotency_key="a", priority=Priority.URGENT)


async def test_a_key_whose_batch_is_deleted_at_that_moment_makes_another(house, monkeypatch):
    first = await house.submit(idempotency_key="a")
    look = BatchRepository._earlier

    async def after_the_deletion(self, *asked):
        with psycopg.connect(house.mapping.url) as hand:
            hand.execute("DELETE FROM batches")
        return await look(self, *asked)

    monkeypatch.setattr(BatchRepository, "_earlier", after_the_deletion)
    second, is_new = await house.service.submit(new_batch(idempotency_key="a"))

    assert is_new
    assert second.batch_id != first.batch_id


async def test_organisations_have_their_own_idempotency_keys(house):
    first = await house.submit(idempotency_key="a")
    second = await house.submit(organization=SOUTH, idempotency_key="a")

    assert first.batch_id != second.batch_id


async def test_an_unknown_organisation_has_no_batches(house):
    with pytest.raises(errors.OrganizationNotFound):
        await house.submit(organization="NOWHERE")


@pytest.mark.parametrize("call", ["get", "items", "originals", "cancel", "retry", "delete"])
async def test_batches_of_others_are_not_found(house, call):
    batch = await house.submit()
    given = {"cancel": [event()], "retry": [event()], "delete": [event()]}.get(call, [])
    named = {"event": event()} if call == "originals" else {}

    with pytest.raises(errors.BatchNotFound):
        await getattr(house.service, call)(SOUTH, batch.batch_id, *given, **named)
    with pytest.raises(errors.BatchNotFound):
        await getattr(house.service, call)(NORTH, uuid4(), *given, **named)


async def test_batches_are_listed_newest_first_in_pages(house):
    submitted = [await house.submit() for _ in range(5)]
    newest = [batch.batch_id for batch in reversed(submitted)]

    first = await house.service.list(NORTH, limit=3)
    second = await house.service.list(NORTH, before=first[-1].batch_id, limit=3)

    assert [batch.batch_id for batch in [*first, *second]] == newest
    assert await house.service.list(SOUTH) == []


async def test_batches_are_listed_by_state(house):
    await house.submit()
    cancelled = await house.submit()
    await house.service.cancel(NORTH, cancelled.batch_id, event())

    found = await house.service.list(NORTH, state=BatchState.CANCELLED)

    assert [batch.batch_id for batch in found] == [cancelled.batch_id]


async def test_a_whole_batch_succeeds(house):
    batch = await house.scanned([2, 3])
    for _ in range(2):
        await house.process()
    for _ in range(2):
        await house.publish()
    await house.finish()

    done = await house.get(batch)
    assert done.state is BatchState.SUCCEEDED
    assert (done.total_files, done.succeeded_files, done.published_files) == (5, 5, 5)
    assert (done.total_bytes, done.bytes_in, done.bytes_out) == (5000, 5000, 4500)
    assert done.manifest_path == "file:///out/manifest.json"
    assert done.revision == 1
    assert done.problems == {}


async def test_nothing_is_published_while_something_is_undecided(house):
    await house.scanned([1, 1])
    await house.process()

    assert await house.work.claim_publish(house.worker, house.staging) is None


async def test_a_refused_object_holds_the_batch(house):
    batch = await house.scanned([2])
    await house.process(ItemState.REFUSED)

    held = await house.get(batch)
    assert held.state is BatchState.HELD
    assert held.problems == {"truncated": 1}
    assert await house.work.claim_publish(house.worker, house.staging) is None


async def test_what_is_no_dicom_holds_nothing(house):
    batch = await house.scanned([2])
    await house.process(ItemState.IGNORED)
    await house.publish()
    await house.finish()

    done = await house.get(batch)
    assert done.state is BatchState.SUCCEEDED
    assert (done.ignored_files, done.succeeded_files) == (1, 1)


async def test_skipping_publishes_what_succeeded_chunk_by_chunk(house):
    batch = await house.scanned([2, 1], on_error=OnError.SKIP)
    await house.process(ItemState.REFUSED)
    await house.publish()
    await house.process()
    await house.publish()
    await house.finish()

    done = await house.get(batch)
    assert done.state is BatchState.PARTIAL
    assert done.staging_directory is None  # nothing waits there any more
    assert (done.succeeded_files, done.refused_files, done.published_files) == (2, 1, 2)


@pytest.mark.parametrize("on_error", OnError)
async def test_an_empty_source_fails_the_batch(house, on_error):
    batch = await house.submit(on_error=on_error)
    claim = await house.work.claim_scan(house.worker, house.staging)
    assert await house.work.finish_scan(claim)

    failed = await house.get(batch)
    assert (failed.state, failed.code) == (BatchState.FAILED, "nothing-to-publish")


async def test_items_tell_what_became_of_every_file_by_pseudonym(house):
    batch = await house.scanned([3])
    await house.process(ItemState.REFUSED, ItemState.IGNORED)

    refused, ignored, succeeded = await house.service.items(NORTH, batch.batch_id)

    assert (refused.state, refused.code, refused.file) == (ItemState.REFUSED, "truncated", "")
    assert ignored.state is ItemState.IGNORED
    assert succeeded.file == "7QM2X-9THV4-CBK8/2.25.2/2.25.1002.dcm"
    assert succeeded.warnings == ("odd-length (0010,0010)", "other")
    assert succeeded.sha256 == "02" * 32


async def test_items_come_in_pages_and_by_state(house):
    batch = await house.scanned([4])
    await house.process(ItemState.REFUSED, ItemState.SUCCEEDED, ItemState.REFUSED)

    page = await house.service.items(NORTH, batch.batch_id, after=1, limit=2)
    refused = await house.service.items(NORTH, batch.batch_id, state=ItemState.REFUSED)

    assert [item.seq for item in page] == [2, 3]
    assert [item.seq for item in refused] == [0, 2]


async def test_originals_are_opened_for_those_who_may_and_audited(house):
    batch = await house.scanned([2])
    await house.process(ItemState.REFUSED)

    found = await house.service.originals(NORTH, batch.batch_id, event=event())

    assert [original.name for original in found] == [f"{SECRET}/0.dcm", f"{SECRET}/1.dcm"]
    assert house.mapping.outcomes()[-1] == "success"
    assert SECRET not in repr(found)


async def test_no_table_holds_a_name_in_clear(house):
    await house.scanned([2], request=Request({"kind": "x", "path": SECRET}, {"kind": "staging"}))
    await house.process(ItemState.REFUSED)

    for table in ("batches", "batch_chunks", "batch_items", "procrastinate_jobs"):
        text = str(house.mapping.query(f"SELECT {table}::text AS t FROM {table}"))
        assert SECRET not in text
        assert SECRET.encode().hex() not in text


async def test_the_same_object_twice_is_published_once(house):
    batch = await house.scanned([2, 1])
    claim = await house.claim()
    same = [result(file, sop_instance_uid="2.25.7", sha256=bytes(32)) for file in claim.files]
    await house.work.finish_chunk(claim, same, house.staging)
    other = await house.claim()
    again = [result(file, sop_instance_uid="2.25.7", sha256=bytes(32)) for file in other.files]
    await house.work.finish_chunk(other, again, house.staging)

    items = await house.service.items(NORTH, batch.batch_id)
    assert [item.state for item in items] == [
        ItemState.SUCCEEDED,
        ItemState.DUPLICATE,
        ItemState.DUPLICATE,
    ]
    publishing = await house.get(batch)
    assert (publishing.state, publishing.duplicate_files) == (BatchState.PUBLISHING, 2)


async def test_another_object_under_the_same_uid_is_refused(house):
    batch = await house.scanned([2])
    claim = await house.claim()
    clashing = [result(file, sop_instance_uid="2.25.7") for file in claim.files]
    await house.work.finish_chunk(claim, clashing, house.staging)

    held = await house.get(batch)
    assert held.state is BatchState.HELD
    assert held.problems == {"duplicate-instance": 1}


async def test_a_retry_does_only_again_what_did_not_succeed(house):
    batch = await house.scanned([3])
    await house.process(ItemState.REFUSED, ItemState.SUCCEEDED, ItemState.FAILED)

    retried = await house.service.retry(NORTH, batch.batch_id, event())
    claim = await house.claim()

    assert retried.state is BatchState.PROCESSING
    assert retried.problems == {}
    assert [file.seq for file in claim.files] == [0, 2]
    assert await house.work.finish_chunk(claim, results(claim), house.staging)
    for _ in range(2):
        await house.publish()
    await house.finish()
    done = await house.get(batch)
    assert done.state is BatchState.SUCCEEDED
    assert (done.total_files, done.succeeded_files, done.published_files) == (3, 3, 3)


async def test_a_retry_opens_what_the_scan_could_not(house):
    batch = await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    listed = [
        SourceFile(0, "gone.dcm", 0, "unreadable-file", ItemState.FAILED),
        SourceFile(1, "closed/", 0, "unreadable-file", ItemState.FAILED),
    ]
    await house.work.finish_scan(await house.work.add_chunks(scan, [listed]))
    await house.process(ItemState.FAILED, ItemState.FAILED)

    await house.service.retry(NORTH, batch.batch_id, event())

    assert [file.code for file in (await house.claim()).files] == ["", "unreadable-file"]


async def test_a_partial_batch_is_completed_by_a_retry_with_a_new_manifest(house):
    batch = await house.scanned([2], on_error=OnError.SKIP)
    await house.process(ItemState.REFUSED)
    await house.publish()
    await house.finish()

    await house.service.retry(NORTH, batch.batch_id, event())
    await house.process()
    await house.publish()
    await house.finish()

    done = await house.get(batch)
    assert (done.state, done.revision, done.published_files) == (BatchState.SUCCEEDED, 2, 2)


async def test_a_batch_whose_destination_failed_is_published_by_a_retry(house):
    batch = await house.scanned([1])
    await house.process()
    claim = await house.work.claim_publish(house.worker, house.staging)
    assert await house.work.fail(claim, errors.DestinationRefused())
    assert (await house.get(batch)).code == "destination-refused"

    await house.service.retry(NORTH, batch.batch_id, event())
    assert not await house.work.finish_publish(claim)
    await house.publish()
    await house.finish()

    assert (await house.get(batch)).state is BatchState.SUCCEEDED


async def test_a_batch_that_failed_while_it_was_listed_is_listed_on(house):
    batch = await house.submit()
    claim = await house.work.claim_scan(house.worker, house.staging)
    assert await house.work.fail(claim, errors.SourceNotAllowed())

    await house.service.retry(NORTH, batch.batch_id, event())

    assert not await house.work.finish_scan(claim)
    again = await house.work.claim_scan(house.worker, house.staging)
    assert again is not None
    assert again.batch_id == batch.batch_id


async def test_a_batch_that_works_has_nothing_to_retry(house):
    batch = await house.scanned()

    with pytest.raises(errors.IllegalTransition):
        await house.service.retry(NORTH, batch.batch_id, event())


async def test_cancelling_stops_what_is_under_way(house):
    batch = await house.scanned()
    claim = await house.claim()

    cancelled = await house.service.cancel(NORTH, batch.batch_id, event())

    assert cancelled.state is BatchState.CANCELLED
    assert not await house.work.finish_chunk(claim, results(claim), house.staging)
    assert await house.work.claim_chunk(house.worker, house.staging) is None


async def test_cancelling_twice_at_the_same_time_is_cancelling_once(house):
    batch = await house.scanned()

    both = await asyncio.gather(
        *(house.service.cancel(NORTH, batch.batch_id, event()) for _ in range(2))
    )

    assert [found.state for found in both] == [BatchState.CANCELLED] * 2
    assert both[0].version == both[1].version
    assert house.mapping.count("batch_leftovers") == 3


async def test_a_cancelled_batch_leaves_everything_to_be_tidied_up(house):
    batch = await house.scanned([1])
    await house.process()
    await house.service.cancel(NORTH, batch.batch_id, event())

    found = house.mapping.query("SELECT kind FROM batch_leftovers ORDER BY kind")
    assert [row["kind"] for row in found] == ["published", "staged", "upload"]


async def test_archives_of_batches_that_may_be_tried_again_are_needed(house):
    archive = {"request": Request({"kind": "archive", "name": "one"}, {"kind": "staging"})}
    kept = await house.submit(home=house.staging, **archive)
    gone = {"request": Request({"kind": "archive", "name": "two"}, {"kind": "staging"})}
    other = await house.submit(home=house.staging, **gone)
    await house.submit(home=house.staging)
    await house.service.cancel(NORTH, other.batch_id, event())

    assert await house.work.archives(house.staging) == {"one"}
    assert await house.work.archives(uuid4()) == frozenset()
    assert (await house.get(kept)).state is BatchState.QUEUED


async def test_leftovers_are_claimed_where_they_lie_and_forgotten_when_done(house):
    batch = await house.submit()
    await house.service.cancel(NORTH, batch.batch_id, event())
    house.mapping.query("UPDATE batch_leftovers SET due_at = now() RETURNING id")

    kinds = []
    while claim := await house.work.claim_clean(house.staging):
        kinds.append(claim.kind)
        await house.work.finish_clean(claim)

    assert sorted(kinds) == ["published", "staged", "upload"]
    assert house.mapping.count("batch_leftovers") == 0


async def test_what_has_succeeded_is_not_cancelled(house):
    batch = await house.scanned([1])
    await house.process()
    await house.publish()
    await house.finish()

    with pytest.raises(errors.IllegalTransition):
        await house.service.cancel(NORTH, batch.batch_id, event())


async def test_a_working_batch_is_not_deleted(house):
    batch = await house.scanned()

    with pytest.raises(errors.IllegalTransition):
        await house.service.delete(NORTH, batch.batch_id, event())


@pytest.mark.parametrize("objects", [True, False])
async def test_deleting_forgets_the_batch_and_removes_objects_only_when_asked(house, objects):
    batch = await house.scanned([1])
    await house.process()
    await house.publish()
    await house.finish()
    house.mapping.query("DELETE FROM batch_leftovers RETURNING id")

    await house.service.delete(NORTH, batch.batch_id, event(), objects=objects)

    with pytest.raises(errors.BatchNotFound):
        await house.get(batch)
    kinds = {row["kind"] for row in house.mapping.query("SELECT kind FROM batch_leftovers")}
    assert ("published" in kinds) is objects


async def test_waiting_ends_with_the_next_change(house):
    batch = await house.submit()
    await house.work.claim_scan(house.worker, house.staging)

    changed = await house.service.wait(NORTH, batch.batch_id, version=batch.version, timeout_s=10)

    assert changed.state is BatchState.PROCESSING


async def test_waiting_ends_with_its_time(house):
    batch = await house.submit()

    same = await house.service.wait(NORTH, batch.batch_id, version=batch.version, timeout_s=0.1)

    assert same.version == batch.version


async def test_a_finished_batch_with_a_callback_is_due_until_it_was_delivered(house):
    request = Request({"kind": "x"}, {"kind": "staging"}, callback_url="https://example.test/x")
    await house.scanned([1], request=request)
    await house.process(ItemState.REFUSED)

    claim = await house.work.claim_callback()
    assert (claim.url, claim.attempt) == ("https://example.test/x", 1)
    assert await house.work.claim_callback() is None
    await house.work.finish_callback(claim, 0.0)
    again = await house.work.claim_callback()
    assert again.attempt == 2
    await house.work.finish_callback(again, None)

    assert await house.work.claim_callback() is None
    assert house.mapping.query("SELECT callback_due_at FROM batches")[0]["callback_due_at"] is None
