"""Taking turns: who is alone, who shares, who passes the turn on."""

import asyncio
import contextlib

from app.batches.quiet import Baton, Quiet


async def test_who_wants_to_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    quiet = Quiet()
    said = []
    leave = asyncio.Event()

    async def share(name: str) -> None:
        async with quiet.shared():
            said.append(f"{name} in")
            await leave.wait()
            said.append(f"{name} out")

    async def be_alone() -> None:
        async with quiet.alone():
            said.append("alone")

    first = asyncio.create_task(share("first"))
    await asyncio.sleep(0)
    alone = asyncio.create_task(be_alone())
    await asyncio.sleep(0)
    late = asyncio.create_task(share("late"))
    await asyncio.sleep(0.01)
    assert said == ["first in"]
    leave.set()
    await asyncio.gather(first, alone, late)

    assert said == ["first in", "first out", "alone", "late in", "late out"]


async def test_a_turn_may_be_passed_on_before_its_end() -> None:
    lock = asyncio.Lock()

    async with Baton(lock) as baton:
        assert lock.locked()
        baton.release()
        assert not lock.locked()
        async with Baton(lock):
            baton.release()
            assert lock.locked()
    assert not lock.locked()


async def test_who_gives_up_waiting_to_be_alone_lets_the_others_in() -> None:
    quiet = Quiet()
    async with quiet.shared():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01), quiet.alone():
                raise AssertionError("not alone")
        async with asyncio.timeout(1), quiet.shared():
            pass
