"""What ``/metrics`` says about batches as a whole: what waits, and whether there is room for more.

Any process that sees the tables and the staging area can tell it, whether it works on batches or
not. The tables are asked seldom, however often somebody looks.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from app.batches.room import Room, RoomState
from app.batches.staging import StagingArea
from app.batches.work import BatchWork
from app.errors import Unavailable
from app.telemetry import BatchMetrics

FRESH_S: Final = 5.0


class BatchGauges:
    """Keeps the gauges of one process up to date.

    Args:
        metrics: whose gauges are set.
        room: of the staging area.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        metrics: BatchMetrics,
        work: BatchWork,
        staging: StagingArea,
        room: Room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._work = work
        self._staging = staging
        self._room = room
        self._clock = clock
        self._fresh_until = clock()

    async def refresh(self) -> None:
        """Set the gauges; while tables or staging area do not answer they stay as they were."""
        if self._clock() < self._fresh_until:
            return
        self._fresh_until = self._clock() + FRESH_S
        try:
            show_room(self._metrics, await self._room.look(), self._staging.free_bytes())
            for what, count in asdict(await self._work.backlog()).items():
                self._metrics.backlog.labels(what).set(count)
        except Unavailable:
            return


def show_room(metrics: BatchMetrics, state: RoomState, free_bytes: int) -> None:
    """Set the gauges of a staging area."""
    metrics.staging_free.set(free_bytes)
    for possible in RoomState:
        metrics.staging_state.labels(str(possible)).set(possible is state)
