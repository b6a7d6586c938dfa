"""Who may work on what, and what happens to it when he dies, sleeps or is too late."""

import asyncio
import threading
import time
from collections import Counter
from uuid import uuid4

import psycopg
import pytest

from app import errors
from app.batches import settling, upkeep
from app.batches.chunks import ItemsAddedBefore
from app.batches.heartbeat import Heartbeat
from app.batches.states import BatchState, ItemState, OnError, Priority
from app.batches.upkeep import DEATHS_OF_CHUNK, DEATHS_OF_FILE, DEATHS_OF_SUSPECT, PARTS
from tests.batches.house import LOST_AFTER_S, event, files, result, results
from tests.mapping_house import NORTH, SOUTH

pytestmark = pytest.mark.db


async def claims(house, count: int) -> list[str]:
    found = [await house.work.claim_chunk(house.worker, house.staging) for _ in range(count)]
    return [claim.organization for claim in found if claim is not None]


async def die(house, deaths: int) -> None:
    """So many workers claim a chunk and are never heard of again."""
    for _ in range(deaths):
        worker = await house.work.join(house.staging)
        assert await house.work.claim_chunk(worker, house.staging) is not None
        await house.work.leave(worker)
        await house.upkeep.run()


def until_somebody_waits(house) -> None:
    """Return as soon as a connection waits for a lock of another."""
    while not is_waiting_for_a_lock(house):
        time.sleep(0.01)


