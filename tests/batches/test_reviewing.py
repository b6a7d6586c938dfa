"""Files whose pixels people have to look at: the batch waits for them, and goes on by itself."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from app.batches import remaining
from app.batches.records import Batch, ItemResult
from app.batches.reviewing import go_on
from app.batches.states import BatchState, ItemState, OnError
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from tests.batches.held import decide, hold, in_review
from tests.batches.house import BatchHouse, event, result


async def reviewed(house: BatchHouse, chunks=(3,), held: int = 1, **given) -> tuple[Batch, list]:
    """A batch of which everything is decided but so many files of its first chunk."""
    batch = await house.scanned(chunks, **given)
    names = [hold(house) for _ in range(held)]
    claim = await house.claim()
    assert await house.work.finish_chunk(claim, in_review(claim, *names), house.staging)
    for _ in chunks[1:]:
        await house.process()
    return await house.get(batch), names


async def test_a_batch_waits_for_the_review_and_says_so(house: BatchHouse) -> None:
    batch, names = await reviewed(house, held=2)

    assert batch.state is BatchState.PROCESSING
    assert (batch.in_review_files, batch.succeeded_files, batch.done_files) == (2, 1, 1)
    assert batch.problems == {"quarantined": 2}
    assert batch.waiting is not None
    assert batch.waiting.code == "review"
    assert batch.waiting.since is not None
    items = await house.service.items(batch.organization, batch.batch_id, state=ItemState.IN_REVIEW)
    assert [item.quarantine_id for item in items] == names


async def test_nothing_goes_on_while_one_file_is_held(house: BatchHouse) -> None:
    batch, names = await reviewed(house, held=2)
    decide(house, names[0])

    await house.upkeep.run()

    assert await house.work.claim_chunk(house.worker, house.staging) is None
    assert (await house.get(batch)).version == batch.version


async def test_decided_files_are_done_again_and_the_batch_ends(house: BatchHouse) -> None:
    batch, names = await reviewed(house, held=2)
    decide(house, names[0], "released")
    decide(house, names[1], "masked")

    await house.upkeep.run()
    again = await house.claim()
    assert [file.seq for file in again.files] == [0, 1]
    assert (await house.get(batch)).waiting is None
    assert await house.work.finish_chunk(again, [result(f) for f in again.files], house.staging)
    for _ in range(2):
        await house.publish()
    await house.finish()

    ended = await house.get(batch)
    assert ended.state is BatchState.SUCCEEDED
    assert (ended.succeeded_files, ended.published_files, ended.in_review_files) == (3, 3, 0)
    assert ended.problems == {}


async def test_rejected_files_hold_a_batch_or_are_left_out_of_it(house: BatchHouse) -> None:
    for on_error, state in ((OnError.HOLD, BatchState.HELD), (OnError.SKIP, BatchState.PARTIAL)):
        batch, names = await reviewed(house, on_error=on_error)
        if on_error is OnError.SKIP:
            await house.publish()
        decide(house, names[0], "rejected")
        await house.upkeep.run()

        again = await house.claim()
        refused = [ItemResult(file, ItemState.REFUSED, "rejected") for file in again.files]
        assert await house.work.finish_chunk(again, refused, house.staging)
        if on_error is OnError.SKIP:
            await house.finish()

        assert (await house.get(batch)).state is state
        assert (await house.get(batch)).refused_files == 1


async def test_with_skip_what_succeeded_is_published_while_people_look(house: BatchHouse) -> None:
    batch, _ = await reviewed(house, on_error=OnError.SKIP)

    await house.publish()

    now = await house.get(batch)
    assert (now.state, now.published_files) == (BatchState.PROCESSING, 2)
    assert now.waiting is not None
    assert now.waiting.code == "review"
    assert await house.work.claim_finish(house.worker, house.staging) is None


async def test_a_file_that_is_held_once_more_waits_once_more(house: BatchHouse) -> None:
    batch, names = await reviewed(house)
    decide(house, names[0])
    await house.upkeep.run()

    again = await house.claim()
    anew = hold(house)
    assert await house.work.finish_chunk(again, in_review(again, anew), house.staging)
    await house.upkeep.run()

    now = await house.get(batch)
    assert (now.state, now.in_review_files) == (BatchState.PROCESSING, 1)
    assert now.waiting is not None


async def test_what_nobody_decides_about_in_time_is_refused(house: BatchHouse) -> None:
    batch, names = await reviewed(house, held=2)
    decide(house, names[0], "expired")
    decide(house, names[1], "released")

    await house.upkeep.run()
    again = await house.claim()
    assert len(again.files) == 1
    assert await house.work.finish_chunk(again, [result(again.files[0])], house.staging)

    now = await house.get(batch)
    assert now.state is BatchState.HELD
    assert now.problems == {"review-expired": 1}
    await house.service.retry(batch.organization, batch.batch_id, event())
    assert [file.seq for file in (await house.claim()).files] == [0]


async def test_a_row_that_is_gone_counts_as_decided(house: BatchHouse) -> None:
    batch, names = await reviewed(house)
    house.mapping.query("DELETE FROM quarantine WHERE id = %s RETURNING id", UUID(names[0]))

    await house.upkeep.run()

    assert [file.seq for file in (await house.claim()).files] == [0]
    assert (await house.get(batch)).in_review_files == 0


async def test_a_worker_that_dies_over_decided_files_loses_nothing(house: BatchHouse) -> None:
    batch, names = await reviewed(house)
    decide(house, names[0])
    await house.upkeep.run()
    lost = await house.claim()
    house.forget_worker(house.worker)
    house.worker = await house.work.join(house.staging)

    await house.upkeep.run()
    again = await house.claim()
    assert again.number == lost.number
    assert await house.work.finish_chunk(again, [result(again.files[0])], house.staging)
    late = await house.work.finish_chunk(lost, [result(lost.files[0])], house.staging)

    assert late is None
    assert (await house.get(batch)).state is BatchState.PUBLISHING
    assert (await house.get(batch)).succeeded_files == 3


async def test_two_workers_that_look_at_once_open_the_files_once(house: BatchHouse) -> None:
    batch, names = await reviewed(house)
    decide(house, names[0])
    box, database = house.upkeep._box, house.mapping.database

    assert await go_on(database, box) == 1
    assert await go_on(database, box) == 0

    assert len((await house.claim()).files) == 1
    assert await house.work.claim_chunk(house.worker, house.staging) is None
    assert (await house.get(batch)).total_files == 3


async def test_lost_results_of_a_batch_in_review_are_done_again(house: BatchHouse) -> None:
    """The held file is met again with them: its bytes are known, and it waits as before."""
    batch, names = await reviewed(house)
    house.mapping.query(
        "UPDATE batch_chunks SET staging = NULL, epoch = epoch + 1"
        " WHERE batch = %s AND state = 'processed' RETURNING number",
        batch.batch_id,
    )
    decide(house, names[0])

    await house.upkeep.run()
    again = await house.claim()

    assert [file.seq for file in again.files] == [0, 1, 2]
    now = await house.get(batch)
    assert (now.in_review_files, now.succeeded_files, now.problems) == (0, 0, {})


async def test_a_batch_in_review_can_be_cancelled(house: BatchHouse) -> None:
    batch, names = await reviewed(house)

    await house.service.cancel(batch.organization, batch.batch_id, event())
    decide(house, names[0])
    await house.upkeep.run()

    assert (await house.get(batch)).state is BatchState.CANCELLED
    assert await house.work.claim_chunk(house.worker, house.staging) is None


@pytest.mark.parametrize("is_decided", [False, True])
async def test_workers_that_end_when_all_is_done_do_not_wait_for_people(
    house: BatchHouse, is_decided: bool
) -> None:
    _, names = await reviewed(house)
    if is_decided:
        decide(house, names[0])

    left = await remaining.is_work_left(house.mapping.database, house.staging)

    assert left is is_decided


async def test_batches_in_review_are_counted_among_those_that_wait(house: BatchHouse) -> None:
    await reviewed(house)

    assert await house.work.waiting() == {"review": 1}


@pytest.fixture
def worker_url(database_url: str) -> Iterator[str]:
    """The database as a worker's own user sees it."""
    name, password = f"test_worker_{uuid4().hex[:8]}", "a-long-pass-phrase"
    ensure_user(database_url, DatabaseRole.WORKER, name=name, password=password)
    yield urlunsplit(urlsplit(database_url)._replace(netloc=f"{name}:{password}@"))
    with psycopg.connect(database_url, autocommit=True) as owner:
        for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
            owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


async def test_the_workers_own_user_sees_what_is_held_and_what_is_decided(
    house: BatchHouse, worker_url: str
) -> None:
    batch, names = await reviewed(house)
    database = Database(worker_url)
    try:
        assert await go_on(database, house.upkeep._box) == 0
        assert not await remaining.is_work_left(database, house.staging)
        decide(house, names[0])
        assert await remaining.is_work_left(database, house.staging)
        assert await go_on(database, house.upkeep._box) == 1
    finally:
        await database.close()

    assert (await house.get(batch)).waiting is None
