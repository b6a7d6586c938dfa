"""A worker process from the ticket to the manifest, and what it does when it cannot go on."""

import asyncio
import contextlib
import json
import os
import threading
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from app.batches import pieces, worker
from app.batches.ending import Ending, Setbacks, pause_s
from app.batches.finishing import Finisher
from app.batches.publishing import Publisher
from app.batches.quiet import Baton, Quiet
from app.batches.records import Request
from app.batches.room import Bounds, RoomState, state_of
from app.batches.standing import AreaState, Standing
from app.batches.states import BatchState, OnError, Priority
from app.batches.work import BatchWork
from app.deid.profile import BUILT_IN
from app.errors import DatabaseUnavailable, DestinationRefused, StorageUnavailable
from app.storage.lending import LentFile
from app.storage.staged import StagedFileDamaged
from tests.batches import station as stations
from tests.batches.house import event, new_batch
from tests.batches.station import Station, below, fill
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


@pytest.fixture
async def station(database_url: str, tmp_path: Path) -> AsyncIterator[Station]:
    async with stations.opened(database_url, tmp_path) as made:
        yield made


def root(station: Station) -> Path:
    return Path(station.order.root)


# From one end to the other


async def test_a_directory_becomes_a_published_study_with_a_manifest(station: Station) -> None:
    fill(root(station), 100)

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    published = station.published(batch)
    manifest = json.loads(published.pop("manifest.json"))
    assert ended.state is BatchState.SUCCEEDED
    assert (ended.succeeded_files, ended.published_files, len(published)) == (100, 100, 100)
    assert manifest["totals"]["instances"] == 100
    assert station.left_in_work() == []


async def test_nothing_is_published_of_a_batch_that_is_held(station: Station) -> None:
    fill(root(station), 40)
    next(root(station).rglob("IM00007")).write_bytes(next(stations.objects(1))[:-40])

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.problems) == (BatchState.HELD, {"truncated": 1})
    assert station.published(batch) == {}


async def test_what_succeeded_is_published_where_the_rest_is_skipped(station: Station) -> None:
    fill(root(station), 40)
    next(root(station).rglob("IM00007")).write_bytes(next(stations.objects(1))[:-40])
    (root(station) / "letter.txt").write_text("Dear colleague")

    batch = await station.submit(on_error=OnError.SKIP)
    async with station.working():
        ended = await station.ended(batch)

    assert ended.state is BatchState.PARTIAL
    assert ended.problems == {"truncated": 1, "not-dicom": 1}
    assert len(station.published(batch)) == 39 + 1


async def test_a_held_batch_that_is_mended_is_published_whole(station: Station) -> None:
    fill(root(station), 40)
    broken = next(root(station).rglob("IM00007"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-40])
    batch = await station.submit()

    async with station.working():
        await station.ended(batch)
        broken.write_bytes(whole)
        await station.service.retry(NORTH, batch.batch_id, event())
        ended = await station.ended(batch)

    assert ended.state is BatchState.SUCCEEDED
    assert len(station.published(batch)) == 41


async def test_the_same_object_twice_is_published_once(station: Station) -> None:
    fill(root(station), 3)
    (root(station) / "again").write_bytes(next(stations.objects(1)))

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.duplicate_files) == (BatchState.SUCCEEDED, 1)
    assert len(station.published(batch)) == 4


async def test_a_source_that_is_not_there_fails_the_batch(station: Station) -> None:
    batch = await station.submit("gone")

    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "source-not-allowed")


async def test_a_source_without_an_object_fails_the_batch(station: Station) -> None:
    (root(station) / "letter.txt").write_text("Dear colleague")
    batch = await station.submit()

    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "nothing-to-publish")


async def test_a_batch_larger_than_the_staging_area_fails(station: Station) -> None:
    fill(root(station), 10)
    batch = await station.submit()

    async with station.working(staging_max_bytes=5000):
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "staging-too-small")


async def test_fhir_resources_are_made_where_they_are_asked_for(station: Station) -> None:
    fill(root(station), 3)
    batch = await station.submit(fhir=True)

    async with station.working():
        await station.ended(batch)

    names = [Path(name).name for name in station.published(batch)]
    assert names.count("imagingstudy.json") == 1


