"""Nothing is lost and nothing doubled, whatever is killed when."""

import asyncio
import hashlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.batches.states import BatchState, OnError
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from app.db.migrate import upgrade
from tests.batches import station as stations
from tests.batches.station import Station, fill
from tests.db.test_embedded import postmaster_pid

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
    async with stations.opened(server.url("deid_gateway"), tmp_path) as made:
        yield made


def comparable(published: dict[str, bytes]) -> tuple[dict[str, str], dict[str, object]]:
    """Hashes of all objects, and of the manifest what is the same in every batch."""
    manifest = json.loads(published.pop("manifest.json"))
    for name in ("batch_id", "submitted_at", "signature"):
        del manifest[name]
    return {name: hashlib.sha256(data).hexdigest() for name, data in published.items()}, manifest


async def test_killing_workers_and_postgres_at_random_moments_changes_nothing(
    own_station: Station, server: EmbeddedPostgres
) -> None:
    station, dice = own_station, random.Random(SEED)  # noqa: S311 - no secret
    fill(Path(station.order.root), FILES)
    calm = await station.submit()
    async with station.working():
        await station.ended(calm)

    batch = await station.submit(on_error=OnError.SKIP)
    workers = [station.start_worker() for _ in range(2)]
    ending = asyncio.create_task(station.ended(batch, within_s=120))
    killed = []
    while not ending.done():
        await asyncio.wait({ending}, timeout=dice.uniform(0.2, 0.9))
        victim = dice.choice(["worker", "worker", "postgres"]) if len(killed) < 14 else "nobody"
        killed.append(victim)
        if victim == "worker":
            place = dice.randrange(len(workers))
            await asyncio.to_thread(workers[place].kill)
            workers[place] = station.start_worker()
        elif victim == "postgres":
            os.kill(postmaster_pid(server), signal.SIGKILL)
    ended = await ending

    assert ended.state is BatchState.SUCCEEDED
    assert (ended.succeeded_files, ended.published_files) == (FILES, FILES)
    assert comparable(station.published(batch)) == comparable(station.published(calm))
