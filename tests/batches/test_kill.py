"""Nothing is lost and nothing doubled, whatever is killed when."""

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

import psycopg
import pytest

from app.batches import reopening
from app.batches.records import Batch
from app.batches.states import BatchState, ItemState, OnError
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from app.db.migrate import upgrade
from tests.batches import station as stations
from tests.batches.house import event
from tests.batches.station import Station, below, fill, uid_of
from tests.db.test_embedded import postmaster_pid
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db

FILES = 2_000
SEED = 4711


@pytest.fixture
async def server(reachable_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(
        reachable_path / "pg", fsync=False, reachable_dir=reachable_path / "reachable"
    )
    kept = KeptPostgres(server, look_every_s=0.05)
    await upgrade(await asyncio.to_thread(kept.start))
    yield server
    await asyncio.to_thread(kept.stop)


@pytest.fixture
async def own_station(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Station]:
    # A process that is stopped in the middle of a transaction keeps its locks for so long.
    patience = "-c idle_in_transaction_session_timeout=500 -c transaction_timeout=2000"
    url = f"{server.url('deid_gateway')}&{urlencode({'options': patience}, quote_via=quote)}"
    async with stations.opened(url, tmp_path) as made:
        yield made


def comparable(published: dict[str, bytes]) -> tuple[dict[str, str], dict[str, object]]:
    """Hashes of all objects, and of the manifest what is the same in every batch."""
    manifest = json.loads(published.pop("manifest.json"))
    for name in ("batch_id", "submitted_at", "signature"):
        del manifest[name]
    return {name: hashlib.sha256(data).hexdigest() for name, data in published.items()}, manifest


async def test_killing_workers_gateway_and_postgres_at_random_moments_changes_nothing(
    own_station: Station, server: EmbeddedPostgres
) -> None:
    station, dice = own_station, random.Random(SEED)  # noqa: S311 - no secret
    fill(Path(station.order.root), FILES)
    calm = await station.submit()
    async with station.working():
        await station.ended(calm)
    port = free_port()
    asked = {"study_directory": station.order.root, "on_error": "skip"}
    headers = await station.key() | {"Idempotency-Key": "nightly"}

    alive = {"worker": station.start_worker(), "gateway": station.start_gateway(port)}
    taken = await alive["gateway"].prepare(headers, **asked)
    batch = await station.service.get(NORTH, UUID(taken["batch_id"]))
    victims = dice.sample(["worker", "postgres", "gateway"], 12, counts=[5, 4, 3])
    # Of all steps of the batch, so many are done when the next one is killed.
    moments = sorted(dice.sample(range(2 * FILES - 100), len(victims)))
    for moment, victim in zip(moments, victims, strict=True):
        await station.until(lambda found, after=moment: steps(found) > after, batch)
        await asyncio.sleep(dice.uniform(0, 0.05))
        if victim == "postgres":
            os.kill(postmaster_pid(server), signal.SIGKILL)
            continue
        await asyncio.to_thread(alive[victim].kill)
        is_worker = victim == "worker"
        alive[victim] = station.start_worker() if is_worker else station.start_gateway(port)
    ended = await station.ended(batch)
    again = await alive["gateway"].prepare(headers, **asked)

    assert ended.state is BatchState.SUCCEEDED
    assert (ended.succeeded_files, ended.published_files) == (FILES, FILES)
    assert comparable(station.published(batch)) == comparable(station.published(calm))
    assert again["batch_id"] == taken["batch_id"]


def steps(batch: Batch) -> int:
    """How many files were decided, and objects published."""
    return batch.done_files + batch.published_files


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


async def test_an_object_that_kills_every_worker_is_isolated_and_all_others_arrive(
    own_station: Station,
) -> None:
    station = own_station
    fill(Path(station.order.root), 300)
    poison = [uid_of(137)]
    batch = await station.submit(on_error=OnError.SKIP)

    ending = asyncio.create_task(station.ended(batch, within_s=120))
    workers = [station.start_worker(poison=poison, chunk_files=64) for _ in range(2)]
    deaths = 0
    while not ending.done():
        await asyncio.wait({ending}, timeout=0.05)
        for place, worker in enumerate(workers):
            if worker.process.poll() is not None:
                deaths += 1
                await station.work.leave(worker.id)
                workers[place] = station.start_worker(poison=poison, chunk_files=64)
    ended = await ending

    assert (ended.state, ended.problems) == (BatchState.PARTIAL, {"worker-crashed": 1})
    assert (ended.succeeded_files, ended.published_files) == (299, 299)
    assert len(station.published(batch)) == 300
    items = await station.service.items(
        NORTH, batch.batch_id, state=ItemState.FAILED, after=-1, limit=10
    )
    assert [item.seq for item in items] == [137]
    assert 4 <= deaths <= 8


STEPS = [
    ("app.batches.work:BatchWork.claim_scan", "after"),
    ("app.batches.work:BatchWork.add_chunks", "after"),
    ("app.batches.work:BatchWork.finish_scan", "before"),
    ("app.batches.work:BatchWork.finish_scan", "after"),
    ("app.batches.work:BatchWork.claim_chunk", "after"),
    ("app.batches.staging:StagingArea.make_chunk", "after"),
    ("app.batches.processing:Processor.run", "after"),
    ("app.batches.staging:StagingArea.sync", "after"),
    ("app.batches.work:BatchWork.finish_chunk", "after"),
    ("app.batches.work:BatchWork.claim_publish", "after"),
    ("app.storage.disk:DiskDestination.put", "after"),
    ("app.storage.disk:DiskDestination._name", "after"),
    ("app.storage.disk:DiskDestination.flush", "after"),
    ("app.batches.work:BatchWork.finish_publish", "after"),
    ("app.batches.staging:StagingArea.remove_chunk", "after"),
    ("app.batches.work:BatchWork.claim_finish", "after"),
    ("app.batches.finishing:Finisher.run", "after"),
    ("app.batches.work:BatchWork.finish", "before"),
    ("app.batches.work:BatchWork.finish", "after"),
]


async def test_a_worker_may_die_between_any_two_steps(own_station: Station) -> None:
    station = own_station
    fill(Path(station.order.root), 12)
    batches = [await station.submit()]
    async with station.working():
        await station.ended(batches[0])

    ended = []
    for place, moment in STEPS:
        batches.append(await station.submit(on_error=OnError.SKIP))
        worker = station.start_worker(chunk_files=3, ambush=(place, moment, signal.SIGKILL))
        died_of = await asyncio.to_thread(worker.process.wait, 90)
        assert died_of == -signal.SIGKILL
        await station.work.leave(worker.id)
        async with station.working():  # a batch that killed several workers would be given up
            ended.append(await station.ended(batches[-1], within_s=120))
    assert {(found.state, found.published_files) for found in ended} == {(BatchState.SUCCEEDED, 12)}
    async with station.working():
        with psycopg.connect(station.order.url, autocommit=True) as hand:
            hand.execute("UPDATE batch_leftovers SET due_at = now()")
        await station.until_so(lambda: not station.left_in_work())

    calm = comparable(station.published(batches[0]))
    assert [batch for batch in batches if comparable(station.published(batch)) != calm] == []


@pytest.fixture
async def retried(own_station: Station, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """A batch of six pages that is tried again, because a third of its files was not whole."""
    monkeypatch.setattr(reopening, "MAX_CHUNKS", 2)
    root = Path(own_station.order.root)
    fill(root, 24)
    for path in below(root)[::3]:
        path.write_bytes(path.read_bytes()[:400])
    batch = await own_station.submit()
    async with own_station.working(chunk_files=2):
        held = await own_station.ended(batch)
    assert (held.state, held.succeeded_files) == (BatchState.HELD, 16)
    fill(root, 24)
    return await own_station.service.retry(NORTH, batch.batch_id, event())


async def test_a_worker_may_die_before_and_after_any_page_of_a_retry(
    own_station: Station, retried: Batch
) -> None:
    station = own_station
    for moment in ("before", "after"):  # a third death would be blamed on a file
        ambush = ("app.batches.work:BatchWork.open_page", moment, signal.SIGKILL)
        worker = station.start_worker(page_chunks=2, ambush=ambush)
        died_of = await asyncio.to_thread(worker.process.wait, 90)
        assert died_of == -signal.SIGKILL
        await station.work.leave(worker.id)
    left = await station.service.get(NORTH, retried.batch_id)
    async with station.working():
        ended = await station.ended(retried, within_s=120)

    assert left.is_reopening
    assert (ended.state, ended.published_files, ended.problems) == (BatchState.SUCCEEDED, 24, {})


async def test_a_worker_that_is_told_to_stop_leaves_the_other_pages_to_others(
    own_station: Station, retried: Batch
) -> None:
    station = own_station
    ambush = ("app.batches.work:BatchWork.open_page", "after", signal.SIGTERM)
    worker = station.start_worker(page_chunks=2, ambush=ambush)
    status = await asyncio.to_thread(worker.process.wait, 30)

    with psycopg.connect(station.order.url) as stranger:
        found = stranger.execute("SELECT reopening, task_worker FROM batches").fetchall()
    async with station.working():
        ended = await station.ended(retried, within_s=120)

    assert status == 0
    assert found == [("retry", None)]
    assert (ended.state, ended.published_files) == (BatchState.SUCCEEDED, 24)


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        ("app.batches.processing:Processor.run", "before"),
        ("app.batches.work:BatchWork.finish_chunk", "before"),
        ("app.storage.disk:DiskDestination.put", "before"),
        ("app.storage.disk:DiskDestination.flush", "before"),
        ("app.batches.work:BatchWork.finish_publish", "before"),
        ("app.storage.disk:DiskDestination.close", "before"),
    ],
)
async def test_a_worker_that_slept_and_wakes_up_publishes_and_commits_nothing(
    own_station: Station, place: str, moment: str
) -> None:
    station = own_station
    fill(Path(station.order.root), 60)
    batch = await station.submit(on_error=OnError.SKIP)
    sleeper = station.start_worker(ambush=(place, moment, signal.SIGSTOP))
    await station.until_so(lambda: is_asleep(sleeper.process.pid))
    await station.work.leave(sleeper.id)

    async with station.working():
        ended = await station.ended(batch, within_s=120)
    before = stamps(station, batch)
    version = (await station.service.get(NORTH, batch.batch_id)).version
    sleeper.signal(signal.SIGCONT)
    await asyncio.sleep(0.5)
    sleeper.signal(signal.SIGTERM)
    status = await asyncio.to_thread(sleeper.process.wait, 30)

    assert (ended.state, ended.published_files) == (BatchState.SUCCEEDED, 60)
    assert stamps(station, batch) == before
    assert (await station.service.get(NORTH, batch.batch_id)).version == version
    assert (status, station.left_in_work()) == (0, [])


def is_asleep(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stamps(station: Station, batch: Batch) -> dict[str, tuple[int, int]]:
    """What would change if anything were published again."""
    directory = station.area.batch_directory(batch.batch_id)
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
    }


async def test_a_worker_that_gets_sigterm_ends_what_it_holds_and_leaves(
    own_station: Station,
) -> None:
    station = own_station
    fill(Path(station.order.root), 600)
    batch = await station.submit(on_error=OnError.SKIP)
    worker = station.start_worker(chunk_files=64)
    await station.until(lambda found: found.succeeded_files > 0, batch)

    worker.signal(signal.SIGTERM)
    status = await asyncio.to_thread(worker.process.wait, 30)

    with psycopg.connect(station.order.url) as stranger:
        left = stranger.execute(
            "SELECT (SELECT count(*) FROM batch_workers), (SELECT count(*) FROM batch_chunks"
            " WHERE worker IS NOT NULL), (SELECT max(attempts) FROM batch_chunks"
            " WHERE state = 'pending')"
        ).fetchone()
    assert status == 0
    assert left == (0, 0, 0)
