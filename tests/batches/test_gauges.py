"""What the metrics say of all batches, and that they are answered whatever is away."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.batches import gauges as gauges_module
from app.batches.gauges import BatchGauges
from app.batches.room import Bounds
from app.batches.work import BatchWork
from app.errors import DatabaseUnavailable
from app.telemetry import BatchLevels
from tests.batches.station import Station, fill

pytestmark = pytest.mark.db


class Scrape:
    """Gauges of one process, and somebody who looks at them."""

    def __init__(self, station: Station, bounds: Bounds | None = None) -> None:
        self.now = 0.0
        self._registry = CollectorRegistry()
        self.gauges = BatchGauges(
            BatchLevels(self._registry),
            station.work,
            station.area,
            bounds or Bounds(),
            lambda: self.now,
        )

    async def __call__(self) -> str:
        await self.gauges.refresh()
        return generate_latest(self._registry).decode()


async def test_the_gauges_tell_what_waits_and_whether_there_is_room(station: Station) -> None:
    fill(Path(station.order.root), 10)
    await station.submit()
    scrape = Scrape(station, Bounds(min_free_bytes=1 << 60))

    first = await scrape()
    await station.submit()
    second = await scrape()
    scrape.now = 6.0
    third = await scrape()

    assert 'deid_batch_staging_state{state="disk"} 1.0' in first
    assert 'deid_batch_backlog{what="waiting_batches"} 1.0' in first
    assert 'deid_batch_backlog{what="waiting_batches"} 1.0' in second
    assert 'deid_batch_backlog{what="waiting_batches"} 2.0' in third


async def test_what_batches_wait_for_is_counted_until_none_does(station: Station) -> None:
    await station.submit()
    worker = await station.work.join(station.area.staging_id)
    scan = await station.work.claim_scan(worker, station.area.staging_id)
    await station.work.give_back(scan, 0.001, "source-unavailable")
    scrape = Scrape(station)

    waiting = await scrape()
    await asyncio.sleep(0.01)
    scan = await station.work.claim_scan(worker, station.area.staging_id)
    await station.work.finish_scan(scan)
    scrape.now = 6.0
    nobody = await scrape()

    assert 'deid_batch_waiting{code="source-unavailable"} 1.0' in waiting
    assert 'deid_batch_waiting{code="source-unavailable"} 0.0' in nobody


async def test_the_gauges_stay_while_the_database_is_away(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_self):
        raise DatabaseUnavailable

    monkeypatch.setattr(BatchWork, "backlog", away)

    assert 'state="open"} 1.0' in await Scrape(station)()


async def test_nobody_waits_for_a_database_that_hangs_and_it_is_asked_once(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def hanging(_self):
        asked.append(1)
        await asyncio.Event().wait()

    monkeypatch.setattr(BatchWork, "backlog", hanging)
    monkeypatch.setattr(gauges_module, "PATIENCE_S", 0.5)
    scrape = Scrape(station)

    await scrape()
    scrape.now = 60.0
    said = await scrape()
    await scrape.gauges.close()

    assert "deid_batch_staging_free_bytes" in said
    assert asked == [1]


async def test_a_fault_that_nobody_foresaw_breaks_no_metrics(
    station: Station, monkeypatch: pytest.MonkeyPatch, spoken
) -> None:
    async def broken(_self):
        raise ValueError("PLANTED")

    monkeypatch.setattr(BatchWork, "backlog", broken)

    said = await Scrape(station)()

    assert "deid_batch_staging_free_bytes" in said
    logged = "".join(spoken.readouterr())
    assert "gauges-failed" in logged
    assert "PLANTED" not in logged
