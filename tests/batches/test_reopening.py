"""A batch of many chunks is opened again page by page, whoever dies or comes between two pages."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Sequence

import pytest

from app import errors, telemetry
from app.batches import remaining, reopening
from app.batches.records import Batch, ScanClaim
from app.batches.representation import estimated_end
from app.batches.reviewing import go_on
from app.batches.states import BatchState, ItemState, OnError
from app.db.migrate import downgrade, upgrade
from tests.batches.held import decide, hold, in_review
from tests.batches.house import BatchHouse, event, files, results
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db

COUNTERS = """
SELECT open_chunks, unpublished_chunks, chunks, total_files, published_files, bytes_out,
    succeeded_files AS succeeded, duplicate_files AS duplicate, ignored_files AS ignored,
    refused_files AS refused, failed_files AS failed, in_review_files AS in_review,
    succeeded_files + duplicate_files + ignored_files + refused_files + failed_files - run_files
        AS done_since, run_published
FROM batches WHERE id = %s
"""
CHUNKS = "SELECT number, state, files, bytes, sealed_files FROM batch_chunks WHERE batch = %s"
ITEMS = "SELECT seq, chunk, state, code, size FROM batch_items WHERE batch = %s"
PROBLEMS = "SELECT code, count FROM batch_problems WHERE batch = %s AND count <> 0"
FORGET_STAGED = """
UPDATE batch_chunks SET staging = NULL, epoch = epoch + 1
WHERE batch = %s AND state = 'processed' RETURNING number
"""


@pytest.fixture(autouse=True)
def two_chunks_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reopening, "MAX_CHUNKS", 2)


def agree(house: BatchHouse, batch: Batch, *, done_since: int | None = None) -> None:
    """Counters, items, chunks and problems say the same, and every file is in one place."""
    (counters,) = house.mapping.query(COUNTERS, batch.batch_id)
    chunks = house.mapping.query(CHUNKS, batch.batch_id)
    items = house.mapping.query(ITEMS, batch.batch_id)
    problems = house.mapping.query(PROBLEMS, batch.batch_id)
    is_open = {row["number"]: row["state"] in {"pending", "processing"} for row in chunks}
    is_out = {row["number"]: row["state"] == "published" for row in chunks}
    succeeded = [row for row in items if row["state"] == "succeeded"]

    assert counters["open_chunks"] == sum(is_open.values())
    assert counters["unpublished_chunks"] == len(chunks) - sum(is_out.values())
    assert counters["chunks"] > max(is_open)
    states = Counter(row["state"] for row in items)
    assert {state: counters[state] for state in ItemState} == {s: states[s] for s in ItemState}
    assert counters["bytes_out"] == sum(row["size"] for row in succeeded)
    assert counters["published_files"] == sum(is_out[row["chunk"]] for row in succeeded)
    codes = Counter(row["code"] for row in items if row["code"])
    assert {row["code"]: row["count"] for row in problems} == dict(codes)
    # Every file is decided, or in a chunk that is open; and it is in one chunk.
    waiting = sum(row["files"] for row in chunks if is_open[row["number"]])
    assert waiting + len(items) == counters["total_files"]
    seqs = [seq for row in chunks for seq in files_of(house, batch, row)]
    assert sorted(seqs) == list(range(counters["total_files"]))
    assert not [row["seq"] for row in items if is_open[row["chunk"]]]
    if done_since is not None:
        assert counters["done_since"] == done_since


def files_of(house: BatchHouse, batch: Batch, chunk: dict) -> list[int]:
    box = house.upkeep._box
    sealed = box.open_files(NORTH, batch.batch_id, chunk["number"], chunk["sealed_files"])
    assert (len(sealed), sum(file.size for file in sealed)) == (chunk["files"], chunk["bytes"])
    return [file.seq for file in sealed]


def left(house: BatchHouse, batch: Batch) -> str | None:
    """What the batch is opened again for, as long as pages are left."""
    found = house.mapping.query("SELECT reopening FROM batches WHERE id = %s", batch.batch_id)
    return found[0]["reopening"]


async def ended(house: BatchHouse, chunks: Sequence[int] = (2,) * 5, **given: object) -> Batch:
    """A batch of which the first file of each chunk is refused."""
    batch = await house.scanned(chunks, **given)
    for _ in chunks:
        await house.process(ItemState.REFUSED)
    if given.get("on_error") is OnError.SKIP:
        for _ in chunks:
            await house.publish()
        await house.finish()
    return await house.get(batch)


async def retried(house: BatchHouse, chunks: Sequence[int] = (2,) * 5, **given: object) -> Batch:
    """The same, tried again: its first page is open."""
    batch = await ended(house, chunks, **given)
    return await house.service.retry(NORTH, batch.batch_id, event())


async def claim_pages(house: BatchHouse) -> ScanClaim:
    claim = await house.work.claim_scan(house.worker, house.staging)
    assert claim is not None
    assert claim.is_reopening
    return claim


async def open_all(house: BatchHouse, batch: Batch) -> int:
    """Open all pages that are left; count them."""
    claim, count = await claim_pages(house), 1
    while await house.work.open_page(claim):
        agree(house, batch)
        count += 1
    agree(house, batch)
    return count


async def process_all(house: BatchHouse) -> list[int]:
    """De-identify all there is; return the files' numbers."""
    done = []
    while claim := await house.work.claim_chunk(house.worker, house.staging):
        assert await house.work.finish_chunk(claim, results(claim), house.staging)
        done += [file.seq for file in claim.files]
    return done


async def publish_all(house: BatchHouse) -> int:
    """Publish all that may be; count the objects."""
    count = 0
    while claim := await house.work.claim_publish(house.worker, house.staging):
        assert await house.work.finish_publish(claim)
        count += len(claim.objects)
    return count


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


async def test_nobody_knows_when_a_batch_ends_that_is_being_opened(house: BatchHouse) -> None:
    batch = await retried(house)
    await house.process()
    later = telemetry.utc_now() + dt.timedelta(seconds=60)

    before = estimated_end(await house.get(batch), later)
    await open_all(house, batch)

    assert before is None
    assert estimated_end(await house.get(batch), later) is not None


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
