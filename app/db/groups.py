"""Group commit: calls that come while a write is under way share the next write.

What is written, and how, is the business of whoever makes the committer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from app.errors import DatabaseUnavailable, GatewayError

Entry = TypeVar("Entry")


class GroupCommitter(Generic[Entry]):
    """Collects entries and answers each when the group that it was written in is durable.

    A lone entry is written at once, there is no timer. Entries are written in the order in which
    they came.

    Args:
        write: makes a group durable and returns one outcome per entry: None, or why not.
        max_group: most entries of one group.
        max_waiting: most entries that wait; further ones are turned away.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Entry]], Awaitable[Sequence[GatewayError | None]]],
        *,
        max_group: int = 256,
        max_waiting: int = 4096,
    ) -> None:
        self._write = write
        self._max_group = max_group
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, entry: Entry) -> None:
        """Return once the entry is durable.

        A caller that is cancelled while it waits in the queue is left out; later its entry is
        written all the same.

        Raises:
            GatewayError: what the write answered for this entry.
            DatabaseUnavailable: too many entries wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            raise DatabaseUnavailable("too many records wait for the database")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_groups())
        await answer

    async def drain(self) -> None:
        """Wait until nothing waits any more."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write_groups(self) -> None:
        try:
            while group := self._next_group():
                await self._write_group(group)
        finally:
            self._writer = None
            for _, answer in self._waiting:
                answer.cancel()

    def _next_group(self) -> list[tuple[Entry, "asyncio.Future[None]"]]:
        group: list[tuple[Entry, asyncio.Future[None]]] = []
        while self._waiting and len(group) < self._max_group:
            entry, answer = self._waiting.popleft()
            if not answer.done():
                group.append((entry, answer))
        return group

    async def _write_group(self, group: list[tuple[Entry, "asyncio.Future[None]"]]) -> None:
        outcomes: Sequence[Exception | None]
        try:
            outcomes = await self._write([entry for entry, _ in group])
        except asyncio.CancelledError:
            for _, answer in group:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - every caller of the group gets it
            outcomes = [error] * len(group)
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            _give(answer, outcome)


def _give(answer: "asyncio.Future[None]", outcome: Exception | None) -> None:
    if answer.done():
        return
    if outcome is None:
        answer.set_result(None)
    else:
        answer.set_exception(outcome)
