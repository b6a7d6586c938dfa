"""Blocking calls in groups: each gets its own answer, whatever becomes of its neighbours."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from app.storage.threads import GROUP, GroupedCalls


@pytest.fixture
def one() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "one") as executor:
        yield executor


class Counting(ThreadPoolExecutor):
    """Counts the trips."""

    trips = 0

    def submit(self, *given, **named):
        self.trips += 1
        return super().submit(*given, **named)


async def test_everybody_gets_his_own_answer(one: ThreadPoolExecutor) -> None:
    calls = GroupedCalls(one)

    def of(number: int) -> int:
        if number % 3 == 0:
            raise ZeroDivisionError(number)
        return number * 10

    answers = await asyncio.gather(
        *(calls.run(partial(of, number)) for number in range(30)), return_exceptions=True
    )

    for number, answer in enumerate(answers):
        if number % 3 == 0:
            assert isinstance(answer, ZeroDivisionError)
            assert answer.args == (number,)
        else:
            assert answer == number * 10


async def test_calls_of_one_turn_share_a_trip() -> None:
    with Counting(2) as executor:
        calls = GroupedCalls(executor)
        await asyncio.gather(*(calls.run(threading.get_ident) for _ in range(2 * GROUP + 1)))
        assert executor.trips == 3
        await calls.run(threading.get_ident)
        assert executor.trips == 4


async def test_one_thread_keeps_the_order(one: ThreadPoolExecutor) -> None:
    calls, seen = GroupedCalls(one, group=4), []
    running = []
    for number in range(50):
        running.append(asyncio.create_task(calls.run(partial(seen.append, number))))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*running)
    assert seen == list(range(50))


async def test_who_is_cancelled_keeps_nobody_from_his_answer(one: ThreadPoolExecutor) -> None:
    calls, may_go, began = GroupedCalls(one), threading.Event(), threading.Event()

    def waiting() -> str:
        began.set()
        may_go.wait(10)
        return "late"

    first, second = (asyncio.create_task(calls.run(waiting)) for _ in range(2))
    await asyncio.to_thread(began.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_go.set()
    assert await second == "late"


async def test_who_is_waited_for_is_cancelled_at_the_end(one: ThreadPoolExecutor) -> None:
    calls, may_go, began = (
        GroupedCalls(one, is_waited_for=True),
        threading.Event(),
        threading.Event(),
    )
    ended: list[bool] = []

    def waiting() -> None:
        began.set()
        may_go.wait(10)
        ended.append(True)

    task = asyncio.create_task(calls.run(waiting))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_an_ended_executor_is_an_error_for_everybody(one: ThreadPoolExecutor) -> None:
    calls = GroupedCalls(one)
    one.shutdown()
    answers = await asyncio.gather(
        *(calls.run(threading.get_ident) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [RuntimeError] * 3


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_what_nobody_waits_for_any_more_is_not_begun(
    one: ThreadPoolExecutor, is_waited_for: bool
) -> None:
    calls, may_go, began = (
        GroupedCalls(one, is_waited_for=is_waited_for),
        threading.Event(),
        threading.Event(),
    )
    seen: list[int] = []

    def waiting() -> None:
        began.set()
        may_go.wait(10)

    first = asyncio.create_task(calls.run(waiting))
    others = [asyncio.create_task(calls.run(partial(seen.append, n))) for n in range(2 * GROUP)]
    await asyncio.to_thread(began.wait, 10)
    for task in others[1:]:
        task.cancel()
    may_go.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)

    assert seen == [0]
    assert answers[:2] == [None, None]
    assert {type(answer) for answer in answers[2:]} == {asyncio.CancelledError}


async def test_no_error_of_a_call_keeps_its_neighbours_waiting(one: ThreadPoolExecutor) -> None:
    calls = GroupedCalls(one)
    empty: Iterator[int] = iter(())

    async with asyncio.timeout(10):
        answers = await asyncio.gather(
            calls.run(empty.__next__), calls.run(threading.get_ident), return_exceptions=True
        )

    assert isinstance(answers[0], RuntimeError)
    assert isinstance(answers[1], int)