async def test_what_is_left_of_a_cancelled_batch_is_removed(station: Station) -> None:
    fill(root(station), 200)
    batch = await station.submit(on_error=OnError.SKIP)
    async with station.working(chunk_files=16):
        await station.until(lambda found: found.published_files > 0, batch)
        await station.service.cancel(NORTH, batch.batch_id, event())
    published = station.published(batch)

    # Who lost its claim may put one more object: so this waits half a minute otherwise.
    with psycopg.connect(station.order.url, autocommit=True) as hand:
        hand.execute("UPDATE batch_leftovers SET due_at = now()")
    async with station.working():
        directory = station.area.batch_directory(batch.batch_id)
        await station.until_so(lambda: not (below(directory) or station.left_in_work()))

    assert published
    assert (await station.service.get(NORTH, batch.batch_id)).state is BatchState.CANCELLED


# Whose turn it is


async def test_an_urgent_batch_overtakes_one_that_began_before(station: Station) -> None:
    fill(root(station) / "large", 600)
    fill(root(station) / "small", 10, first=5000)
    slow = await station.submit("large")

    async with station.working(chunk_files=16):
        await station.until(lambda found: found.succeeded_files > 0, slow)
        fast = await station.submit("small", priority=Priority.STAT)
        await station.ended(fast)
        behind = await station.service.get(NORTH, slow.batch_id)

    assert behind.state is BatchState.PROCESSING


# When something is in the way


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


def test_free_space_is_never_touched() -> None:
    bounds = Bounds(max_bytes=100, min_free_bytes=50)
    empty, full = AreaState(0, drains=False), AreaState(100, drains=True)
    stuck = AreaState(100, drains=False)

    assert state_of(bounds, 49, empty) is RoomState.DISK
    assert state_of(bounds, 50, empty) is RoomState.OPEN
    assert state_of(bounds, 50, full) is RoomState.BYTES
    assert state_of(bounds, 50, stuck) is RoomState.OPEN
    assert state_of(Bounds(), 0, full) is RoomState.OPEN


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

    assert refused == [False]


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


# The end of a worker


async def test_a_worker_that_is_told_to_stop_leaves_nothing_claimed(station: Station) -> None:
    fill(root(station), 500)
    batch = await station.submit()

    async with station.working(chunk_files=32):
        await station.until(lambda found: found.succeeded_files > 0, batch)

    with psycopg.connect(station.order.url) as stranger:
        claimed = stranger.execute(
            "SELECT count(*) FROM batch_chunks WHERE worker IS NOT NULL"
        ).fetchone()
        attempts = stranger.execute(
            "SELECT max(attempts) FROM batch_chunks WHERE state = 'pending'"
        ).fetchone()
        workers = stranger.execute("SELECT count(*) FROM batch_workers").fetchone()
    assert (claimed, attempts, workers) == ((0,), (0,), (0,))


async def test_another_worker_goes_on_where_one_was_stopped(station: Station) -> None:
    fill(root(station), 300)
    batch = await station.submit()
    async with station.working(chunk_files=32):
        await station.until(lambda found: found.succeeded_files > 0, batch)

    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, len(station.published(batch))) == (BatchState.SUCCEEDED, 301)


async def test_a_chunk_without_time_to_end_is_given_back(station: Station) -> None:
    fill(root(station), 600)
    batch = await station.submit()

    async with station.working(chunk_files=600, grace_s=0.0):
        await station.until_so(lambda: bool(station.left_in_work()))

    with psycopg.connect(station.order.url) as stranger:
        chunk = stranger.execute("SELECT state, attempts FROM batch_chunks").fetchone()
    assert chunk == ("pending", 0)
    assert station.left_in_work() == []
    assert (await station.service.get(NORTH, batch.batch_id)).done_files == 0


async def test_what_hangs_in_a_thread_does_not_keep_a_chunk_from_others(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root(station), 20)
    await station.submit()
    hangs, may_go = threading.Event(), threading.Event()
    seen: list[object] = []
    real = LentFile.read_into

    def hanging(self: LentFile, offset: int, target: memoryview) -> None:
        hangs.set()
        may_go.wait(30)
        real(self, offset, target)

    def look() -> None:
        """Look until the chunk is given back, then let the disk go on."""
        with psycopg.connect(station.order.url, autocommit=True) as stranger:
            for _ in range(100):
                found = stranger.execute(
                    "SELECT state, attempts FROM batch_chunks WHERE worker IS NULL"
                ).fetchone()
                if found:
                    seen.append(found)
                    break
                time.sleep(0.05)
        may_go.set()

    monkeypatch.setattr(LentFile, "read_into", hanging)
    monkeypatch.setattr(worker, "LEAST_FOR_FILES_S", 0.2)
    async with station.working(grace_s=0.0) as stop:
        await asyncio.to_thread(hangs.wait, 30)
        looking = threading.Thread(target=look)
        looking.start()
        stop.set()
    looking.join()

    assert seen == [("pending", 0)]
    await station.until_so(lambda: not station.left_in_work())


