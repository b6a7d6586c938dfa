"""Clients are told that their batches have ended: several at a time, and few at one receiver.

So a receiver that answers slowly, or not at all, holds nobody up but itself.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from app import telemetry
from app.batches.callbacks import Callbacks
from app.batches.records import CallbackClaim
from app.batches.representation import representation
from app.batches.work import BatchWork
from app.errors import Unavailable

MOST: Final = 8
MOST_TO_ONE: Final = 2
LATER_S: Final = 3.0


class Telling:
    """The callbacks of one worker process.

    Args:
        is_near_end: whether nothing new is to be begun.
    """

    def __init__(
        self, work: BatchWork, callbacks: Callbacks, is_near_end: Callable[[], bool]
    ) -> None:
        self._work = work
        self._callbacks = callbacks
        self._is_near_end = is_near_end
        self._places = asyncio.Semaphore(MOST)
        self._under_way: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def turn(self) -> bool:
        """Begin to tell one client, as soon as there is a place; False when there is none to tell.

        Raises:
            Unavailable: the tables do not answer.
        """
        await self._places.acquire()
        claim = None
        try:
            if not self._is_near_end():
                claim = await self._work.claim_callback()
        finally:
            if claim is None:
                self._places.release()
        if claim is None:
            return False
        receiver = _receiver_of(claim.url)
        if self._under_way[receiver] >= MOST_TO_ONE:
            self._places.release()
            await self._work.postpone_callback(claim, LATER_S * random.uniform(1, 2))  # noqa: S311 - no secret
            return True
        self._under_way[receiver] += 1
        task = asyncio.create_task(self._tell(claim, receiver), name="callback")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Wait for those that are under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def cut_off(self) -> None:
        """Leave those that are still under way; they are told again later."""
        for task in self._tasks:
            task.cancel()

    async def _tell(self, claim: CallbackClaim, receiver: str) -> None:
        try:
            told = representation(claim.batch, telemetry.utc_now())
            delivery = await self._callbacks.deliver(claim.url, told, claim.attempt)
            await self._work.finish_callback(claim, delivery.again_in_s)
        except Unavailable as error:  # it comes again when its lease is over
            telemetry.log().warning("callback-not-settled", code=error.code)
        except Exception as error:  # noqa: BLE001 - the others are told all the same
            telemetry.log().error(
                "callback-failed", kind=type(error).__name__, where=telemetry.place_of(error)
            )
        finally:
            self._under_way[receiver] -= 1
            if not self._under_way[receiver]:
                del self._under_way[receiver]
            self._places.release()


def _receiver_of(url: str) -> str:
    """Name a receiver by host and port; whether it may be told anything is looked at later."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
