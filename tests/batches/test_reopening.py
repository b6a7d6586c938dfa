"""A batch of many chunks is opened again page by page, whoever dies or comes between two pages."""

import asyncio
import datetime as dt

import pytest

from app import errors, telemetry
from app.batches import remaining, reopening
from app.batches.representation import estimated_end
from app.batches.states import BatchState, ItemState
from app.db.migrate import downgrade, upgrade
from tests.batches.house import BatchHouse, event, results
from tests.batches.reopened import (
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


async def test_what_fits_into_one_page_is_open_when_the_answer_leaves(house: BatchHouse) -> None:
    batch = await retried(house, (2, 2))

    assert left(house, batch) is None
    assert batch.problems == {}
    agree(house, batch, done_since=0)
    assert house.mapping.query(
        "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'batches.scan'"
    ) == [{"n": 1}]  # of the first scan


async def test_a_retry_opens_one_page_and_workers_the_others(house: BatchHouse) -> None:
    batch = await retried(house)

    assert (batch.state, batch.is_reopening) == (BatchState.PROCESSING, True)
    assert (batch.refused_files, batch.problems) == (3, {"truncated": 3})
    agree(house, batch, done_since=0)
    assert await open_all(house, batch) == 2
    assert left(house, batch) is None
    agree(house, batch, done_since=0)
    assert sorted(await process_all(house)) == [0, 2, 4, 6, 8]
    assert await publish_all(house) == 10
    await house.finish()
    done = await house.get(batch)
    assert (done.state, done.published_files, done.problems) == (BatchState.SUCCEEDED, 10, {})


async def test_workers_are_told_of_the_pages_and_a_lost_ticket_is_made_again(
    house: BatchHouse,
) -> None:
    await ended(house)
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")
    (batch,) = await house.service.list(NORTH)

    await house.service.retry(NORTH, batch.batch_id, event())
    told = house.tickets()
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")
    await house.upkeep.run()

    assert told == {"process": 2, "scan": 1}
    assert house.tickets() == {"process": 2, "scan": 1}
    claim = await claim_pages(house)
    await house.upkeep.run()
    assert house.tickets() == {"process": 2, "scan": 1}
    while await house.work.open_page(claim):
        pass
    assert await house.work.claim_scan(house.worker, house.staging) is None


@pytest.mark.parametrize(
    ("files", "page"),
    [([], 0), ([1, 1, 1], 2), ([5, 5], 1), ([4, 2], 1), ([3, 2, 1], 2), ([9], 1), ([0, 0, 9], 2)],
)
def test_a_page_is_bounded_in_chunks_and_files_and_takes_one_chunk_at_least(
    monkeypatch: pytest.MonkeyPatch, files: list[int], page: int
) -> None:
    monkeypatch.setattr(reopening, "MAX_FILES", 5)

    assert reopening.taken(files) == page


async def test_pages_of_many_files_hold_fewer_chunks(
    house: BatchHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "MAX_FILES", 3)
    batch = await retried(house, (2, 2, 4, 1, 1))

    assert await open_all(house, batch) == 3
    assert sorted(await process_all(house)) == [0, 2, 4, 8, 9]


async def test_a_worker_may_die_between_any_two_pages(house: BatchHouse) -> None:
    batch = await retried(house, (2,) * 9)
    claims = []
    while left(house, batch):
        claims.append(await claim_pages(house))
        await house.work.open_page(claims[-1])
        agree(house, batch, done_since=0)
        house.forget_worker(house.worker)
        house.worker = await house.work.join(house.staging)
        await house.upkeep.run()

    assert len(claims) == 4
    assert [await house.work.open_page(late) for late in claims] == [False] * 4
    assert sorted(await process_all(house)) == list(range(0, 18, 2))
    assert (await house.get(batch)).state is BatchState.PUBLISHING


async def test_who_lost_the_claim_opens_no_page(house: BatchHouse) -> None:
    batch = await retried(house)
    late = await claim_pages(house)
    house.forget_worker(house.worker)
    await house.upkeep.run()
    claim = await claim_pages(house)
    before = await house.get(batch)

    assert not await house.work.open_page(late)

    assert await house.get(batch) == before
    assert await house.work.open_page(claim)


async def test_a_page_that_breaks_in_the_middle_changes_nothing(
    house: BatchHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await retried(house)
    claim = await claim_pages(house)
    before = await house.get(batch)

    async def breaks(*_: object) -> None:
        raise errors.KeyUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(reopening, "insert_chunks", breaks)
        with pytest.raises(errors.KeyUnavailable):
            await house.work.open_page(claim)

    agree(house, batch)
    assert await house.get(batch) == before
    await house.work.give_back(claim)
    assert await open_all(house, batch) == 2


async def test_two_workers_at_once_open_each_page_once(house: BatchHouse) -> None:
    batch = await retried(house, (2,) * 9)
    other = await house.work.join(house.staging)
    taken = await asyncio.gather(
        *[house.work.claim_scan(worker, house.staging) for worker in (house.worker, other)]
    )
    (claim,) = [claim for claim in taken if claim is not None]

    # One claim used twice at the same time is worse than two workers can be.
    while True in await asyncio.gather(*[house.work.open_page(claim) for _ in range(2)]):
        agree(house, batch, done_since=0)

    agree(house, batch, done_since=0)
    assert left(house, batch) is None
    assert sorted(await process_all(house)) == list(range(0, 18, 2))


async def test_chunks_end_while_pages_are_opened(house: BatchHouse) -> None:
    batch = await retried(house, (2,) * 9)
    claim = await claim_pages(house)

    async def process() -> None:
        again = await house.claim()
        assert await house.work.finish_chunk(again, results(again), house.staging)

    await asyncio.gather(process(), house.work.open_page(claim))
    agree(house, batch, done_since=1)
    await asyncio.gather(process(), house.work.open_page(claim), process())

    agree(house, batch, done_since=3)


async def test_a_batch_is_settled_when_the_last_page_is_open_and_not_before(
    house: BatchHouse,
) -> None:
    batch = await house.scanned((2,) * 5)
    await house.process(ItemState.REFUSED)
    for _ in range(4):
        await house.process()
    await house.service.retry(NORTH, batch.batch_id, event())

    await house.process()

    waiting = await house.get(batch)
    assert (waiting.state, waiting.done_files) == (BatchState.PROCESSING, 10)
    assert await house.work.claim_publish(house.worker, house.staging) is None
    assert await house.work.claim_finish(house.worker, house.staging) is None
    assert await remaining.is_work_left(house.mapping.database, house.staging)
    assert await open_all(house, batch) == 2
    assert (await house.get(batch)).state is BatchState.PUBLISHING
    assert await publish_all(house) == 10
    await house.finish()
    assert (await house.get(batch)).state is BatchState.SUCCEEDED


async def test_a_batch_that_is_cancelled_between_two_pages_stays_so(house: BatchHouse) -> None:
    batch = await retried(house)
    claim = await claim_pages(house)

    cancelled = await house.service.cancel(NORTH, batch.batch_id, event())

    assert not await house.work.open_page(claim)
    await house.work.give_back(claim)
    assert await house.work.claim_scan(house.worker, house.staging) is None
    assert await house.work.claim_chunk(house.worker, house.staging) is None
    assert await house.get(batch) == cancelled
    await house.service.delete(NORTH, batch.batch_id, event())
    assert house.mapping.count("batch_items") == 0


async def test_a_batch_that_is_being_opened_is_not_tried_again_or_deleted(
    house: BatchHouse,
) -> None:
    batch = await retried(house)

    with pytest.raises(errors.IllegalTransition):
        await house.service.retry(NORTH, batch.batch_id, event())
    with pytest.raises(errors.IllegalTransition):
        await house.service.delete(NORTH, batch.batch_id, event())

    agree(house, batch)


async def test_what_fails_between_two_pages_is_tried_again_from_the_beginning(
    house: BatchHouse,
) -> None:
    batch = await retried(house)
    await house.process()
    claim = await claim_pages(house)
    assert await house.work.fail(claim, errors.SourceNotAllowed())
    agree(house, batch)

    await house.service.retry(NORTH, batch.batch_id, event())

    assert not await house.work.open_page(claim)
    await open_all(house, batch)
    assert sorted(await process_all(house)) == [2, 4, 6, 8]
    assert (await house.get(batch)).state is BatchState.PUBLISHING


async def test_a_set_back_waits_and_says_what_for(house: BatchHouse) -> None:
    batch = await retried(house)
    await house.work.give_back(await claim_pages(house), 60, errors.KeyUnavailable.code)

    waiting = (await house.get(batch)).waiting
    assert waiting is not None
    assert waiting.code == "key-unavailable"
    assert await house.work.claim_scan(house.worker, house.staging) is None
    house.mapping.query("UPDATE batches SET due_at = now() RETURNING id")
    await open_all(house, batch)
    assert (await house.get(batch)).waiting is None


async def test_nobody_knows_when_a_batch_ends_that_is_being_opened(house: BatchHouse) -> None:
    batch = await retried(house)
    await house.process()
    later = telemetry.utc_now() + dt.timedelta(seconds=60)

    before = estimated_end(await house.get(batch), later)
    await open_all(house, batch)

    assert before is None
    assert estimated_end(await house.get(batch), later) is not None


async def test_a_batch_ends_that_an_older_worker_settled_with_pages_left(house: BatchHouse) -> None:
    batch = await house.scanned((2,) * 5)
    await house.process(ItemState.REFUSED)
    for _ in range(4):
        await house.process()
    await house.service.retry(NORTH, batch.batch_id, event())
    await house.process()
    house.mapping.query("UPDATE batches SET state = 'publishing' RETURNING id")

    assert await house.work.claim_scan(house.worker, house.staging) is None
    assert await publish_all(house) == 10
    await house.finish()

    assert (await house.get(batch)).state is BatchState.SUCCEEDED


async def test_a_release_without_pages_has_the_batch_tried_again(
    house: BatchHouse, database_url: str
) -> None:
    batch = await retried(house)

    await downgrade(database_url, "0009")
    await upgrade(database_url)

    assert (await house.get(batch)).state is BatchState.FAILED
    await house.service.retry(NORTH, batch.batch_id, event())
    await open_all(house, batch)
    assert sorted(await process_all(house)) == [0, 2, 4, 6, 8]
