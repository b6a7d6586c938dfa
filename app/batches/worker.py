"""One worker process: takes tickets, attends to what waits, keeps the tables in order, and ends.

Tickets make work begin at once and spread it over the workers; each kind of work but
de-identifying has an attendant of its own besides, who also looks by himself now and then. So
publishing never waits behind ten thousand tickets for de-identifying, and a lost ticket costs
seconds.
"""

import asyncio
import datetime as dt
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app import telemetry
from app.batches.callbacks import Callbacks
from app.batches.ending import Ending, pause_s
from app.batches.finishing import Finisher
from app.batches.heartbeat import Heartbeat
from app.batches.holdings import Holdings
from app.batches.opening import OpenSource, OpenSources
from app.batches.pieces import Pieces, Tools, log_unforeseen, word
from app.batches.processing import THREADS, Contexts, Processor
from app.batches.publishing import OpenDestination, OpenDestinations
from app.batches.queue import Tickets
from app.batches.room import Bounds, Room, RoomState
from app.batches.scanning import ScanBounds, Scanner
from app.batches.staging import StagingArea
from app.batches.standing import Standing
from app.batches.tickets import Task
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.batches.writing import Writers
from app.batches.yielding import Yielding
from app.db.session import Database
from app.errors import StagingFull, Unavailable
from app.storage.uploads import Uploads
from app.vault.service import Vault
from app.vault.signing import Signer

