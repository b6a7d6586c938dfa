"""A batch that does not get on says what it waits for, since when, and when that is tried again."""

import asyncio
from pathlib import Path

import pytest

from app import telemetry
from app.batches import pieces, worker
from app.batches.ending import LONGEST_PAUSE_S, pause_s
from app.batches.publishing import Publisher
from app.batches.representation import representation
from app.batches.room import OVERFLOW_S, Bounds, Room, RoomState
from app.batches.states import BatchState, OnError
from app.batches.tickets import Task
from app.batches.upkeep import DEATHS_OF_PUBLISHING
from app.batches.waiting import reason_of, title_of
from app.batches.work import MAX_WAITS
from app.errors import (
    DatabaseUnavailable,
    GatewayError,
    StagingFull,
    StagingUnavailable,
    StorageUnavailable,
)
from tests.batches import station as stations
from tests.batches.house import event, files
from tests.batches.station import Station, fill
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


def code_of(batch) -> str | None:
    return batch.waiting.code if batch.waiting is not None else None


async def publishing(house):
    """A batch of one chunk that is to be published, and the claim on it."""
    batch = await house.scanned([1])
    await house.process()
    return batch, await house.work.claim_publish(house.worker, house.staging)


@pytest.mark.parametrize(
    ("task", "error", "reason"),
    [
        (Task.SCAN, StorageUnavailable(), "source-unavailable"),
        (Task.PROCESS, StorageUnavailable(), "source-unavailable"),
        (Task.PROCESS, StagingFull(), "staging-full"),
        (Task.PROCESS, StagingUnavailable(), "staging-unavailable"),
        (Task.PUBLISH, StorageUnavailable(), "destination-unavailable"),
        (Task.FINISH, StorageUnavailable(), "destination-unavailable"),
        (Task.FINISH, DatabaseUnavailable(), "database-unavailable"),
        (Task.PUBLISH, GatewayError(), "internal-error"),
    ],
)
def test_the_reason_names_the_part_that_is_missing(task, error, reason) -> None:
    assert reason_of(task, error) == reason
    assert title_of(reason)


def test_no_pause_is_longer_than_a_person_waits() -> None:
    assert all(pause_s(count) <= LONGEST_PAUSE_S * 1.25 for count in (1, 10, 1000))
    assert LONGEST_PAUSE_S * 1.25 <= 15


async def test_a_batch_that_gets_on_waits_for_nothing(house) -> None:
    batch = await house.scanned([1])

    shown = representation(await house.get(batch), telemetry.utc_now())

    assert shown["waiting_for"] is None


async def test_what_was_given_back_for_later_tells_why_and_when_it_is_tried_again(house) -> None:
    batch, claim = await publishing(house)
    before = await house.get(batch)

    await house.work.give_back(claim, 30, "destination-unavailable")

    waiting = await house.get(batch)
    shown = representation(waiting, telemetry.utc_now())["waiting_for"]
    assert shown["code"] == "destination-unavailable"
    assert shown["title"] == "The destination is away or full"
    assert shown["since"] < shown["next_try_at"]
    assert waiting.version > before.version


async def test_since_is_when_the_trouble_began(house) -> None:
    batch, claim = await publishing(house)
    await house.work.give_back(claim, 30, "destination-unavailable")
    first = (await house.get(batch)).waiting
    house.mapping.query("UPDATE batch_chunks SET not_before = now() RETURNING number")
    again = await house.work.claim_publish(house.worker, house.staging)

    await house.work.give_back(again, 60, "destination-unavailable")

    second = (await house.get(batch)).waiting
    assert second.since == first.since
    assert second.until <= first.until  # some other part of the batch may come first


async def test_progress_ends_the_waiting(house) -> None:
    batch, claim = await publishing(house)
    await house.work.give_back(claim, 30, "destination-unavailable")
    house.mapping.query("UPDATE batch_chunks SET not_before = now() RETURNING number")

    await house.publish()

    assert (await house.get(batch)).waiting is None


async def test_a_source_that_is_away_is_told_while_it_is_listed(house) -> None:
    batch = await house.submit()
    scan = await house.work.claim_scan(house.worker, house.staging)
    await house.work.give_back(scan, 30, "source-unavailable")

    assert code_of(await house.get(batch)) == "source-unavailable"

    house.mapping.query("UPDATE batches SET due_at = now() RETURNING id")
    scan = await house.work.claim_scan(house.worker, house.staging)
    assert await house.work.add_chunks(scan, [files(1)]) is not None
    assert code_of(await house.get(batch)) is None


async def test_an_ended_batch_waits_for_nothing(house) -> None:
    batch, claim = await publishing(house)
    await house.work.give_back(claim, 30, "destination-unavailable")

    await house.service.cancel(NORTH, batch.batch_id, event())

    assert code_of(await house.get(batch)) is None


