"""One worker process: memory, event loop, signals, lifeline. The work is in ``app.batches``."""

import asyncio
import ctypes
import signal
import sys
from contextlib import suppress
from typing import Any, Final

import uvloop
from pydantic import SecretStr

from app import bootstrap, errors, telemetry
from app.api.batch_parts import BatchIntake
from app.batches.callbacks import Callbacks
from app.batches.publishing import opener
from app.batches.room import Bounds
from app.batches.scanning import ScanBounds
from app.batches.staging import StagingArea
from app.batches.worker import Parts, run_worker
from app.cli import memory
from app.cli.lifeline import Lifeline
from app.cli.worker_counts import counted
from app.settings import Settings
from app.storage.archives import ArchiveBounds
from app.storage.sources import Sources

# Beside the pool there are the mapping's connection, the queue's and the heartbeat's.
POOL_SIZE: Final = 4
PROCESS_NAME: Final = b"deid-worker"
_PR_SET_NAME: Final = 15


def run(given: dict[str, Any], lifeline: Lifeline) -> None:
    """Work until told to stop, or until the parent is gone.

    Args:
        given: the settings, as the order has them.
        lifeline: tells the parent how it goes.
    """
    _take_name()
    settings = Settings(**given)
    telemetry.configure(settings.log_level)
    memory.keep_memory_of_bodies()
    with (
        bootstrap.database(settings) as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        own = {
            "database_url": SecretStr(url),
            "database_pool_size": min(settings.database_pool_size, POOL_SIZE),
        }
        runner.run(_work(settings.model_copy(update=own), lifeline))


async def _work(settings: Settings, lifeline: Lifeline) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    telemetry.guard_event_loop(loop)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    lifeline.watch(stop.set)
    async with bootstrap.opened(settings) as gateway:
        parts = await asyncio.to_thread(parts_of, gateway)
        memory.settle()
        metrics = telemetry.BatchMetrics()
        lifeline.count(lambda: counted(metrics.registry))
        await run_worker(parts, stop, on_joined=lifeline.joined, metrics=metrics)
        await asyncio.to_thread(lifeline.tell_counts)


def parts_of(gateway: bootstrap.Gateway) -> Parts:
    """Put together what a worker works with.

    Raises:
        errors.Misconfigured: the staging area cannot be used, or no database is named.
        errors.StorageUnavailable: its file system does not answer.
    """
    settings, intake = gateway.settings, gateway.intake
    if intake is None or settings.database_url is None:
        raise errors.Misconfigured("a worker needs the role batch and a database")
    staging = StagingArea(settings.staging_path, is_direct=settings.staging_direct)
    room_bounds = Bounds(settings.staging_max_bytes, settings.staging_min_free_bytes)
    return Parts(
        url=settings.database_url.get_secret_value(),
        database=gateway.database,
        work=gateway.work,
        upkeep=gateway.upkeep,
        staging=staging,
        vault=gateway.vault,
        contexts=gateway.contexts,
        signer=gateway.signer,
        callbacks=Callbacks(intake.callbacks, gateway.signer),
        open_source=_sources(settings, intake).open,
        open_destination=opener(intake.stores, staging.path),
        scan_bounds=ScanBounds(
            settings.chunk_files,
            settings.chunk_bytes,
            settings.max_batch_files,
            room_bounds.most_held(staging.capacity_bytes()),
        ),
        room_bounds=room_bounds,
        inline_bytes=settings.inline_body_bytes,
        lost_after_s=settings.worker_lost_after_s,
        # Twice this is what a worker takes at most; whoever stops it waits for the whole of it.
        grace_s=settings.shutdown_grace_s / 3,
    )


def _sources(settings: Settings, intake: BatchIntake) -> Sources:
    return Sources(
        intake.roots,
        intake.stores,
        uploads=intake.uploads,
        spool=settings.spool_path,
        bounds=ArchiveBounds(settings.max_archive_files, settings.max_archive_bytes),
    )


def _take_name() -> None:
    """Be told apart from the parent where processes are listed."""
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_NAME, PROCESS_NAME, 0, 0, 0)
