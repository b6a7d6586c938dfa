"""A batch whose files were reviewed is opened again in pages as well."""

import pytest

from app.batches import remaining
from app.batches.records import Batch
from app.batches.reviewing import go_on
from app.batches.states import BatchState
from tests.batches.held import decide, hold, in_review
from tests.batches.house import BatchHouse
from tests.batches.reopened import agree, open_all, process_all

pytestmark = [pytest.mark.db, pytest.mark.usefixtures("two_chunks_a_page")]


async def in_review_everywhere(house: BatchHouse) -> tuple[Batch, list[str]]:
    """A batch with one file in review in each of five chunks."""
    batch = await house.scanned((2,) * 5)
    names = [hold(house) for _ in range(5)]
    for name in names:
        claim = await house.claim()
        assert await house.work.finish_chunk(claim, in_review(claim, name), house.staging)
    return await house.get(batch), names


async def test_reviewed_files_are_opened_page_by_page_as_well(house: BatchHouse) -> None:
    batch, names = await in_review_everywhere(house)
    for name, state in zip(names, ("released", "expired") * 3, strict=False):
        decide(house, name, state)
    house.mapping.query("DELETE FROM procrastinate_jobs RETURNING id")

    await house.upkeep.run()
    await house.upkeep.run()  # nobody begins anew

    first = await house.get(batch)
    assert (first.in_review_files, first.refused_files, first.waiting) == (3, 1, None)
    assert house.tickets() == {"process": 1, "scan": 1}
    agree(house, batch, done_since=0)
    await house.process()
    waiting = await house.get(batch)  # nothing is open, and it is not in review
    assert (waiting.state, waiting.waiting) == (BatchState.PROCESSING, None)
    assert await go_on(house.mapping.database, house.upkeep._box) == 0
    assert await remaining.is_work_left(house.mapping.database, house.staging)
    assert await open_all(house, batch) == 2
    agree(house, batch, done_since=1)
    assert sorted(await process_all(house)) == [4, 8]
    done = await house.get(batch)
    assert (done.state, done.problems) == (BatchState.HELD, {"review-expired": 2})


async def test_files_that_are_held_once_more_meanwhile_wait_for_people(house: BatchHouse) -> None:
    batch, names = await in_review_everywhere(house)
    for name in names:
        decide(house, name)
    await house.upkeep.run()

    claim = await house.claim()
    assert await house.work.finish_chunk(claim, in_review(claim, hold(house)), house.staging)
    await open_all(house, batch)
    assert len(await process_all(house)) == 4

    now = await house.get(batch)
    assert (now.state, now.in_review_files) == (BatchState.PROCESSING, 1)
    assert now.waiting is not None
    assert now.waiting.code == "review"
    agree(house, batch)


async def test_who_gave_its_place_to_a_batch_waits_while_that_is_being_opened(
    house: BatchHouse,
) -> None:
    first, names = await in_review_everywhere(house)
    second = await house.scanned()
    for name in names:
        decide(house, name)
    assert await go_on(house.mapping.database, house.upkeep._box) == 1
    for _ in range(2):
        await house.process()
    house.mapping.query(
        "UPDATE batches SET parked_behind = %s, parked_at = now() WHERE id = %s RETURNING id",
        first.batch_id,
        second.batch_id,
    )

    await house.upkeep.run()

    waiting = (await house.get(second)).waiting
    assert waiting is not None
    assert waiting.code == "staging-yielded"
