"""Places for what costs much: so many at once, so many waiting, others come again."""

import asyncio
from types import TracebackType
from typing import Final

from app import errors

WAIT_S: Final = 20.0


class Places:
    """Lends places in the order in which they are asked for: ``async with places:``.

    Args:
        count: of places.
        max_waiting: who waits for one; whoever comes on top is refused at once.
        wait_s: longest wait.
    """

    def __init__(self, count: int, max_waiting: int, *, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(count)
        self._max_waiting = max_waiting
        self._wait_s = wait_s
        self._waiting = 0

    async def __aenter__(self) -> None:
        """Take a place.

        Raises:
            errors.Overloaded: too many wait already, or it took too long.
        """
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._max_waiting:
            raise errors.Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise errors.Overloaded from None
        finally:
            self._waiting -= 1

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._free.release()
