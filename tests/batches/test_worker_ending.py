"""A worker that ends, or waits before it tries again, leaves everything to others."""

import asyncio
import threading
import time
from pathlib import Path

import psycopg
import pytest

from app.batches import worker
from app.batches.ending import Ending, Setbacks, pause_s
from app.batches.states import BatchState
from app.storage.lending import LentFile
from tests.batches import station as stations
from tests.batches.station import Station, fill, root
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


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
    batch = await station.submit()
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

    async with station.working():
        ended = await station.ended(batch)
        await station.until_so(lambda: not station.left_in_work())

    assert (seen, ended.published_files) == ([("pending", 0)], 20)


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
