"""On a full disk one batch gives its place to another, and none of them waits for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.access.organizations import Organizations
from app.batches import pieces, worker, yielding
from app.batches.records import Batch
from app.batches.room import Bounds, Room, RoomState
from app.batches.staging import StagingArea
from app.batches.standing import area_state
from app.batches.states import BatchState, ItemState, OnError, Priority
from app.batches.yielding import STUCK_S, Yielding
from tests.batches import station as stations
from tests.batches.held import decide, hold, in_review
from tests.batches.house import event, result, results
from tests.batches.station import Station, below, fill
from tests.mapping_house import NORTH, SOUTH

pytestmark = pytest.mark.db


@pytest.fixture
async def station(database_url: str, tmp_path: Path) -> AsyncIterator[Station]:
    async with stations.opened(database_url, tmp_path) as made:
        await Organizations(made.database).ensure(SOUTH)
        yield made


def sizes(directory: Path) -> Iterator[int]:
    for path in below(directory):
        with contextlib.suppress(FileNotFoundError):  # it may be removed just now
            yield path.stat().st_size


class Area:
    """A staging area of the house on disk, that is full."""

    def __init__(self, house, directory: Path) -> None:
        self.area = StagingArea(directory / "staging")
        house.staging = self.area.staging_id
        self.house = house
        self.now = 0.0
        self.room = Room(house.mapping.database, self.area, Bounds())
        self.room.state = RoomState.DISK
        self._yielding = Yielding(
            house.mapping.database, self.area, self.room, clock=lambda: self.now
        )

    async def joined(self) -> "Area":
        self.house.worker = await self.house.work.join(self.house.staging)
        return self

    async def process(self, *states: ItemState) -> None:
        """De-identify one chunk with files on disk."""
        claim = await self.house.claim()
        self.area.make_chunk(claim.batch_id, claim.number, claim.epoch)
        for file in claim.files:
            path = self.area.staged(claim.batch_id, claim.number, claim.epoch, file.seq)
            path.write_bytes(b"staged")
        done = results(claim, *states)
        assert await self.house.work.finish_chunk(claim, done, self.house.staging)

    async def look(self) -> None:
        await self._yielding.look()

    async def look_in_vain(self) -> None:
        """Look long enough for something to be done about it."""
        await self.look()
        self.now += STUCK_S
        await self.look()

    def staged_of(self, batch: Batch) -> int:
        return len(below(self.area.path / ".work" / str(batch.batch_id)))


@pytest.fixture
async def area(house, tmp_path: Path) -> Area:
    return await Area(house, tmp_path).joined()


async def two_held_back(house, area: Area) -> tuple[Batch, Batch]:
    """Two batches of which one chunk each is staged, and one is not."""
    first = await house.scanned([2, 2], organization=NORTH)
    second = await house.scanned([2, 2], organization=SOUTH)
    await area.process()
    await area.process()
    return first, second


async def test_the_later_of_two_gives_its_place_to_the_earlier_one(house, area: Area) -> None:
    first, second = await two_held_back(house, area)

    await area.look_in_vain()

    one, other = await house.get(first), await house.get(second)
    assert (one.waiting, one.succeeded_files, area.staged_of(first)) == (None, 2, 2)
    assert other.waiting.code == "staging-yielded"
    assert (other.state, other.succeeded_files, area.staged_of(second)) == (
        BatchState.PROCESSING,
        0,
        0,
    )
    assert (await house.claim()).batch_id == first.batch_id
    assert await house.work.claim_chunk(house.worker, house.staging) is None


async def test_the_more_urgent_one_goes_first(house, area: Area) -> None:
    first = await house.scanned([2, 2], organization=NORTH)
    await area.process()
    urgent = await house.scanned([2, 2], organization=SOUTH, priority=Priority.STAT)
    await area.process()

    await area.look_in_vain()

    assert (await house.get(urgent)).waiting is None
    assert (await house.get(first)).waiting.code == "staging-yielded"


async def test_who_gave_way_goes_on_when_the_other_one_has_ended(house, area: Area) -> None:
    first, second = await two_held_back(house, area)
    await area.look_in_vain()
    await house.upkeep.run()
    still = await house.get(second)

    await house.service.cancel(NORTH, first.batch_id, event())
    await house.upkeep.run()

    assert still.waiting.code == "staging-yielded"
    assert (await house.get(second)).waiting is None
    await area.process()
    await area.process()
    done = await house.get(second)
    assert (done.state, done.succeeded_files, done.total_files) == (BatchState.PUBLISHING, 4, 4)


async def in_review_with(house, area: Area) -> tuple[Batch, str]:
    """A batch that is held back and in review, with a staged chunk."""
    batch = await house.scanned([2, 2], organization=NORTH)
    await area.process()
    held = hold(house)
    claim = await house.claim()
    assert await house.work.finish_chunk(claim, in_review(claim, held), house.staging)
    return batch, held


async def test_a_batch_in_review_gives_its_room_away_and_does_the_work_again_later(
    house, area: Area
) -> None:
    batch, held = await in_review_with(house, area)

    await area.look_in_vain()
    await area.look_in_vain()
    await house.upkeep.run()
    waits = await house.get(batch)
    decide(house, held)
    await house.upkeep.run()

    assert area.staged_of(batch) == 0
    assert (waits.state, waits.waiting.code) == (BatchState.PROCESSING, "review")
    await area.process()
    await area.process()
    done = await house.get(batch)
    assert (done.state, done.succeeded_files, done.in_review_files) == (
        BatchState.PUBLISHING,
        4,
        0,
    )


async def test_nobody_waits_behind_a_batch_in_review(house, area: Area) -> None:
    first, second = await two_held_back(house, area)
    await area.look_in_vain()
    held = hold(house)
    claim = await house.claim()
    assert await house.work.finish_chunk(claim, in_review(claim, held), house.staging)

    await house.upkeep.run()

    assert (await house.get(first)).waiting.code == "review"
    assert (await house.get(second)).waiting is None
    await area.process()


async def test_nobody_gives_way_at_once(house, area: Area) -> None:
    first, second = await two_held_back(house, area)

    await area.look()
    area.now += STUCK_S / 2
    await area.look()
    area.room.state = RoomState.OPEN
    await area.look()
    area.room.state = RoomState.DISK
    area.now += STUCK_S
    await area.look()

    assert (area.staged_of(first), area.staged_of(second)) == (2, 2)


async def test_nobody_gives_way_while_something_drains(house, area: Area) -> None:
    first, second = await two_held_back(house, area)
    await house.scanned([1], on_error=OnError.SKIP, priority=Priority.URGENT)
    await area.process()

    await area.look_in_vain()

    assert (area.staged_of(first), area.staged_of(second)) == (2, 2)


async def test_a_batch_that_is_alone_keeps_its_place(house, area: Area) -> None:
    batch = await house.scanned([2, 2])
    await area.process()

    await area.look_in_vain()

    assert (await house.get(batch)).waiting is None
    assert area.staged_of(batch) == 2


async def test_a_kept_batch_gives_way_before_any_other_and_is_done_whole_by_a_retry(
    house, area: Area
) -> None:
    kept = await house.scanned([2, 2])
    await area.process(ItemState.REFUSED)
    await area.process()
    first, second = await two_held_back(house, area)

    await area.look_in_vain()

    assert (await house.get(kept)).state is BatchState.HELD
    assert (area.staged_of(kept), area.staged_of(first), area.staged_of(second)) == (0, 2, 2)
    for batch in (first, second):
        await house.service.cancel(batch.organization, batch.batch_id, event())
    await house.service.retry(NORTH, kept.batch_id, event())
    again = await house.get(kept)
    await area.process()
    await area.process()
    done = await house.get(kept)
    assert (again.state, again.done_files) == (BatchState.PROCESSING, 0)
    assert (done.state, done.succeeded_files, done.problems) == (BatchState.PUBLISHING, 4, {})


async def test_files_that_were_tried_again_are_not_done_twice_when_their_chunk_is(
    house, area: Area
) -> None:
    batch = await house.scanned([3])
    await area.process(ItemState.REFUSED)
    await house.service.retry(NORTH, batch.batch_id, event())
    again = await house.claim()
    second = [result(file, sop_instance_uid=f"2.25.{50 + file.seq}") for file in again.files]
    assert await house.work.finish_chunk(again, second, house.staging)
    publication = await house.work.claim_publish(house.worker, house.staging)

    assert await house.work.restage(publication)

    claim = await house.claim()
    assert [file.seq for file in again.files] == [0]
    assert [file.seq for file in claim.files] == [1, 2]
    assert await house.work.finish_chunk(claim, results(claim), house.staging)
    done = await house.get(batch)
    assert (done.succeeded_files, done.total_files) == (3, 3)


async def test_what_an_ended_batch_left_behind_drains_nothing(house, area: Area) -> None:
    failed = await house.scanned([1])
    await area.process()
    assert await house.work.claim_publish(house.worker, house.staging) is not None
    house.mapping.query("UPDATE batches SET state = 'failed', finished_at = now() RETURNING id")

    state = await area_state(house.mapping.database, house.staging)

    assert not state.drains
    await area.look_in_vain()
    assert area.staged_of(failed) == 0


async def test_two_batches_that_fill_the_disk_together_both_arrive(
    station: Station, monkeypatch: pytest.MonkeyPatch, spoken
) -> None:
    fill(Path(station.order.root) / "one", 60)
    fill(Path(station.order.root) / "two", 60, first=1000)
    monkeypatch.setattr(pieces, "ROOM_LOOK_S", 0.05)
    monkeypatch.setattr(worker, "UPKEEP_S", 0.1)
    monkeypatch.setattr(yielding, "STUCK_S", 0.2)
    disk = 80 * len(next(stations.objects(1)))
    both_are_listed: list[bool] = []  # the first one would get ahead of a second one unknown yet

    def free_bytes(area: StagingArea) -> int:
        return disk - sum(sizes(area.path / ".work")) if both_are_listed else 0

    monkeypatch.setattr(StagingArea, "free_bytes", free_bytes)
    batches = [
        await station.submit("one"),
        await station.submit("two", organization=SOUTH),
    ]
    async with station.working(chunk_files=10, min_free_bytes=disk // 8):
        async with asyncio.timeout(50):
            for batch in batches:
                await station.until(lambda now: now.is_scanned, batch)
            both_are_listed.append(True)
            ended = [await station.ended(batch) for batch in batches]

    assert [batch.state for batch in ended] == [BatchState.SUCCEEDED] * 2
    assert [len(station.published(batch)) for batch in batches] == [61, 61]
    assert "staging-yielded" in "".join(spoken.readouterr())
