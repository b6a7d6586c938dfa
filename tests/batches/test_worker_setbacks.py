"""What a worker does when something is in the way."""

import asyncio

import psycopg
import pytest

from app.batches import pieces, worker
from app.batches.finishing import Finisher
from app.batches.publishing import Publisher
from app.batches.standing import Standing
from app.batches.states import BatchState, OnError
from app.batches.work import BatchWork
from app.errors import DatabaseUnavailable, DestinationRefused, StorageUnavailable
from app.storage.staged import StagedFileDamaged
from tests.batches import station as stations
from tests.batches.house import event
from tests.batches.station import Station, below, fill, root
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


async def test_work_waits_while_the_staging_area_is_full(
    station: Station, monkeypatch: pytest.MonkeyPatch, spoken
) -> None:
    fill(root(station), 200)
    monkeypatch.setattr(pieces, "ROOM_LOOK_S", 0.05)
    gate = asyncio.Event()
    run = Publisher.run

    async def blocked(self, claim, *, is_held):
        await gate.wait()
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Publisher, "run", blocked)
    batch = await station.submit(on_error=OnError.SKIP)
    size = len(next(stations.objects(1)))

    async with station.working(chunk_files=10, staging_max_bytes=30 * size):
        said = ""
        async with asyncio.timeout(30):
            while "staging-full" not in said:
                await asyncio.sleep(0.05)
                said += "".join(spoken.readouterr())
        waiting = await station.service.get(NORTH, batch.batch_id)
        gate.set()
        ended = await station.ended(batch)

    assert waiting.succeeded_files <= 60
    assert ended.state is BatchState.SUCCEEDED


async def test_batches_that_are_held_back_do_not_block_each_other(station: Station) -> None:
    fill(root(station) / "one", 60)
    fill(root(station) / "two", 60, first=1000)
    size = len(next(stations.objects(1)))

    first, second = await station.submit("one"), await station.submit("two")
    async with station.working(chunk_files=10, staging_max_bytes=61 * size):
        states = [(await station.ended(batch)).state for batch in (first, second)]

    assert states == [BatchState.SUCCEEDED] * 2


async def test_a_destination_that_does_not_answer_is_tried_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 10)
    monkeypatch.setattr("app.batches.ending.FIRST_PAUSE_S", 0.05)
    faults = [StorageUnavailable(), StorageUnavailable()]
    run = Publisher.run

    async def failing(self, claim, *, is_held):
        if faults:
            raise faults.pop()
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Publisher, "run", failing)
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert ended.state is BatchState.SUCCEEDED


async def test_a_destination_that_refuses_fails_the_batch(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 10)

    async def refusing(_self, _claim, *, is_held):
        del is_held
        raise DestinationRefused

    monkeypatch.setattr(Publisher, "run", refusing)
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "destination-refused")


async def test_published_objects_that_went_away_before_the_manifest_come_again_with_a_retry(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 30)
    (root(station) / "letter.txt").write_text("Dear colleague")
    harmed = []
    run = Finisher.run

    async def harming(self, claim, *, is_held):
        if not harmed:
            directory = station.area.batch_directory(claim.batch.batch_id)
            harmed.append(next(path for path in below(directory) if path.suffix == ".dcm"))
            harmed[0].unlink()
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Finisher, "run", harming)
    batch = await station.submit()
    async with station.working(chunk_files=10):
        failed = await station.ended(batch)
        await station.service.retry(NORTH, batch.batch_id, event())
        ended = await station.ended(batch)

    assert (failed.state, failed.code) == (BatchState.FAILED, "objects-gone")
    assert (ended.state, ended.succeeded_files, ended.published_files) == (
        BatchState.SUCCEEDED,
        30,
        30,
    )
    assert ended.problems == {"not-dicom": 1}
    assert harmed[0].exists()
    assert len(station.published(batch)) == 31


async def test_staged_results_that_are_gone_are_made_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 10)
    lost = [StagedFileDamaged()]
    run = Publisher.run

    async def losing(self, claim, *, is_held):
        if lost:
            station.area.remove_staged(claim.batch_id)
            raise lost.pop()
        return await run(self, claim, is_held=is_held)

    monkeypatch.setattr(Publisher, "run", losing)
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.succeeded_files) == (BatchState.SUCCEEDED, 10)
    assert len(station.published(batch)) == 11


