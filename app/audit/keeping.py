"""Keeps the audit's background work going beside a process: sealing, forwarding."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from app import telemetry

Keeper = Callable[[asyncio.Event], Awaitable[None]]
"""Works until the event is set."""

AGAIN_AFTER_S: Final = 15.0
LAST_WORDS_S: Final = 10.0


@asynccontextmanager
async def kept(*keepers: Keeper) -> AsyncIterator[None]:
    """Let keepers work meanwhile; at the end they get a moment to finish."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_work(keeper, stop), name="audit") for keeper in keepers]
    try:
        yield
    finally:
        stop.set()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work(keeper: Keeper, stop: asyncio.Event) -> None:
    """Begin anew whatever goes wrong: an audit that is not sealed must not go unnoticed."""
    while not stop.is_set():
        try:
            await keeper(stop)
        except Exception as error:  # noqa: BLE001 - a worker's loop: told, and tried again
            telemetry.log().error(
                "audit-keeper-failed", kind=type(error).__name__, where=telemetry.place_of(error)
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_AFTER_S)
