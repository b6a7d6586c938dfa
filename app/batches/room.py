"""Whether the staging area has room for more, and what is done while it has not: wait.

The bound on waiting bytes holds back new work only while something drains: results of batches that
are held back until they are whole would otherwise block each other for ever. The free space that
is to stay is never touched.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from app import telemetry
from app.batches.staging import StagingArea
from app.batches.standing import AreaState, area_state
from app.db.session import Database

# Work that met a full disk is tried again sooner than this.
OVERFLOW_S: Final = 30.0


class RoomState(StrEnum):
    """What a staging area says to new work."""

    OPEN = "open"
    BYTES = "bytes"  # more bytes wait than may
    DISK = "disk"  # the file system is nearly full


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on a staging area.

    Attributes:
        max_bytes: most bytes that wait; 0 for no such bound.
        min_free_bytes: free space that is left to others.
    """

    max_bytes: int = 0
    min_free_bytes: int = 0

    def most_held(self, capacity: int) -> int:
        """Return the bytes above which a batch that is held back can never fit. Pure.

        Args:
            capacity: bytes that the file system holds when it is empty.
        """
        fitting = max(capacity - self.min_free_bytes, 1)
        return min(self.max_bytes, fitting) if self.max_bytes else fitting


class Room:
    """Watches one staging area."""

    def __init__(
        self,
        database: Database,
        staging: StagingArea,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._staging = staging
        self._bounds = bounds
        self.state = RoomState.OPEN
        self._clock = clock
        self._overflowed_at: float | None = None

    @property
    def staging_id(self) -> UUID:
        """The area's id."""
        return self._staging.staging_id

    def overflowed(self) -> None:
        """Note that a result could not be written for want of room, whatever the bounds say."""
        self._overflowed_at = self._clock()

    def relieved(self) -> None:
        """Note that room was made."""
        self._overflowed_at = None

    @property
    def is_short(self) -> bool:
        """Whether the disk has, or had a moment ago, no room for a result."""
        if self.state is RoomState.DISK:
            return True
        at = self._overflowed_at
        return at is not None and self._clock() - at < OVERFLOW_S

    async def look(self) -> RoomState:
        """See whether there is room; a change is logged.

        Raises:
            DatabaseUnavailable, StorageUnavailable: it cannot be seen.
        """
        free = self._staging.free_bytes()
        waiting = AreaState(0, drains=False)
        if self._bounds.max_bytes:
            waiting = await area_state(self._database, self._staging.staging_id)
        state = state_of(self._bounds, free, waiting)
        if state is not self.state:
            event = "staging-has-room" if state is RoomState.OPEN else "staging-full"
            telemetry.log().warning(event, kind=str(state), bytes_in=waiting.bytes)
            self.state = state
        return state


def state_of(bounds: Bounds, free_bytes: int, waiting: AreaState) -> RoomState:
    """Decide whether there is room. Pure."""
    if free_bytes < bounds.min_free_bytes:
        return RoomState.DISK
    if bounds.max_bytes and waiting.bytes >= bounds.max_bytes and waiting.drains:
        return RoomState.BYTES
    return RoomState.OPEN
