"""Places for what costs much: so many at once, so many waiting, others come again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

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

    def place(self) -> "Place":
        """Return one place that can be left for a while; ``async with`` takes it."""
        return Place(self)

    def give_back(self) -> None:
        """Let another have the place."""
        self._free.release()

    async def take_again(self) -> None:
        """Take a place after one was left; who was admitted waits for as long as it takes."""
        await self._free.acquire()


class Place:
    """One place, which its holder may leave while it waits for something slow."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_held = False

    async def __aenter__(self) -> Self:
        """Take it; raises as ``Places`` does."""
        await self._places.__aenter__()
        self._is_held = True
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._is_held:
            self._places.give_back()

    @asynccontextmanager
    async def left(self, others: Places) -> AsyncIterator[None]:
        """Leave it to others while something slow is done in one of other places.

        Raises:
            errors.Overloaded: too many do that already.
        """
        async with others:
            self._is_held = False
            self._places.give_back()
            try:
                yield
            finally:
                await self._places.take_again()
                self._is_held = True