# One chunk is worked on; another one is claimed, or on its way to disk and tables.
PROCESS_SLOTS: Final = 3
ATTENDANTS: Final = {
    Task.SCAN: 1,
    Task.PUBLISH: 2,
    Task.FINISH: 1,
    Task.CLEAN: 1,
    Task.CALL_BACK: 1,
}
LOOK_S: Final = 5.0
UPKEEP_S: Final = 2.0
UPLOADS_EVERY_S: Final = 3600.0
UPLOAD_KEPT: Final = dt.timedelta(days=1)
AGAIN_S: Final = 0.3
FAILED_S: Final = 1.0
LEAST_FOR_FILES_S: Final = 5.0
# Of failures of the same kind in a row, one of so many is logged.
FAILURES_TOLD: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker process is made of.

    Attributes:
        url: of the database, for the connections of queue and heartbeat.
        open_source: opens the source of a request: ``Sources.open``.
        open_destination: opens its destination: ``publishing.opener``.
        inline_bytes: objects up to this size are treated in the event loop.
        lost_after_s: silence after which a worker is lost.
        grace_s: how long a chunk may still take when the worker is told to stop; files that are
            in flight then get as much again, and five seconds at least, before they are cut off.
    """

    url: str
    database: Database
    work: BatchWork
    upkeep: Upkeep
    staging: StagingArea
    vault: Vault
    contexts: Contexts
    signer: Signer
    callbacks: Callbacks
    open_source: OpenSource
    open_destination: OpenDestination
    scan_bounds: ScanBounds
    room_bounds: Bounds
    inline_bytes: int
    lost_after_s: float
    grace_s: float = 10.0

    @property
    def cut_off_s(self) -> float:
        """Time after which a worker that was told to stop waits for nothing."""
        return self.grace_s + max(self.grace_s, LEAST_FOR_FILES_S)


async def run_worker(
    parts: Parts,
    stop: asyncio.Event,
    *,
    on_joined: Callable[[UUID], None] = lambda _: None,
    metrics: telemetry.BatchMetrics | None = None,
) -> None:
    """Work until told to stop; survives the database's going away and coming back.

    Args:
        parts: what it works with; the caller opens and closes them.
        stop: set it, and the worker finishes or gives back what it holds, and returns.
        on_joined: is told the worker's id once it is in the tables.
        metrics: counts what is done.
    """
    ending = Ending(stop, grace_s=parts.grace_s)
    worker = await _joined(parts, ending)
    if worker is None:
        return
    heartbeat = Heartbeat(
        parts.url, worker, parts.staging.staging_id, lost_after_s=parts.lost_after_s
    )
    heartbeat.start()
    telemetry.log().info("worker-joined", worker_id=str(worker))
    on_joined(worker)
    try:
        with ThreadPoolExecutor(THREADS, "batches") as executor, Writers() as writers:
            await _Worker(parts, heartbeat, ending, _Threads(executor, writers), metrics).run()
    finally:
        await asyncio.to_thread(heartbeat.stop)
        with suppress(Unavailable):
            await parts.work.leave(worker)
        telemetry.log().info("worker-left", worker_id=str(worker))


async def _joined(parts: Parts, ending: Ending) -> UUID | None:
    """Enter the tables as soon as they answer."""
    count = 0
    while not ending.is_near():
        try:
            return await parts.work.join(parts.staging.staging_id)
        except Unavailable as error:
            count += 1
            telemetry.log().warning("worker-not-joined", code=error.code, count=count)
            await ending.sleep(min(10.0, pause_s(count)))
    return None


@dataclass(frozen=True, slots=True)
class _Threads:
    """Where work is done that would keep the event loop waiting."""

    executor: ThreadPoolExecutor
    writers: Writers


class _Worker:
    """A worker that has joined."""

    def __init__(
        self,
        parts: Parts,
        heartbeat: Heartbeat,
        ending: Ending,
        threads: "_Threads",
        metrics: telemetry.BatchMetrics | None,
    ) -> None:
        self._parts = parts
        self._ending = ending
        self._uploads_due_at = 0.0
        self._is_told_waiting = False
        self._metrics = metrics or telemetry.BatchMetrics()
        self._sources = OpenSources(parts.open_source)
        self._destinations = OpenDestinations(parts.open_destination)
        self._room = Room(parts.database, parts.staging, parts.room_bounds)
        self._yielding = Yielding(parts.database, parts.staging, self._room)
        self._woken = {
            task: [asyncio.Event() for _ in range(count)] for task, count in ATTENDANTS.items()
        }
        self._worker = heartbeat.worker
        holdings = Holdings(heartbeat)
        self._standing = Standing(parts.database, holdings.worker, holdings.keys)
        self._pieces = Pieces(self._tools(threads), holdings, self._standing, ending, self._wake)

    async def run(self) -> None:
        """Work until told to stop, and a little longer for what is under way."""
        work = asyncio.create_task(self._everything())
        stopped = asyncio.create_task(self._ending.stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({work}, timeout=self._parts.cut_off_s)
        finally:
            stopped.cancel()
            work.cancel()
            # A thread that a disk keeps is waited for; others need not wait for its chunk.
            await asyncio.wait({work}, timeout=LEAST_FOR_FILES_S)
            self._pieces.telling.cut_off()
            await self._pieces.give_all_back()
            await self._destinations.close()
            await self._sources.close()
        if work.done() and not work.cancelled():
            work.result()

    async def _everything(self) -> None:
        parts = self._parts
        tickets = Tickets(
            parts.url,
            parts.staging.staging_id,
            self._perform,
            slots=PROCESS_SLOTS,
            lost_after_s=parts.lost_after_s,
            grace_s=parts.cut_off_s,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(tickets.run(self._ending.stop))
            group.create_task(self._keep_order())
            for task, events in self._woken.items():
                for woken in events:
                    group.create_task(self._attend(task, woken))
            await self._ending.stop.wait()
            for events in self._woken.values():
                for woken in events:
                    woken.set()
        await self._pieces.telling.close()

    async def _perform(self, task: Task) -> None:
        """Do what a ticket stands for, or tell its attendant."""
        if task in self._woken:
            self._wake(task)
        elif not self._ending.is_near():
            await self._turn(task)

    async def _attend(self, task: Task, woken: asyncio.Event) -> None:
        """Work on one kind for as long as there is something, whenever there may be."""
        while not self._ending.is_near():
            is_told = await self._told(woken)
            if await self._drain(task, woken) or not is_told or self._ending.is_near():
                continue
            # Somebody else may just have held what there is: a claim passes over locked rows.
            await self._ending.sleep(AGAIN_S)
            await self._drain(task, woken)

    async def _told(self, woken: asyncio.Event) -> bool:
        """Wait until there may be something; False when nobody said so."""
        try:
            await asyncio.wait_for(woken.wait(), LOOK_S * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        except TimeoutError:
            return False
        woken.clear()
        return True

    async def _drain(self, task: Task, woken: asyncio.Event) -> bool:
        """Work until there is nothing; say whether there was something."""
        count = 0
        while not self._ending.is_near() and await self._turn(task):
            self._wake(task, but=woken)
            count += 1
        return count > 0

    async def _turn(self, task: Task) -> bool:
        """Do one piece; False when there is none. After a failure there may be one."""
        try:
            return await self._pieces.turn(task)
        except Unavailable as error:
            telemetry.log().warning("work-waits", source=word(task), code=error.code)
        except Exception as error:  # noqa: BLE001 - the worker goes on with other work
            log_unforeseen(task, error)
        await self._ending.sleep(FAILED_S)
        return True

    async def _keep_order(self) -> None:
        """See to what others left behind, what was lost on the way, and what is to be counted."""
        failures = 0
        while not self._ending.is_near():
            try:
                await self._parts.upkeep.run()
                if await self._standing.give_strays_back():
                    telemetry.log().warning("strays-given-back")
                await self._sources.close_idle()
                await self._remove_unused_uploads()
                await self._tell_waiting()
                await self._yielding.look()
                failures = 0
            except Unavailable as error:
                if not failures % FAILURES_TOLD:
                    telemetry.log().warning("upkeep-waits", code=error.code, count=failures)
                failures += 1
            except Exception as error:  # noqa: BLE001 - the next round may do better
                telemetry.log().error(
                    "upkeep-failed", kind=type(error).__name__, where=telemetry.place_of(error)
                )
            await self._ending.sleep(UPKEEP_S)

    async def _tell_waiting(self) -> None:
        """Say in the tables that this worker takes no chunks, as long as it does not."""
        is_waiting = self._room.state is not RoomState.OPEN
        if is_waiting or self._is_told_waiting:
            reason = StagingFull.code if is_waiting else None
            await self._parts.work.tell_waiting(self._worker, reason)
        self._is_told_waiting = is_waiting

    async def _remove_unused_uploads(self) -> None:
        """Remove archives whose batch was never made, because somebody died in between."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._uploads_due_at:
            return
        self._uploads_due_at = loop.time() + UPLOADS_EVERY_S
        before = telemetry.utc_now() - UPLOAD_KEPT
        staging = self._parts.staging
        used = await self._parts.work.archives(staging.staging_id)
        await asyncio.to_thread(Uploads(staging.uploads).remove_unused, before, used=used)

    def _wake(self, task: Task, but: asyncio.Event | None = None) -> None:
        """Wake one attendant; who finds something wakes the next one."""
        asleep = [woken for woken in self._woken.get(task, ()) if woken is not but]
        if asleep:
            min(asleep, key=asyncio.Event.is_set).set()

    def _tools(self, threads: "_Threads") -> Tools:
        parts = self._parts
        return Tools(
            work=parts.work,
            staging=parts.staging,
            room=self._room,
            scanner=Scanner(parts.work, self._sources, parts.scan_bounds),
            processor=Processor(
                sources=self._sources,
                destinations=self._destinations,
                contexts=parts.contexts,
                vault=parts.vault,
                staging=parts.staging,
                inline_bytes=parts.inline_bytes,
                executor=threads.executor,
                writers=threads.writers,
            ),
            destinations=self._destinations,
            finisher=Finisher(parts.work, parts.staging, self._destinations, parts.signer),
            callbacks=parts.callbacks,
            metrics=self._metrics,
        )