async def test_a_full_staging_area_is_told_where_every_worker_waits_for_it(house) -> None:
    batch = await house.scanned([1])
    other = await house.work.join(house.staging)
    await house.work.tell_waiting(house.worker, "staging-full")
    one_is_free = await house.get(batch)
    await house.work.tell_waiting(other, "staging-full")

    nobody_is = await house.get(batch)

    assert (code_of(one_is_free), code_of(nobody_is)) == (None, "staging-full")
    await house.work.tell_waiting(other, None)
    assert code_of(await house.get(batch)) is None


async def test_a_batch_that_nobody_could_do_says_so(house) -> None:
    batch = await house.submit()
    await house.work.leave(house.worker)
    young = await house.get(batch)
    house.mapping.query(
        "UPDATE batches SET submitted_at = now() - interval '1 minute' RETURNING id"
    )

    assert (code_of(young), code_of(await house.get(batch))) == (None, "no-worker")
    (listed,) = await house.service.list(NORTH)
    assert code_of(listed) == "no-worker"


async def test_a_destination_is_given_up_after_about_an_hour_of_waiting(house) -> None:
    batch, claim = await publishing(house)
    house.mapping.query("UPDATE batch_chunks SET waits = %s RETURNING number", MAX_WAITS - 1)

    await house.work.give_back(claim, 60, "destination-unavailable")

    failed = await house.get(batch)
    assert (failed.state, failed.code) == (BatchState.FAILED, "storage-unavailable")
    assert MAX_WAITS * LONGEST_PAUSE_S >= 3600


async def test_waiting_for_a_destination_counts_as_no_death(house) -> None:
    batch, claim = await publishing(house)
    for _ in range(DEATHS_OF_PUBLISHING + 1):
        await house.work.give_back(claim, 30, "destination-unavailable")
        house.mapping.query("UPDATE batch_chunks SET not_before = now() RETURNING number")
        claim = await house.work.claim_publish(house.worker, house.staging)
    await house.work.leave(house.worker)

    await house.upkeep.run()

    assert (await house.get(batch)).state is BatchState.PUBLISHING


async def test_speed_is_counted_from_the_retry_on(house) -> None:
    batch = await house.scanned([4])
    await house.process(*(["refused"] * 2))
    house.mapping.query("UPDATE batches SET started_at = now() - interval '2 days' RETURNING id")
    await house.service.retry(NORTH, batch.batch_id, event())
    fresh = representation(await house.get(batch), telemetry.utc_now())
    house.mapping.query("UPDATE batches SET run_at = now() - interval '10 seconds' RETURNING id")
    await house.process()

    shown = representation(await house.get(batch), telemetry.utc_now())

    assert fresh["rate"] is None
    assert shown["rate"]["files_per_s"] == pytest.approx(0.2, rel=0.5)


# With a worker


async def test_a_worker_tells_of_its_destination_and_goes_on_when_it_is_back(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(Path(station.order.root), 10)
    monkeypatch.setattr("app.batches.ending.FIRST_PAUSE_S", 0.05)
    is_away = True
    run = Publisher.run

    async def failing(self, claim, *, is_held):
        if is_away:
            raise StorageUnavailable
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Publisher, "run", failing)
    batch = await station.submit()
    async with station.working():
        found = await station.until(lambda found: found.waiting is not None, batch)
        is_away = False
        ended = await station.ended(batch)

    assert found.waiting.code == "destination-unavailable"
    assert (ended.state, ended.waiting) == (BatchState.SUCCEEDED, None)


async def test_a_worker_tells_of_a_full_staging_area(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(Path(station.order.root), 100)
    monkeypatch.setattr(pieces, "ROOM_LOOK_S", 0.05)
    monkeypatch.setattr(worker, "UPKEEP_S", 0.05)
    gate = asyncio.Event()
    run = Publisher.run

    async def blocked(self, claim, *, is_held):
        await gate.wait()
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Publisher, "run", blocked)
    batch = await station.submit(on_error=OnError.SKIP)
    size = len(next(stations.objects(1)))
    async with station.working(chunk_files=10, staging_max_bytes=30 * size):
        found = await station.until(lambda found: found.waiting is not None, batch)
        gate.set()
        ended = await station.ended(batch)

    assert found.waiting.code == "staging-full"
    assert ended.state is BatchState.SUCCEEDED


def test_a_disk_that_overflowed_is_short_of_room_for_a_while() -> None:
    now = 0.0
    room = Room(None, None, Bounds(), clock=lambda: now)
    assert not room.is_short
    room.overflowed()

    assert room.is_short
    now = OVERFLOW_S
    assert not room.is_short
    room.state = RoomState.DISK
    assert room.is_short
