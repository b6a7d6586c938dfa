"""Tickets are taken from the queue here, until the worker stops; the rest of it knows no queue.

The queue's library gives up when Postgres goes away. It is then opened again, and again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import procrastinate

from app import telemetry
from app.batches.tickets import WORK_QUEUE, Task, queue_of
from app.db.session import connect_arguments, parse_url

HEARTBEAT_S: Final = 2.0
# A notification comes at once, but the library loses one that comes while it asks.
POLL_S: Final = 1.0
POOL_TIMEOUT_S: Final = 5.0
LONGEST_PAUSE_S: Final = 10.0
# Less than this is no sign that the database is back.
STEADY_S: Final = 20.0
_UPKEEP: Final = "batches.upkeep"

Perform = Callable[[Task], Awaitable[None]]


class Tickets:
    """Takes the tickets of one worker process.

    Args:
        url: of the database.
        staging: the worker's staging area.
        perform: does what a ticket stands for; its failures are its own business.
        slots: tickets that are held at once.
        lost_after_s: silence after which a worker's tickets are dropped.
        grace_s: time for what is under way when the worker stops.
    """

    def __init__(
        self,
        url: str,
        staging: UUID,
        perform: Perform,
        *,
        slots: int,
        lost_after_s: float,
        grace_s: float,
    ) -> None:
        self._arguments = connect_arguments(parse_url(url))
        self._queues = [WORK_QUEUE, queue_of(staging)]
        self._perform = perform
        self._slots = slots
        self._lost_after_s = lost_after_s
        self._grace_s = grace_s

    async def run(self, stop: asyncio.Event) -> None:
        """Take tickets until told to stop, then wait for what is under way."""
        clock, pause_s = asyncio.get_running_loop().time, 0.0
        while not stop.is_set():
            began = clock()
            await self._session(stop)
            if stop.is_set():
                return
            is_steady = clock() - began > STEADY_S
            pause_s = 0.25 if is_steady else min(LONGEST_PAUSE_S, max(0.25, 2 * pause_s))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    async def _session(self, stop: asyncio.Event) -> None:
        """Take tickets until told to stop, or until the library gives up."""
        session = asyncio.create_task(self._work())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({session, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            session.cancel()
            ended = await asyncio.gather(session, return_exceptions=True)
        if not stop.is_set():
            error = ended[0]
            where = telemetry.place_of(error) if isinstance(error, BaseException) else None
            telemetry.log().warning("queue-lost", kind=type(error).__name__, where=where)

    async def _work(self) -> None:
        app = self._app()
        try:
            await app.open_async()
            await app.run_worker_async(
                queues=self._queues,
                concurrency=self._slots,
                delete_jobs="successful",
                install_signal_handlers=False,
                shutdown_graceful_timeout=self._grace_s,
                fetch_job_polling_interval=POLL_S,
                abort_job_polling_interval=3600.0,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=self._lost_after_s,
            )
        finally:
            await app.close_async()

    def _app(self) -> procrastinate.App:
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                kwargs=self._arguments, min_size=1, max_size=3, timeout=POOL_TIMEOUT_S
            )
        )
        for task in Task:
            app.task(name=str(task), queue=WORK_QUEUE)(self._performing(task))
        # Without a periodic task the library does not watch over its own heartbeat.
        upkeep = app.task(name=_UPKEEP, queue=WORK_QUEUE)(_nothing)
        app.periodic(cron="17 3 * * *")(upkeep)
        return app

    def _performing(self, task: Task) -> Callable[[], Awaitable[None]]:
        async def perform() -> None:
            await self._perform(task)

        return perform


async def _nothing(timestamp: int) -> None:
    """Do nothing; upkeep has a rhythm of its own."""
    del timestamp
