"""What was done before is kept, published or done again while a batch is opened in pages."""

import pytest

from app import errors
from app.batches import remaining
from app.batches.records import Batch
from app.batches.states import BatchState, ItemState, OnError
from tests.batches.house import BatchHouse, event, files
from tests.batches.reopened import (
    FORGET_STAGED,
    agree,
    claim_pages,
    ended,
    left,
    open_all,
    process_all,
    publish_all,
    retried,
)
from tests.mapping_house import NORTH

pytestmark = [pytest.mark.db, pytest.mark.usefixtures("two_chunks_a_page")]


async def test_with_skip_what_is_done_again_is_published_while_pages_are_left(
    house: BatchHouse,
) -> None:
    batch = await retried(house, on_error=OnError.SKIP)
    assert len(await process_all(house)) == 2

    assert await publish_all(house) == 2

    agree(house, batch, done_since=2)
    now = await house.get(batch)
    assert (now.state, now.published_files) == (BatchState.PROCESSING, 7)
    assert await remaining.is_work_left(house.mapping.database, house.staging)
    await open_all(house, batch)
    assert len(await process_all(house)) == 3
    assert await publish_all(house) == 3
    await house.finish()
    done = await house.get(batch)
    assert (done.state, done.revision, done.published_files) == (BatchState.SUCCEEDED, 2, 10)


async def test_nobody_claims_what_is_not_opened_yet(house: BatchHouse) -> None:
    """Tries of an ended run count no more when it is claimed."""
    batch = await house.scanned((2,) * 6, on_error=OnError.SKIP)
    for _ in range(5):
        await house.process()
    claim = await house.work.claim_publish(house.worker, house.staging)
    assert await house.work.fail(claim, errors.DestinationRefused())
    house.mapping.query("UPDATE batch_chunks SET attempts = 5, waits = 299 RETURNING number")

    await house.service.retry(NORTH, batch.batch_id, event())

    agree(house, batch)
    assert await house.work.claim_chunk(house.worker, house.staging) is None  # it is the last one
    assert await publish_all(house) == 4
    assert await house.work.claim_publish(house.worker, house.staging) is None
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")
    await house.upkeep.run()
    assert house.tickets() == {"scan": 1}
    await open_all(house, batch)
    assert (await house.claim()).attempts == 1
    assert await publish_all(house) == 6
    assert house.mapping.query("SELECT max(attempts) AS n FROM batch_chunks") == [{"n": 1}]


async def test_what_is_new_goes_before_what_is_not_opened_yet(house: BatchHouse) -> None:
    batch = await house.scanned((2,) * 6, on_error=OnError.SKIP)
    await house.process(ItemState.REFUSED)
    for _ in range(4):
        await house.process()
    claim = await house.work.claim_publish(house.worker, house.staging)
    assert await house.work.fail(claim, errors.DestinationRefused())
    await house.service.retry(NORTH, batch.batch_id, event())

    done = await house.process()
    numbers = []
    while claim := await house.work.claim_publish(house.worker, house.staging):
        assert await house.work.finish_publish(claim)
        numbers.append(claim.number)

    assert (done.number, numbers) == (6, [0, 1, 6])
    await open_all(house, batch)
    assert (await house.claim()).number == 5


async def test_chunks_that_gave_their_room_away_are_done_whole(house: BatchHouse) -> None:
    batch = await ended(house)
    house.mapping.query(FORGET_STAGED, batch.batch_id)

    first = await house.service.retry(NORTH, batch.batch_id, event())

    assert (first.succeeded_files, first.refused_files) == (3, 3)
    agree(house, batch, done_since=0)
    await open_all(house, batch)
    agree(house, batch, done_since=0)
    assert sorted(await process_all(house)) == list(range(10))
    done = await house.get(batch)
    assert (done.state, done.bytes_out) == (BatchState.PUBLISHING, 9000)


async def gone(house: BatchHouse) -> Batch:
    """A batch that ended because objects went away that it had published."""
    batch = await house.scanned((2,) * 5)
    await process_all(house)
    assert await publish_all(house) == 10
    claim = await house.work.claim_finish(house.worker, house.staging)
    assert await house.work.fail(claim, errors.ObjectsGone())
    return batch


async def test_what_went_away_after_it_was_published_is_published_again(house: BatchHouse) -> None:
    batch = await gone(house)

    first = await house.service.retry(NORTH, batch.batch_id, event())

    assert (first.code, first.published_files, first.run_published) == (None, 6, 6)
    agree(house, batch, done_since=0)
    await open_all(house, batch)
    assert ((await house.get(batch)).published_files, left(house, batch)) == (0, None)
    assert len(await process_all(house)) == 10
    assert await publish_all(house) == 10
    await house.finish()
    assert (await house.get(batch)).state is BatchState.SUCCEEDED


async def test_that_it_went_away_is_known_though_the_batch_fails_between_two_pages(
    house: BatchHouse,
) -> None:
    batch = await gone(house)
    await house.service.retry(NORTH, batch.batch_id, event())
    assert await house.work.fail(await claim_pages(house), errors.SourceNotAllowed())

    await house.service.retry(NORTH, batch.batch_id, event())
    await open_all(house, batch)

    assert (await house.get(batch)).published_files == 0
    assert len(await process_all(house)) == 10


async def test_a_batch_that_failed_while_it_was_listed_is_opened_and_then_listed_on(
    house: BatchHouse,
) -> None:
    batch = await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    listed = files(10)
    scan = await house.work.add_chunks(scan, [listed[n : n + 2] for n in range(0, 10, 2)])
    for _ in range(5):
        await house.process(ItemState.REFUSED)
    assert await house.work.fail(scan, errors.SourceNotAllowed())
    house.mapping.query(FORGET_STAGED, batch.batch_id)

    await house.service.retry(NORTH, batch.batch_id, event())
    claim = await claim_pages(house)
    assert await house.work.add_chunks(scan, [listed]) is None
    while await house.work.open_page(claim):
        agree(house, batch)
    scan = await house.work.claim_scan(house.worker, house.staging)

    assert scan is not None
    assert (scan.is_reopening, scan.next_seq, scan.next_chunk) == (False, 10, 5)
    assert scan.after == listed[-1].name
    assert await house.work.finish_scan(scan)
    agree(house, batch, done_since=0)
    assert len(await process_all(house)) == 10
