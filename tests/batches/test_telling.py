"""Clients are told side by side, and a receiver that is slow holds up nobody else."""

import asyncio
import datetime as dt
from collections import deque
from dataclasses import replace
from uuid import uuid4

import pytest

from app.batches import telling as telling_module
from app.batches.callbacks import Delivery, Outcome
from app.batches.records import CallbackClaim, Request
from app.batches.states import ItemState
from app.batches.telling import MOST, MOST_TO_ONE, Telling
from app.errors import DatabaseUnavailable
from tests.batches.house import event
from tests.mapping_house import NORTH

SLOW, QUICK = "https://slow.test/PLANTED", "https://quick.test/PLANTED"


@pytest.fixture
async def batch(house):
    made = await house.scanned([1])
    await house.process(ItemState.REFUSED)
    return await house.get(made)


class Tables:
    """Due callbacks, and what became of them."""

    def __init__(self, batch, *urls: str) -> None:
        self.due = deque(
            CallbackClaim(replace(batch, batch_id=uuid4()), url, attempt=1) for url in urls
        )
        self.finished: list[str] = []
        self.postponed: list[str] = []
        self.is_away = False

    async def claim_callback(self) -> CallbackClaim | None:
        return self.due.popleft() if self.due else None

    async def finish_callback(self, claim: CallbackClaim, retry_in_s: float | None) -> None:
        if self.is_away:
            raise DatabaseUnavailable
        assert retry_in_s is None
        self.finished.append(claim.url)

    async def postpone_callback(self, claim: CallbackClaim, seconds: float) -> None:
        assert seconds > 0
        self.postponed.append(claim.url)


class Receivers:
    """The quick one answers at once, the slow one when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.most = self.now = 0

    async def deliver(self, url: str, body: dict, attempt: int) -> Delivery:
        assert attempt == 1
        assert body["batch_id"]
        self.now += 1
        self.most = max(self.most, self.now)
        if url == SLOW:
            await self.gate.wait()
        self.now -= 1
        return Delivery(Outcome.DELIVERED)


async def drain(telling: Telling) -> None:
    while await telling.turn():  # noqa: ASYNC110 - it does the work
        await asyncio.sleep(0)


@pytest.mark.db
async def test_a_slow_receiver_holds_up_nobody_but_itself(batch) -> None:
    tables, receivers = Tables(batch, SLOW, SLOW, SLOW, QUICK, SLOW, QUICK), Receivers()
    telling = Telling(tables, receivers, lambda: False)

    await drain(telling)
    await asyncio.sleep(0)
    meanwhile = list(tables.finished)
    receivers.gate.set()
    await telling.close()

    assert meanwhile == [QUICK, QUICK]
    assert tables.finished == [QUICK, QUICK, SLOW, SLOW]
    assert tables.postponed == [SLOW] * (4 - MOST_TO_ONE)


@pytest.mark.db
async def test_no_more_are_under_way_than_may(batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling_module, "MOST_TO_ONE", 100)
    tables, receivers = Tables(batch, *[SLOW] * 3 * MOST), Receivers()
    telling = Telling(tables, receivers, lambda: False)

    draining = asyncio.create_task(drain(telling))
    while receivers.now < MOST:  # noqa: ASYNC110 - it shows in a counter
        await asyncio.sleep(0)
    receivers.gate.set()
    await draining
    await telling.close()

    assert receivers.most == MOST
    assert len(tables.finished) == 3 * MOST


@pytest.mark.db
async def test_nothing_is_begun_when_the_worker_is_to_end(batch) -> None:
    tables = Tables(batch, QUICK)

    assert not await Telling(tables, Receivers(), lambda: True).turn()
    assert len(tables.due) == 1


@pytest.mark.db
async def test_tables_that_are_away_cost_no_place(batch, spoken) -> None:
    tables = Tables(batch, *[QUICK] * 2 * MOST)
    tables.is_away = True
    telling = Telling(tables, Receivers(), lambda: False)

    async with asyncio.timeout(20):
        await drain(telling)
        await telling.close()

    said = "".join(spoken.readouterr())
    assert "callback-not-settled" in said
    assert "PLANTED" not in said


@pytest.mark.db
async def test_what_is_postponed_counts_as_no_attempt(house) -> None:
    request = Request({"kind": "x"}, {"kind": "staging"}, callback_url=QUICK)
    batch = await house.submit(request=request)
    await house.service.cancel(NORTH, batch.batch_id, event())
    claim = await house.work.claim_callback()

    await house.work.postpone_callback(claim, 0.001)
    await house.work.postpone_callback(claim, 600)  # it is another's by now
    house.mapping.query(
        "UPDATE batches SET callback_due_at = %s RETURNING id",
        dt.datetime(2026, 1, 31, tzinfo=dt.UTC),
    )

    assert (await house.work.claim_callback()).attempt == claim.attempt == 1
