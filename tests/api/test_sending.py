"""What is done for callers who go away."""

import asyncio

import pytest

from app.api.sending import while_there
from app.api.spool import Disconnected


class Caller:
    """Sends nothing more until it goes away."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.is_listened_to = False

    async def receive(self) -> dict[str, str]:
        self.is_listened_to = True
        try:
            await self.leaves.wait()
        finally:
            self.is_listened_to = False
        return {"type": "http.disconnect"}


async def test_work_ends_when_its_caller_goes_away() -> None:
    caller, reached = Caller(), []

    async def work() -> None:
        async with while_there(caller.receive):
            asyncio.get_running_loop().call_soon(caller.leaves.set)
            try:
                await asyncio.Event().wait()
            finally:
                reached.append("cleaned up")

    with pytest.raises(Disconnected):
        await work()

    task = asyncio.current_task()
    assert reached == ["cleaned up"]
    assert task is not None
    assert not task.cancelling()


async def test_work_that_is_done_leaves_nobody_listening() -> None:
    caller = Caller()

    async with while_there(caller.receive):
        await asyncio.sleep(0)
        assert caller.is_listened_to
    await asyncio.sleep(0)
    caller.leaves.set()
    await asyncio.sleep(0)

    assert not caller.is_listened_to


async def test_work_that_somebody_else_cancels_is_cancelled() -> None:
    caller = Caller()

    async def work() -> None:
        async with while_there(caller.receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caller.is_listened_to
