"""When a worker's work is over, and how often something went wrong in a row."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from random import uniform
from time import monotonic
from typing import Final

FIRST_PAUSE_S: Final = 1.0
# Whoever frees a disk or mends a line should see the work go on soon.
LONGEST_PAUSE_S: Final = 12.0
MOST_REMEMBERED: Final = 1000


class Ending:
    """Told to stop, a worker takes nothing new, and finishes what it holds if that is soon done.

    Args:
        stop: set by whoever wants the worker to end.
        grace_s: how long a chunk may still take; no file is begun after that.
        clock: seconds that only grow.
    """

    def __init__(
        self, stop: asyncio.Event, *, grace_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.stop = stop
        self._grace_s = grace_s
        self._clock = clock
        self._over_at: float | None = None

    def is_near(self) -> bool:
        """Whether the worker was told to stop."""
        return self.stop.is_set()

    def is_over(self) -> bool:
        """Whether nothing may be begun any more, not even a file."""
        if not self.stop.is_set():
            return False
        if self._over_at is None:
            self._over_at = self._clock() + self._grace_s
        return self._clock() >= self._over_at

    async def sleep(self, seconds: float) -> None:
        """Sleep about so long, or until told to stop."""
        try:
            await asyncio.wait_for(self.stop.wait(), seconds * uniform(0.75, 1.25))  # noqa: S311 - no secret
        except TimeoutError:
            return


class Setbacks:
    """Counts what goes wrong in a row, for some hundred things; forgets the oldest."""

    def __init__(self) -> None:
        self._counts: OrderedDict[Hashable, int] = OrderedDict()

    def add(self, what: Hashable) -> int:
        """Count one more and return how many there are."""
        count = self._counts.pop(what, 0) + 1
        self._counts[what] = count
        if len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)
        return count

    def forget(self, what: Hashable) -> None:
        """Start again: it went well."""
        self._counts.pop(what, None)


def pause_s(count: int) -> float:
    """Return a pause that doubles with each setback in a row, and is never quite the same."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(count - 1, 10)) * uniform(0.75, 1.25)  # noqa: S311 - no secret
