"""A worker process with empty work: real tickets, real claims, and no files.

Told on standard input what to do, it says when it is ready, begins at the next line and goes on
until its input is closed; then it says what it did.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop

from app.batches.queue import Tickets
from app.batches.tickets import Task
from app.bootstrap import Gateway, opened
from app.settings import load
from app.settings.service import LogLevel
from bench import made_up
from bench.engine_worker import GC_THRESHOLDS
from bench.mapping import originals, record
from bench.worker import peak_kib

SLOTS = 2  # as many as a worker has for chunks
LANES = 64  # about as many objects of a worker share a commit


@dataclass(slots=True)
class Count:
    """What was done."""

    pieces: int = 0
    files: int = 0


async def _claim_and_record(gateway: Gateway, staging: UUID, worker: UUID, count: Count) -> None:
    """Do a chunk whose files are made up."""
    claim = await gateway.work.claim_chunk(worker, staging)
    if claim is None:
        return
    made = made_up.results(claim.batch_id, claim.files)
    if await gateway.work.finish_chunk(claim, made, staging):
        count.pieces += 1
        count.files += len(made)


async def tickets(gateway: Gateway, job: dict[str, Any], count: Count, stop: asyncio.Event) -> None:
    """Take tickets; each stands for nothing, or for a chunk."""
    staging = UUID(job["staging"])
    worker = await gateway.work.join(staging)

    async def perform(_: Task) -> None:
        if job["mode"] == "chunks":
            await _claim_and_record(gateway, staging, worker, count)
        else:
            count.pieces += 1

    queue = Tickets(job["url"], staging, perform, slots=SLOTS, lost_after_s=60.0, grace_s=1.0)
    await queue.run(stop)


async def mapping(gateway: Gateway, job: dict[str, Any], count: Count, stop: asyncio.Event) -> None:
    """Record instances of one organisation, as many at once as a worker does."""
    organization = job["organization"]
    source = originals(first=job["first"])

    async def lane() -> None:
        while not stop.is_set():
            await record(gateway.vault, next(source), None, organization=organization)
            count.pieces += 1

    await asyncio.gather(*[lane() for _ in range(LANES)])


MODES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "tickets": tickets,
    "chunks": tickets,
    "mapping": mapping,
}


async def run(job: dict[str, Any]) -> None:
    """Do one job and say what came of it."""
    settings = load(
        data_dir=Path(job["data"]),
        database_url=job["url"],
        log_level=LogLevel.ERROR,
    )
    count, stop = Count(), asyncio.Event()
    async with opened(settings) as gateway:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        cpu = time.process_time()
        work = asyncio.create_task(MODES[job["mode"]](gateway, job, count, stop))
        await asyncio.to_thread(sys.stdin.read)
        said = {
            "pieces": count.pieces,
            "files": count.files,
            "cpu_s": time.process_time() - cpu,
            "peak_kib": peak_kib(),
        }
        stop.set()
        await work
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.readline())))
