"""Files of one chunk and of several at once: what they share, and what comes one at a time."""

import asyncio
import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from app import pipeline
from app.batches import processing, writing
from app.batches.processing import Swelling
from app.batches.states import ItemState
from app.dicom.source import Source
from tests import builders
from tests.batches.bench import Bench
from tests.batches.station import objects
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


async def test_it_is_told_when_little_of_a_chunk_is_left(bench: Bench) -> None:
    for number, data in enumerate(objects(80)):
        bench.add(f"{number:03d}", data)
    begun: list[int] = []
    told: list[int] = []

    def is_held() -> bool:
        begun.append(1)
        return True

    await bench.processor.run(
        bench.claim(), is_held=is_held, on_nearly_done=lambda: told.append(len(begun))
    )

    assert 80 - processing.NEARLY_FILES <= told[0] < 80


async def test_it_is_told_when_all_is_begun_which_is_before_all_is_done(bench: Bench) -> None:
    for number, data in enumerate(objects(30)):
        bench.add(f"{number:03d}", data)
    done_when_told: list[int] = []

    await bench.processor.run(
        bench.claim(),
        is_held=lambda: True,
        on_all_begun=lambda: done_when_told.append(len(bench.staged())),
    )

    assert done_when_told[0] < 30


async def test_chunks_at_once_share_the_lanes(bench: Bench) -> None:
    for number, data in enumerate(objects(40)):
        bench.add(f"{number:03d}", data)
    processor = replace(bench.processor, lanes=asyncio.Semaphore(5))

    both = await asyncio.gather(
        *(processor.run(bench.claim(number=n), is_held=lambda: True) for n in (3, 4))
    )

    states = [result.state for results in both for result in results or ()]
    assert states == [ItemState.SUCCEEDED] * 80
    assert bench.folder.most_lent <= 5


async def test_few_files_are_open_at_once(bench: Bench) -> None:
    for number, data in enumerate(objects(100)):
        bench.add(f"{number:03d}", data)

    await bench.run()

    assert 1 < bench.folder.most_lent <= processing.IN_FLIGHT
    assert bench.folder.lent == 0


async def test_large_objects_are_treated_beside_the_event_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = objects(2)
    bench.add("0", small)
    bench.add("1", large + bytes(2000))
    treated: dict[int, bool] = {}
    written: dict[str, str] = {}
    deidentify, write = pipeline.deidentify, writing.write

    def deidentifying(source: Source, context: pipeline.Context):
        treated[source.size] = threading.current_thread() is threading.main_thread()
        return deidentify(source, context)

    def recording(done, path: str, *given: object, **named: object) -> bytes:
        written[Path(path).name] = threading.current_thread().name.partition("_")[0]
        return write(done, path, *given, **named)

    monkeypatch.setattr(pipeline, "deidentify", deidentifying)
    monkeypatch.setattr(writing, "write", recording)
    processor = replace(bench.processor, inline_bytes=len(small))

    results = await processor.run(bench.claim(), is_held=lambda: True)

    assert treated == {len(small): True, len(large) + 2000: False}
    assert written == {"0.dcm": "staging", "1.dcm": "apart"}
    staged = bench.staged()["1.dcm"]
    assert results[1].sha256 == hashlib.sha256(staged).digest()


async def test_chunks_share_the_room_for_objects_with_pixels_to_be_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, data in enumerate(objects(processing.IN_FLIGHT_PIXELS + 20)):
        bench.add(f"{number:03d}", data)
    record = bench.processor.vault.record

    async def recording(**given: object) -> None:
        await asyncio.sleep(0.02)
        await record(**given)

    monkeypatch.setattr(bench.processor.vault, "record", recording)
    pixels = bench.processor.contexts.get(NORTH, "basic-pixels").profile
    asked = {"profile": pixels.name, "profile_version": pixels.version}

    chunks = [
        bench.processor.run(bench.claim(number=number, **asked), is_held=lambda: True)
        for number in range(2)
    ]
    await asyncio.gather(*chunks)

    assert bench.folder.most_lent == processing.IN_FLIGHT_PIXELS


def counted_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets, for each object to be recorded, how many are then held at once."""
    counts: list[int] = []
    held = 0
    record = bench.processor.vault.record

    async def recording(**given: object) -> None:
        nonlocal held
        held += 1
        counts.append(held)
        await asyncio.sleep(0.005)
        await record(**given)
        held -= 1

    monkeypatch.setattr(bench.processor.vault, "record", recording)
    return counts


async def test_swollen_objects_come_one_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 100_000)
    counts = counted_at_once(bench, monkeypatch)
    for number in range(6):
        dataset = builders.ct(builders.Identity())
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.Rows = dataset.Columns = 512
        dataset.PixelData = bytes(512 * 512 * 2)
        bench.add(str(number), builders.part10(dataset, DeflatedExplicitVRLittleEndian))

    results = await bench.run()

    assert {result.state for result in results} == {ItemState.SUCCEEDED}
    assert max(path.stat().st_size for path in bench.folder.path.iterdir()) < 20_000
    assert max(counts) == 1


async def test_a_swollen_object_that_fails_holds_nobody_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 10)
    for number, data in enumerate(objects(5)):
        bench.add(str(number), data)
    bad = iter([ZeroDivisionError()])
    record = bench.processor.vault.record

    async def recording(**given: object) -> None:
        for error in bad:
            raise error
        await record(**given)

    monkeypatch.setattr(bench.processor.vault, "record", recording)

    async with asyncio.timeout(10):
        results = await bench.run()

    assert [result.state for result in results].count(ItemState.SUCCEEDED) == 4


async def test_objects_that_swell_a_little_are_counted_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each becomes 100 kB, which is allowed; all at once they would be ten times as much."""
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 250_000)
    counts = counted_at_once(bench, monkeypatch)
    for number in range(10):
        dataset = builders.ct(builders.Identity())
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.Rows, dataset.Columns = 100, 500
        dataset.PixelData = bytes(100 * 500 * 2)
        bench.add(str(number), builders.part10(dataset, DeflatedExplicitVRLittleEndian))

    results = await bench.run()

    assert {result.state for result in results} == {ItemState.SUCCEEDED}
    assert max(counts) == 3


async def test_swelling_counts_only_what_an_object_grew_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 10)
    swelling = Swelling()
    large = type("Done", (), {"size": 1000})()

    assert await swelling.work(1000, lambda: large) is large
    assert await swelling.work(995, lambda: large) is large
