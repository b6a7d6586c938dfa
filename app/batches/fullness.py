"""Chunks that wait for room in the quarantine are not done anew, reading and all, before there is.

People may take days over what is held. A claim of such a chunk then costs a look at a directory.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from app.errors import QuarantineFull
from app.pipeline import Context

MOST_REMEMBERED: Final = 10_000
# A rule that was approved meanwhile may leave nothing to hold, however full the quarantine is.
BELIEVED_S: Final = 600.0


class Fullness:
    """Remembers for a while what there was no room for, by chunk; forgets the oldest.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sizes: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def met(self, chunk: Hashable, error: QuarantineFull) -> None:
        """Note that an object of a chunk was not held for want of room."""
        self._sizes[chunk] = (error.size, self._clock() + BELIEVED_S)
        if len(self._sizes) > MOST_REMEMBERED:
            self._sizes.popitem(last=False)

    async def require_room(self, chunk: Hashable, context: Context) -> None:
        """Let a chunk be done, unless what was not held of it would still not fit.

        Raises:
            QuarantineFull: people have not decided about enough yet.
            StorageUnavailable: the quarantine cannot be looked at.
        """
        size, until = self._sizes.get(chunk, (0, 0.0))
        quarantine = context.pixels.quarantine if context.pixels is not None else None
        is_believed = quarantine is not None and self._clock() < until
        if is_believed and quarantine and not await asyncio.to_thread(quarantine.has_room, size):
            raise QuarantineFull(size=size)
        self._sizes.pop(chunk, None)
