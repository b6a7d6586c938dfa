"""Short blocking calls for threads, handed out and answered in groups.

A call of its own costs the event loop as much as writing a small file. Calls that come in the same
turn of the loop share one trip to a thread and one back.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")
_Call: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any]]
_Outcome: TypeAlias = tuple[asyncio.Future[Any], Any, BaseException | None]
GROUP: Final = 8


class GroupedCalls:
    """Gives the calls of one event loop to an executor.

    Calls of one group follow each other in one thread; with one thread, all do, in the order in
    which they were asked for. One that nobody waits for any more is not begun.

    Args:
        executor: its threads; whoever made it ends it.
        group: most calls of one trip.
        is_waited_for: who is cancelled while his call is under way goes only when it has ended.
    """

    def __init__(
        self, executor: Executor, *, group: int = GROUP, is_waited_for: bool = False
    ) -> None:
        self._executor = executor
        self._group = group
        self._answer = _Kept if is_waited_for else asyncio.Future
        self._waiting: list[_Call] = []

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises.

        Raises:
            RuntimeError: the executor was ended.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = self._answer(loop=loop)
        if not self._waiting:
            loop.call_soon(self._hand_out, loop)
        self._waiting.append((call, answer))
        return await answer

    def _hand_out(self, loop: asyncio.AbstractEventLoop) -> None:
        calls, self._waiting = self._waiting, []
        for start in range(0, len(calls), self._group):
            group = calls[start : start + self._group]
            try:
                self._executor.submit(_work, group, loop)
            except RuntimeError as error:
                _settle([(answer, None, error) for _, answer in group])


class _Kept(asyncio.Future[T]):
    """An answer that cannot be cancelled: a task that waits for it learns of it afterwards."""

    is_unwanted = False

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - the signature is asyncio's
        self.is_unwanted = True
        return False


def _work(calls: Sequence[_Call], loop: asyncio.AbstractEventLoop) -> None:
    outcomes: list[_Outcome] = []
    for call, answer in calls:
        if answer.cancelled() or (isinstance(answer, _Kept) and answer.is_unwanted):
            outcomes.append((answer, None, asyncio.CancelledError()))
            continue
        try:
            outcomes.append((answer, call(), None))
        except StopIteration:  # no future takes it
            outcomes.append((answer, None, RuntimeError("a call raised StopIteration")))
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            outcomes.append((answer, None, error))
    loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for answer, value, error in outcomes:
        if answer.done():  # cancelled
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