async def test_what_nobody_foresaw_is_tried_again_and_then_given_up(
    station: Station, monkeypatch: pytest.MonkeyPatch, spoken
) -> None:
    fill(root(station), 10)
    monkeypatch.setattr("app.batches.ending.FIRST_PAUSE_S", 0.01)
    tries = []

    async def broken(_self, _claim, *, is_held):
        del is_held
        tries.append(1)
        raise ZeroDivisionError("PLANTED")

    monkeypatch.setattr(Publisher, "run", broken)
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "internal-error")
    assert len(tries) == pieces.MAX_STUMBLES
    said = spoken.readouterr()
    assert "unforeseen" in said.out + said.err
    assert "PLANTED" not in said.out + said.err


async def test_results_whose_acceptance_is_unknown_stay_staged(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 10)
    finish = BatchWork.finish_chunk
    is_lost = [True]

    async def answer_lost(self, claim, results, staging):
        accepted = await finish(self, claim, results, staging)
        if is_lost:
            is_lost.clear()
            raise DatabaseUnavailable
        return accepted

    monkeypatch.setattr(BatchWork, "finish_chunk", answer_lost)
    restaged = []
    monkeypatch.setattr(BatchWork, "restage", lambda *_: restaged.append(1))
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, restaged) == (BatchState.SUCCEEDED, [])


async def test_results_that_are_not_accepted_are_removed(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 10)
    finish = BatchWork.finish_chunk
    refused = []

    async def cancelled_meanwhile(self, claim, results, staging):
        await station.service.cancel(NORTH, claim.batch_id, event())
        accepted = await finish(self, claim, results, staging)
        refused.append(accepted)
        return accepted

    monkeypatch.setattr(BatchWork, "finish_chunk", cancelled_meanwhile)
    batch = await station.submit()
    async with station.working():
        await station.ended(batch)
        await station.until_so(lambda: bool(refused) and not station.left_in_work())

    assert refused == [None]


async def test_a_claim_whose_answer_was_lost_is_given_back(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 40)
    monkeypatch.setattr(worker, "UPKEEP_S", 0.1)
    monkeypatch.setattr(worker, "FAILED_S", 0.05)
    lost = {"claim_scan", "claim_chunk", "claim_publish", "claim_finish"}
    left = set(lost)

    def losing(name: str):
        claim = getattr(BatchWork, name)

        async def claiming(self, *arguments):
            found = await claim(self, *arguments)
            if found is not None and name in left:
                left.discard(name)
                raise DatabaseUnavailable
            return found

        return claiming

    for name in lost:
        monkeypatch.setattr(BatchWork, name, losing(name))
    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (left, ended.state) == (set(), BatchState.SUCCEEDED)


async def test_a_claim_that_is_known_is_no_stray(station: Station) -> None:
    fill(root(station), 10)
    me = await station.work.join(station.area.staging_id)
    await station.submit()
    claim = await station.work.claim_scan(me, station.area.staging_id)
    known = [(claim.batch_id, -1, claim.epoch)]
    standing = Standing(station.database, me, lambda: known)

    assert [await standing.give_strays_back() for _ in range(3)] == [0, 0, 0]
    known.clear()
    assert [await standing.give_strays_back() for _ in range(3)] == [0, 1, 0]
    assert await station.work.claim_scan(me, station.area.staging_id) is not None


async def test_connections_that_are_cut_again_and_again_change_nothing(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "UPKEEP_S", 0.2)
    fill(root(station), 400)
    batch = await station.submit(on_error=OnError.SKIP)

    async with station.working(chunk_files=16):
        ending = asyncio.create_task(station.ended(batch))
        for _ in range(8):
            await asyncio.wait({ending}, timeout=0.15)
            cut_connections(station)
        ended = await ending

    assert (ended.state, ended.published_files) == (BatchState.SUCCEEDED, 400)
    assert len(station.published(batch)) == 401


def cut_connections(station: Station) -> None:
    with psycopg.connect(station.order.url, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
