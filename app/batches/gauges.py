"""What ``/metrics`` says about batches as a whole: what waits, and whether there is room for more.

Any process that sees the tables and the staging area can tell it, whether it works on batches or
not. The tables are asked seldom, however often somebody looks, and nobody who looks waits long.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from app import telemetry
from app.batches.room import Bounds, RoomState, state_of
from app.batches.staging import StagingArea
from app.batches.work import BatchWork
from app.errors import GatewayError
from app.telemetry import BatchLevels

FRESH_S: Final = 5.0
# Longer than that nobody waits for a database or a file system that does not answer.
PATIENCE_S: Final = 2.0


class BatchGauges:
    """Keeps the gauges of one process up to date.

    Args:
        levels: the gauges.
        bounds: on the staging area.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        levels: BatchLevels,
        work: BatchWork,
        staging: StagingArea,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._levels = levels
        self._work = work
        self._staging = staging
        self._bounds = bounds
        self._clock = clock
        self._fresh_until = clock()
        self._looking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Set the gauges; while tables or staging area do not answer they stay as they were."""
        if self._looking is None or self._looking.done():
            if self._clock() < self._fresh_until:
                return
            self._fresh_until = self._clock() + FRESH_S
            self._looking = asyncio.create_task(self._look(), name="gauges")
        await asyncio.wait({self._looking}, timeout=PATIENCE_S)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    async def _look(self) -> None:
        try:
            await self._look_at_room()
            for what, count in asdict(await self._work.backlog()).items():
                self._levels.backlog.labels(what).set(count)
            self._levels.set_waiting(await self._work.waiting())
        except GatewayError as error:
            telemetry.log().warning("gauges-stay", code=error.code)
        except Exception as error:  # noqa: BLE001 - the other metrics are still to be answered
            telemetry.log().error(
                "gauges-failed", kind=type(error).__name__, where=telemetry.place_of(error)
            )

    async def _look_at_room(self) -> None:
        free = await asyncio.to_thread(self._staging.free_bytes)
        waiting = await self._work.area(self._staging.staging_id)
        state = state_of(self._bounds, free, waiting)
        self._levels.staging_free.set(free)
        self._levels.staging_waiting.set(waiting.bytes)
        for possible in RoomState:
            self._levels.staging_state.labels(str(possible)).set(possible is state)