def is_waiting_for_a_lock(house) -> bool:
    found = house.mapping.query(
        "SELECT count(*) AS n FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found[0]["n"] > 0


async def test_a_scan_is_claimed_once(house):
    await house.submit()

    assert await house.work.claim_scan(house.worker, house.staging) is not None
    assert await house.work.claim_scan(house.worker, house.staging) is None


async def test_chunks_are_there_with_their_tickets_while_the_scan_goes_on(house):
    batch = await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    await house.work.add_chunks(scan, [files(2), files(1)])

    claim = await house.claim()

    assert [file.name for file in claim.files] == [file.name for file in files(2)]
    assert house.tickets()["process"] == 2
    found = await house.get(batch)
    assert (found.total_files, found.is_scanned) == (3, False)


async def test_a_killed_scan_goes_on_behind_the_last_file(house):
    await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    await house.work.add_chunks(scan, [files(3)])
    house.forget_worker(house.worker)
    await house.upkeep.run()

    again = await house.work.claim_scan(house.worker, house.staging)

    assert (again.next_seq, again.next_chunk, again.after) == (3, 1, files(3)[-1].name)
    assert await house.work.add_chunks(scan, [files(1)]) is None
    assert not await house.work.finish_scan(scan)


async def test_urgent_batches_go_first(house):
    await house.scanned([1])
    await house.scanned([1], priority=Priority.URGENT, organization=SOUTH)
    await house.scanned([1], priority=Priority.STAT)

    claimed = [await house.claim() for _ in range(3)]

    assert [claim.priority for claim in claimed] == sorted(Priority, reverse=True)


async def test_organisations_take_turns_however_many_batches_one_has(house):
    for _ in range(3):
        await house.scanned([1, 1])
    await house.scanned([1, 1], organization=SOUTH)

    assert (await claims(house, 4)).count(SOUTH) == 2


async def test_turns_alternate_when_one_chunk_is_done_after_the_other(house):
    for organization in (NORTH, NORTH, SOUTH):
        await house.scanned([1, 1, 1], organization=organization)

    order = [(await house.process()).organization for _ in range(6)]

    assert order.count(SOUTH) == 3


async def test_a_batch_with_a_home_is_done_by_the_workers_there_alone(house):
    await house.scanned([1], home=house.staging)
    elsewhere = uuid4()
    stranger = await house.work.join(elsewhere)

    assert await house.work.claim_chunk(stranger, elsewhere) is None
    assert await house.work.claim_chunk(house.worker, house.staging) is not None


async def test_staged_results_are_published_where_they_lie(house):
    await house.scanned([1])
    await house.process()
    elsewhere = uuid4()
    stranger = await house.work.join(elsewhere)

    assert await house.work.claim_publish(stranger, elsewhere) is None
    assert await house.work.claim_publish(house.worker, house.staging) is not None


async def test_a_publication_names_its_objects_and_where_they_were_staged(house):
    await house.scanned([2])
    done = await house.process()

    claim = await house.work.claim_publish(house.worker, house.staging)

    assert [entry.seq for entry in claim.objects] == [0, 1]
    assert (claim.staged_epoch, claim.is_first) == (done.epoch, True)


async def test_a_lost_chunk_goes_to_another_worker_and_the_first_changes_nothing(house):
    batch = await house.scanned([2])
    late = await house.claim()
    house.forget_worker(house.worker)
    await house.upkeep.run()
    again = await house.claim()

    assert again.epoch > late.epoch
    assert not await house.work.finish_chunk(late, results(late), house.staging)
    assert await house.work.finish_chunk(again, results(again), house.staging)
    assert not await house.work.finish_chunk(again, results(again), house.staging)
    assert (await house.get(batch)).succeeded_files == 2


async def test_a_worker_that_was_only_slow_keeps_its_chunk_until_others_take_it(house):
    await house.scanned([1])
    claim = await house.claim()
    house.forget_worker(house.worker)

    assert await house.work.finish_chunk(claim, results(claim), house.staging)


async def test_a_lost_publication_is_done_by_another_worker_and_counted_once(house):
    batch = await house.scanned([1])
    await house.process()
    late = await house.work.claim_publish(house.worker, house.staging)
    house.forget_worker(house.worker)
    await house.upkeep.run()
    again = await house.work.claim_publish(house.worker, house.staging)

    assert not again.is_first
    assert not await house.work.finish_publish(late)
    assert await house.work.finish_publish(again)
    assert (await house.get(batch)).published_files == 1


async def test_a_lost_finish_is_done_by_another_worker(house):
    batch = await house.scanned([1])
    await house.process()
    await house.publish()
    late = await house.work.claim_finish(house.worker, house.staging)
    house.forget_worker(house.worker)
    await house.upkeep.run()

    again = await house.work.claim_finish(house.worker, house.staging)

    assert not await house.work.finish(late, "late")
    assert await house.work.finish(again, "again")
    assert (await house.get(batch)).manifest_path == "again"


async def test_what_is_given_back_is_free_at_once_and_counts_as_no_death(house):
    await house.scanned([1])
    claim = await house.claim()
    await house.work.give_back(claim)

    again = await house.claim()

    assert again.attempts == 1
    assert not await house.work.finish_chunk(claim, results(claim), house.staging)


async def test_what_is_given_back_for_later_waits(house):
    await house.scanned([1])
    await house.work.give_back(await house.claim(), 60)

    assert await house.work.claim_chunk(house.worker, house.staging) is None
    house.mapping.query("UPDATE batch_chunks SET not_before = now() RETURNING number")
    assert await house.work.claim_chunk(house.worker, house.staging) is not None


async def test_scans_and_finishes_are_given_back_as_well(house):
    await house.submit()
    await house.work.give_back(await house.work.claim_scan(house.worker, house.staging))
    scan = await house.work.claim_scan(house.worker, house.staging)
    await house.work.finish_scan(await house.work.add_chunks(scan, [files(1)]))
    await house.process()
    await house.publish()
    await house.work.give_back(await house.work.claim_finish(house.worker, house.staging), 60)

    assert await house.work.claim_finish(house.worker, house.staging) is None


async def test_a_chunk_that_killed_two_workers_is_divided(house):
    batch = await house.scanned([40])
    await die(house, DEATHS_OF_CHUNK)

    claimed = [await house.claim() for _ in range(40 // 3 + 1)]

    assert sorted(file.seq for claim in claimed for file in claim.files) == list(range(40))
    assert await house.work.claim_chunk(house.worker, house.staging) is None
    assert (await house.get(batch)).total_files == 40


async def test_the_object_that_kills_every_worker_is_reported_and_all_others_arrive(house):
    batch = await house.scanned([PARTS * PARTS])
    poison = 77
    deaths = 0
    while claim := await house.work.claim_chunk(house.worker, house.staging):
        if poison in {file.seq for file in claim.files}:
            deaths += 1
            await house.work.leave(house.worker)
            await house.upkeep.run()
            house.worker = await house.work.join(house.staging)
        else:
            assert await house.work.finish_chunk(claim, results(claim), house.staging)

    (item,) = await house.service.items(NORTH, batch.batch_id, state=ItemState.FAILED)
    held = await house.get(batch)
    assert (item.seq, item.code) == (poison, "worker-crashed")
    assert (held.state, held.succeeded_files) == (BatchState.HELD, PARTS * PARTS - 1)
    assert deaths == DEATHS_OF_CHUNK + DEATHS_OF_SUSPECT + DEATHS_OF_FILE


async def test_staged_results_that_are_gone_are_made_again(house):
    batch = await house.scanned([2])
    await house.process(ItemState.IGNORED)
    claim = await house.work.claim_publish(house.worker, house.staging)

    assert await house.work.restage(claim)

    undone = await house.get(batch)
    assert (undone.state, undone.done_files, undone.problems) == (BatchState.PROCESSING, 0, {})
    assert not await house.work.finish_publish(claim)
    await house.process(ItemState.IGNORED)
    await house.publish()
    await house.finish()
    done = await house.get(batch)
    assert (done.bytes_in, done.succeeded_files) == (2000, 1)


async def test_chunks_of_a_staging_area_that_is_gone_are_done_elsewhere(house):
    batch = await house.scanned([1])
    await house.process()
    house.forget_worker(house.worker)
    elsewhere = uuid4()
    await house.work.join(elsewhere)

    await house.upkeep.run()

    assert (await house.get(batch)).state is BatchState.PROCESSING
    assert await house.work.claim_chunk(house.worker, elsewhere) is not None


async def test_lost_tickets_are_made_again(house):
    await house.submit()
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")

    await house.upkeep.run()

    assert house.tickets() == {"scan": 1}


async def test_tickets_of_every_kind_are_topped_up_to_what_is_due(house):
    await house.scanned([1, 1, 1], on_error=OnError.SKIP)
    await house.process()
    other = await house.submit()
    await house.service.cancel(NORTH, other.batch_id, event())
    house.mapping.query("UPDATE batch_leftovers SET due_at = now() RETURNING id")
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")

    await house.upkeep.run()
    await house.upkeep.run()

    assert house.tickets() == {"process": 2, "publish": 1, "clean": 3}


async def test_old_batches_are_forgotten_with_what_they_left(house):
    batch = await house.scanned([1])
    await house.process(ItemState.REFUSED)
    house.mapping.query("UPDATE batches SET finished_at = now() - interval '31 days' RETURNING id")

    await house.upkeep.run()

    with pytest.raises(errors.BatchNotFound):
        await house.get(batch)
    kinds = {row["kind"] for row in house.mapping.query("SELECT kind FROM batch_leftovers")}
    assert kinds == {"staged", "upload"}


async def test_a_large_batch_is_hidden_at_once_and_deleted_piece_by_piece(house, monkeypatch):
    monkeypatch.setattr(settling, "MAX_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(upkeep, "MAX_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(upkeep, "PIECES_OF_ROUND", 1)
    batch = await house.scanned([5])
    await house.process(ItemState.REFUSED)
    await house.service.delete(NORTH, batch.batch_id, event())

    left = []
    while house.mapping.count("batches"):
        with pytest.raises(errors.BatchNotFound):
            await house.get(batch)
        assert await house.service.list(NORTH) == []
        left.append(house.mapping.count("batch_items"))
        await house.upkeep.run()

    assert left == [5, 3, 1]


async def test_one_organisation_with_many_batches_of_each_priority_is_passed_in_order(house):
    for priority in (Priority.ROUTINE, Priority.STAT, Priority.URGENT, Priority.STAT):
        for organization in (NORTH, SOUTH):
            await house.scanned([1], priority=priority, organization=organization)

    claimed = [await house.claim() for _ in range(8)]

    assert [claim.priority for claim in claimed] == sorted(
        (claim.priority for claim in claimed), reverse=True
    )
    assert {claim.organization for claim in claimed[:2]} == {NORTH, SOUTH}
    assert await house.work.claim_chunk(house.worker, house.staging) is None


async def test_the_manifest_lists_published_objects_by_study_series_and_instance(house):
    await house.scanned([3])
    await house.process(ItemState.IGNORED)
    await house.publish()
    claim = await house.work.claim_finish(house.worker, house.staging)

    pages = [page async for page in house.work.entries(claim)]

    assert [entry.sop_instance_uid for page in pages for entry in page] == [
        "2.25.1001",
        "2.25.1002",
    ]


async def test_the_backlog_counts_what_waits(house):
    await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    await house.work.add_chunks(scan, [files(1), files(1), files(1)])
    await house.process()
    await house.claim()

    found = await house.work.backlog()

    assert (found.waiting_chunks, found.processing_chunks, found.staged_chunks) == (1, 1, 1)
    assert await house.work.staged_bytes(house.staging) == 1000


@pytest.fixture
def heartbeat(house):
    return Heartbeat(house.mapping.url, house.worker, house.staging, lost_after_s=LOST_AFTER_S)


async def test_a_heartbeat_keeps_a_worker_alive(house, heartbeat):
    house.forget_worker(house.worker)
    with psycopg.connect(house.mapping.url, autocommit=True) as connection:
        heartbeat.beat(connection)
    await house.scanned([1])
    claim = await house.claim()

    await house.upkeep.run()

    assert await house.work.finish_chunk(claim, results(claim), house.staging)


async def test_a_claim_is_held_until_others_have_it(house, heartbeat):
    await house.scanned([1])
    claim = await house.claim()
    heartbeat.take(claim)
    with psycopg.connect(house.mapping.url, autocommit=True) as connection:
        heartbeat.beat(connection)
        assert heartbeat.holds(claim)
        house.forget_worker(house.worker)
        await house.upkeep.run()
        heartbeat.beat(connection)

    assert not heartbeat.holds(claim)


async def test_claims_of_a_cancelled_batch_are_held_no_longer(house, heartbeat):
    batch = await house.scanned([1])
    claim = await house.claim()
    heartbeat.take(claim)
    await house.service.cancel(NORTH, batch.batch_id, event())
    with psycopg.connect(house.mapping.url, autocommit=True) as connection:
        heartbeat.beat(connection)

    assert not heartbeat.holds(claim)


async def test_whoever_cannot_reach_the_database_trusts_no_claim(house):
    moments = iter([0.0, 0.0, 1.0, LOST_AFTER_S])
    heartbeat = Heartbeat(
        house.mapping.url,
        house.worker,
        house.staging,
        lost_after_s=LOST_AFTER_S,
        clock=lambda: next(moments),
    )
    await house.scanned([1])
    claim = await house.claim()
    heartbeat.take(claim)

    assert heartbeat.holds(claim)
    assert not heartbeat.holds(claim)


async def test_the_heartbeat_beats_by_itself_and_ends(house, heartbeat):
    house.forget_worker(house.worker)
    heartbeat.start()
    deadline = time.monotonic() + 10
    seen = "SELECT seen_at > now() - interval '1 minute' AS seen FROM batch_workers WHERE id = %s"
    while not house.mapping.query(seen, house.worker)[0]["seen"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    heartbeat.stop()

    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


async def test_chunks_with_the_same_instances_in_another_order_end_at_the_same_time(house):
    batch = await house.scanned([40, 40])
    claims = [await house.claim(), await house.claim()]
    made = [
        [
            result(file, sop_instance_uid=f"2.25.{number}", sha256=b"same")
            for file, number in zip(c.files, order, strict=True)
        ]
        for c, order in zip(claims, (range(40), reversed(range(40))), strict=True)
    ]

    done = await asyncio.gather(
        *(house.work.finish_chunk(c, r, house.staging) for c, r in zip(claims, made, strict=True))
    )

    ends = [Counter(settled.state for settled in chunk) for chunk in done]
    assert sum(ends, Counter()) == {ItemState.SUCCEEDED: 40, ItemState.DUPLICATE: 40}
    found = await house.get(batch)
    assert (found.succeeded_files, found.duplicate_files) == (40, 40)


async def test_items_of_a_claim_that_was_lost_meanwhile_are_taken_back(house):
    batch = await house.scanned([3])
    late = await house.claim()

    with psycopg.connect(house.mapping.url) as hand:  # whoever decides holds the batch's lock
        hand.execute("SELECT FROM batches FOR NO KEY UPDATE")
        finishing = asyncio.create_task(house.work.finish_chunk(late, results(late), house.staging))
        await asyncio.to_thread(until_somebody_waits, house)
        hand.execute("UPDATE batch_chunks SET epoch = epoch + 1, worker = NULL, state = 'pending'")

    assert not await finishing
    assert house.mapping.query("SELECT count(*) AS n FROM batch_items")[0]["n"] == 0
    assert await house.process() is not None
    assert (await house.get(batch)).succeeded_files == 3


async def test_a_chunk_that_has_items_without_being_finished_is_no_success(house):
    await house.scanned([2])
    claim = await house.claim()
    with psycopg.connect(house.mapping.url, autocommit=True) as hand:
        hand.execute(
            "INSERT INTO batch_items (batch, seq, chunk, state, data_key, sealed_name)"
            " SELECT id, 1, 0, 'failed', 1, '' FROM batches"
        )

    with pytest.raises(ItemsAddedBefore):
        await house.work.finish_chunk(claim, results(claim), house.staging)