async def test_a_worker_without_a_database_waits_for_it_and_can_be_stopped(
    station: Station, tmp_path: Path
) -> None:
    nowhere = f"postgresql:///x?host={tmp_path}"
    stop = asyncio.Event()

    async with stations.parts_of(
        stations.Order(**(vars(station.order) | {"url": nowhere}))
    ) as parts:
        joined = []
        running = asyncio.create_task(worker.run_worker(parts, stop, on_joined=joined.append))
        await asyncio.sleep(0.2)
        assert not running.done()
        stop.set()
        await running

    assert joined == []


async def test_grace_begins_when_the_worker_is_told_to_stop() -> None:
    now = 100.0
    stop = asyncio.Event()
    ending = Ending(stop, grace_s=5, clock=lambda: now)

    assert (ending.is_near(), ending.is_over()) == (False, False)
    stop.set()
    assert (ending.is_near(), ending.is_over()) == (True, False)
    now = 105.0
    assert ending.is_over()


def test_pauses_grow_and_end_growing() -> None:
    assert [round(pause_s(count) / 2 ** (count - 1)) for count in (1, 2, 3, 4)] == [1] * 4
    assert 9 <= pause_s(1000) <= 15


def test_setbacks_are_counted_in_a_row() -> None:
    setbacks = Setbacks()

    assert [setbacks.add("a"), setbacks.add("a"), setbacks.add("b")] == [1, 2, 1]
    setbacks.forget("a")
    assert setbacks.add("a") == 1


async def test_who_wants_to_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    quiet = Quiet()
    said = []
    leave = asyncio.Event()

    async def share(name: str) -> None:
        async with quiet.shared():
            said.append(f"{name} in")
            await leave.wait()
            said.append(f"{name} out")

    async def be_alone() -> None:
        async with quiet.alone():
            said.append("alone")

    first = asyncio.create_task(share("first"))
    await asyncio.sleep(0)
    alone = asyncio.create_task(be_alone())
    await asyncio.sleep(0)
    late = asyncio.create_task(share("late"))
    await asyncio.sleep(0.01)
    assert said == ["first in"]
    leave.set()
    await asyncio.gather(first, alone, late)

    assert said == ["first in", "first out", "alone", "late in", "late out"]


async def test_a_turn_may_be_passed_on_before_its_end() -> None:
    lock = asyncio.Lock()

    async with Baton(lock) as baton:
        assert lock.locked()
        baton.release()
        assert not lock.locked()
        async with Baton(lock):
            baton.release()
            assert lock.locked()
    assert not lock.locked()


async def test_who_gives_up_waiting_to_be_alone_lets_the_others_in() -> None:
    quiet = Quiet()
    async with quiet.shared():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01), quiet.alone():
                raise AssertionError("not alone")
        async with asyncio.timeout(1), quiet.shared():
            pass


# What nobody needs any more


async def test_an_archive_whose_batch_was_never_made_is_removed_after_a_day(
    station: Station,
) -> None:
    forgotten, fresh, needed = (station.area.uploads / (digit * 32) for digit in "abc")
    for upload in (forgotten, fresh, needed):
        upload.write_bytes(b"PK")
    for upload in (forgotten, needed):
        os.utime(upload, (0, 0))
    request = Request({"kind": "archive", "name": needed.name}, {"kind": "staging"})
    await station.service.submit(new_batch(request=request, home=station.area.staging_id))

    async with station.working():
        await station.until_so(lambda: not forgotten.exists())

    assert fresh.exists()
    assert needed.exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"PK\x03\x04 and then nothing", "invalid-archive"), (None, "nothing-to-publish")],
    ids=["damaged", "without an object"],
)
async def test_an_archive_that_no_retry_could_make_more_of_is_removed_soon(
    station: Station, content: bytes | None, code: str
) -> None:
    upload = station.area.uploads / ("c" * 32)
    if content is None:
        with zipfile.ZipFile(upload, "w") as archive:
            archive.writestr("letter.txt", "Dear colleague")
    else:
        upload.write_bytes(content)
    request = Request({"kind": "archive", "name": upload.name}, {"kind": "staging"})
    profile_version = BUILT_IN["basic"].version
    batch, _ = await station.service.submit(
        new_batch(request=request, home=station.area.staging_id, profile_version=profile_version)
    )

    async with station.working():
        ended = await station.ended(batch)
        with psycopg.connect(station.order.url, autocommit=True) as hand:
            hand.execute("UPDATE batch_leftovers SET due_at = now()")
        await station.until_so(lambda: not upload.exists())

    assert (ended.state, ended.code) == (BatchState.FAILED, code)
