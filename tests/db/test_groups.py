import asyncio
from collections.abc import Sequence

import pytest

from app.db.groups import GroupCommitter
from app.errors import DatabaseUnavailable, GatewayError, PseudonymCollision


class Ledger:
    """Writes when it is told to, and remembers the groups."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.fails_with: Exception | None = None

    async def write(self, entries: Sequence[str]) -> list[GatewayError | None]:
        self.groups.append(list(entries))
        await self.may_write.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return [PseudonymCollision() if entry == "bad" else None for entry in entries]


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - one turn of the loop at a time
        await asyncio.sleep(0)


async def test_a_lone_entry_is_written_at_once() -> None:
    ledger = Ledger()

    await asyncio.wait_for(GroupCommitter(ledger.write).submit("one"), 1)

    assert ledger.groups == [["one"]]


async def test_what_comes_during_a_write_shares_the_next() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    committer = GroupCommitter(ledger.write)
    first = asyncio.create_task(committer.submit("first"))
    await until(lambda: ledger.groups)
    others = [asyncio.create_task(committer.submit(str(n))) for n in range(3)]
    await asyncio.sleep(0)

    ledger.may_write.set()
    await asyncio.gather(first, *others)

    assert ledger.groups == [["first"], ["0", "1", "2"]]


async def test_nobody_is_answered_before_the_write_has_ended() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    waiting = asyncio.create_task(GroupCommitter(ledger.write).submit("one"))
    await until(lambda: ledger.groups)

    assert not waiting.done()

    ledger.may_write.set()
    await waiting


async def test_a_group_has_a_bound() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.write, max_group=2)

    await asyncio.gather(*[committer.submit(str(n)) for n in range(5)])

    assert [len(group) for group in ledger.groups] == [2, 2, 1]


async def test_each_caller_gets_its_own_outcome() -> None:
    committer = GroupCommitter(Ledger().write)

    answers = await asyncio.gather(
        *[committer.submit(entry) for entry in ("good", "bad", "good")], return_exceptions=True
    )

    assert [type(answer).__name__ for answer in answers] == [
        "NoneType",
        "PseudonymCollision",
        "NoneType",
    ]


async def test_a_failed_write_fails_its_group_and_not_the_next() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.write)
    ledger.fails_with = RuntimeError("no")

    answers = await asyncio.gather(
        *[committer.submit(entry) for entry in "ab"], return_exceptions=True
    )
    ledger.fails_with = None
    await committer.submit("c")

    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
    assert ledger.groups == [["a", "b"], ["c"]]


async def test_too_many_waiting_entries_are_turned_away() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    committer = GroupCommitter(ledger.write, max_waiting=2)
    tasks = [asyncio.create_task(committer.submit("written"))]
    await until(lambda: ledger.groups)
    tasks += [asyncio.create_task(committer.submit("waiting")) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(DatabaseUnavailable):
        await committer.submit("too many")

    ledger.may_write.set()
    await asyncio.gather(*tasks)


async def test_a_caller_that_gives_up_in_the_queue_is_left_out() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    committer = GroupCommitter(ledger.write)
    first = asyncio.create_task(committer.submit("first"))
    await until(lambda: ledger.groups)
    second = asyncio.create_task(committer.submit("second"))
    third = asyncio.create_task(committer.submit("third"))
    await asyncio.sleep(0)

    second.cancel()
    ledger.may_write.set()
    await asyncio.gather(first, third)

    assert ledger.groups == [["first"], ["third"]]
    assert second.cancelled()


async def test_a_caller_that_gives_up_during_the_write_does_not_stop_it() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    committer = GroupCommitter(ledger.write)
    first = asyncio.create_task(committer.submit("first"))
    second = asyncio.create_task(committer.submit("second"))
    await until(lambda: ledger.groups)

    first.cancel()
    ledger.may_write.set()
    await second

    assert ledger.groups == [["first", "second"]]


async def test_draining_waits_for_everything() -> None:
    ledger = Ledger()
    committer = GroupCommitter(ledger.write, max_group=1)
    tasks = [asyncio.create_task(committer.submit(str(n))) for n in range(3)]
    await asyncio.sleep(0)

    await committer.drain()

    assert len(ledger.groups) == 3
    assert all(task.done() for task in tasks) or await asyncio.gather(*tasks) == [None] * 3


async def test_a_writer_that_is_cancelled_leaves_nobody_waiting() -> None:
    ledger = Ledger()
    ledger.may_write.clear()
    committer = GroupCommitter(ledger.write, max_group=1)
    tasks = [asyncio.create_task(committer.submit(str(n))) for n in range(2)]
    await until(lambda: ledger.groups)

    committer._writer.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(answer) for answer in answers] == [asyncio.CancelledError] * 2
