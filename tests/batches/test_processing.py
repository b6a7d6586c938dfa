"""A chunk through the pipeline: every file ends in a result, whatever it is."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from app import pipeline
from app.batches import processing, writing
from app.batches.opening import OpenSources
from app.batches.processing import Processor, Swelling
from app.batches.publishing import OpenDestinations, opener
from app.batches.records import ChunkClaim, ItemResult, Request, SourceFile
from app.batches.staging import StagingArea
from app.batches.states import ItemState, OnError, Priority
from app.batches.writing import Writers
from app.bootstrap import Contexts, Profiles
from app.deid.profile import BUILT_IN
from app.dicom.source import FileSource, MemorySource, Source
from app.dicom.tokens import Limits
from app.errors import (
    DatabaseUnavailable,
    SourceNotAllowed,
    StagingFull,
    StorageUnavailable,
    Truncated,
    Unavailable,
    UnreadableFile,
)
from app.storage.stores import Stores
from tests import builders
from tests.batches.house import BatchHouse
from tests.batches.station import objects
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


class Folder:
    """A study source over a plain directory that does what a test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lent = self.most_lent = 0
        self.faults: dict[str, list[BaseException]] = {}
        self.is_closed = False

    @contextmanager
    def lend(self, name: str) -> Iterator[Source]:
        if self.faults.get(name):
            raise self.faults[name].pop(0)
        self.lent += 1
        self.most_lent = max(self.lent, self.most_lent)
        fd = os.open(self.path / name, os.O_RDONLY)
        try:
            yield FileSource(fd)
        finally:
            os.close(fd)
            self.lent -= 1

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Bench:
    """A processor with its source, and what it makes."""

    folder: Folder
    processor: Processor
    area: StagingArea

    def add(self, name: str, data: bytes) -> None:
        (self.folder.path / name).write_bytes(data)

    def claim(self, **given: object) -> ChunkClaim:
        listed = [
            SourceFile(seq, path.name, path.stat().st_size)
            for seq, path in enumerate(sorted(self.folder.path.iterdir()))
        ]
        made = {
            "batch_id": self.area.staging_id,
            "organization": NORTH,
            "number": 3,
            "epoch": 2,
            "attempts": 1,
            "request": Request({"kind": "directory"}, {"kind": "staging"}),
            "priority": Priority.ROUTINE,
            "on_error": OnError.HOLD,
            "profile": "basic",
            "profile_version": BUILT_IN["basic"].version,
            "actor": "tester",
            "request_id": None,
            "files": listed,
        }
        return ChunkClaim(**(made | given))

    async def run(self, **given: object) -> list[ItemResult]:
        results = await self.processor.run(self.claim(**given), is_held=lambda: True)
        assert results is not None
        return list(results)

    def staged(self) -> dict[str, bytes]:
        directory = self.area.chunk_directory(self.area.staging_id, 3, 2)
        return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def bench(house: BatchHouse, tmp_path: Path) -> Iterator[Bench]:
    folder = Folder(tmp_path / "incoming")
    folder.path.mkdir()
    area = StagingArea(tmp_path / "staging")
    with ThreadPoolExecutor(4, "apart") as executor, Writers() as writers:
        processor = Processor(
            sources=OpenSources(lambda _source, _organization: folder),
            destinations=OpenDestinations(opener(Stores({}), area.path)),
            contexts=Contexts(house.mapping.vault, Profiles(None), Limits()),
            vault=house.mapping.vault,
            staging=area,
            inline_bytes=1 << 20,
            executor=executor,
            writers=writers,
        )
        yield Bench(folder, processor, area)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "PAUSES_S", (0.01, 0.01))


def dicomdir() -> bytes:
    meta = FileMetaDataset()
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.FileSetID = "DISC"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return builders.part10(dataset, ExplicitVRLittleEndian)


async def test_results_are_staged_with_their_hashes(bench: Bench, house: BatchHouse) -> None:
    for number, data in enumerate(objects(40)):
        bench.add(f"{number:03d}", data)

    results = await bench.run()

    staged = bench.staged()
    assert [result.file.seq for result in results] == list(range(40))
    assert {result.state for result in results} == {ItemState.SUCCEEDED}
    assert [result.sha256 for result in results] == [
        hashlib.sha256(staged[f"{seq}.dcm"]).digest() for seq in range(40)
    ]
    assert [result.size for result in results] == [len(staged[f"{n}.dcm"]) for n in range(40)]
    assert house.mapping.count("instances") == 40


async def test_a_result_is_what_the_pipeline_makes(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("only", data)
    context = bench.processor.contexts.get(NORTH, "basic")
    expected = pipeline.deidentify(MemorySource(data), context)

    [result] = await bench.run()

    names = expected.replacements
    assert bench.staged()["0.dcm"] == b"".join(expected.chunks())
    assert (result.cloud_study_id, result.cloud_patient_id, result.study_uid) == (
        names.cloud_study_id,
        names.cloud_patient_id,
        names.study_uid,
    )
    assert (result.series_uid, result.sop_instance_uid) == (
        names.series_uid,
        names.sop_instance_uid,
    )
    assert (result.sop_class_uid, result.modality) == ("1.2.840.10008.5.1.4.1.1.2", "CT")


async def test_one_bad_file_stops_none_of_the_others(bench: Bench) -> None:
    first, second = objects(2)
    bench.add("0-good", first)
    bench.add("1-cut", second[:-50])
    bench.add("2-letter", b"PLANTED: Dear colleague")
    bench.add("3-empty", b"")
    bench.add("4-dicomdir", dicomdir())
    bench.add("5-good", second)

    results = await bench.run()

    assert [(result.state, result.code) for result in results] == [
        (ItemState.SUCCEEDED, ""),
        (ItemState.REFUSED, "truncated"),
        (ItemState.IGNORED, "not-dicom"),
        (ItemState.IGNORED, "not-dicom"),
        (ItemState.IGNORED, "unsupported-sop-class"),
        (ItemState.SUCCEEDED, ""),
    ]
    assert set(bench.staged()) == {"0.dcm", "5.dcm"}
    assert not [result for result in results if "PLANTED" in result.detail]


async def test_a_refusal_names_the_element(bench: Bench) -> None:
    dataset = builders.ct(builders.Identity())
    dataset.BurnedInAnnotation = "YES"
    bench.add("burned", builders.part10(dataset, ExplicitVRLittleEndian))

    [result] = await bench.run()

    assert (result.code, result.element_path) == (
        "burned-in-annotation-suspected",
        "(0028,0301)",
    )


async def test_what_the_scan_refused_is_passed_on(bench: Bench) -> None:
    fifo = SourceFile(0, "fifo", 0, "not-a-regular-file", ItemState.REFUSED)

    [result] = await bench.run(files=[fifo])

    assert (result.state, result.code) == (ItemState.REFUSED, "not-a-regular-file")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UnreadableFile(), ItemState.FAILED),
        (SourceNotAllowed(), ItemState.REFUSED),
        (Truncated(), ItemState.REFUSED),
    ],
)
async def test_a_file_that_is_not_given_ends_so(bench: Bench, error, state: ItemState) -> None:
    [data] = objects(1)
    bench.add("gone", data)
    bench.folder.faults["gone"] = [error]

    [result] = await bench.run()

    assert (result.state, result.code) == (state, error.code)


async def test_what_nobody_foresaw_is_that_files_own_failure(bench: Bench, spoken) -> None:
    for number, data in enumerate(objects(3)):
        bench.add(str(number), data)
    bench.folder.faults["1"] = [ZeroDivisionError("PLANTED")]

    results = await bench.run()

    assert [result.code for result in results] == ["", "internal-error", ""]
    assert results[1].state is ItemState.FAILED
    said = spoken.readouterr()
    assert "object-not-processed" in said.out + said.err
    assert "PLANTED" not in said.out + said.err + results[1].detail


async def test_a_moment_without_the_source_is_waited_for(bench: Bench) -> None:
    for number, data in enumerate(objects(3)):
        bench.add(str(number), data)
    bench.folder.faults["1"] = [StorageUnavailable(), StorageUnavailable()]

    results = await bench.run()

    assert {result.state for result in results} == {ItemState.SUCCEEDED}


async def test_a_source_that_stays_away_gives_the_chunk_back(bench: Bench) -> None:
    for number, data in enumerate(objects(3)):
        bench.add(str(number), data)
    bench.folder.faults["1"] = [StorageUnavailable()] * 9

    with pytest.raises(StorageUnavailable):
        await bench.run()


async def test_an_object_without_memory_for_it_gives_the_chunk_back(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    bench.folder.faults["0"] = [MemoryError()] * 9

    with pytest.raises(Unavailable):
        await bench.run()


async def test_a_database_that_is_away_gives_the_chunk_back(
    bench: Bench, house: BatchHouse
) -> None:
    [data] = objects(1)
    bench.add("0", data)
    with psycopg.connect(house.mapping.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE instances RENAME TO hidden")

    with pytest.raises(DatabaseUnavailable):
        await bench.run()

    assert bench.staged() == {}


async def test_a_full_staging_area_gives_the_chunk_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    [data] = objects(1)
    bench.add("0", data)
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(writing, "create", lambda _path: os.dup(full))

    with pytest.raises(StagingFull):
        await bench.run()

    os.close(full)


async def test_a_profile_that_changed_meanwhile_is_not_used(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)

    [result] = await bench.run(profile_version="another")

    assert (result.state, result.code) == (ItemState.FAILED, "profile-not-found")
    assert not bench.area.chunk_directory(bench.area.staging_id, 3, 2).exists()


async def test_a_source_that_may_not_be_opened_refuses_its_files(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)

    def refuse(_source, _organization):
        raise SourceNotAllowed

    processor = replace(bench.processor, sources=OpenSources(refuse))
    [result] = await processor.run(bench.claim(), is_held=lambda: True)

    assert (result.state, result.code) == (ItemState.REFUSED, "source-not-allowed")


async def test_who_lost_the_claim_begins_no_further_file(bench: Bench) -> None:
    for number, data in enumerate(objects(60)):
        bench.add(f"{number:03d}", data)
    held = iter([True] * 10)

    results = await bench.processor.run(bench.claim(), is_held=lambda: next(held, False))

    assert results is None
    assert len(bench.staged()) == 10


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


@pytest.mark.parametrize(
    ("destination", "is_direct"),
    [
        ({"kind": "staging"}, True),
        ({"kind": "url", "url": "/srv/somewhere"}, True),
        ({"kind": "url", "url": "s3://bucket/prefix"}, False),
        ({"kind": "store", "name": "gone"}, False),
    ],
)
async def test_what_will_be_read_again_stays_in_the_page_cache(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    destination: dict[str, str],
    is_direct: bool,
) -> None:
    [data] = objects(1)
    bench.add("0", data)
    asked: list[bool] = []
    write = writing.write

    def recording(*given: object, is_direct: bool) -> bytes:
        asked.append(is_direct)
        return write(*given, is_direct=is_direct)

    monkeypatch.setattr(writing, "write", recording)

    request = Request({"kind": "directory"}, destination)
    [result] = await bench.run(request=request)

    assert result.state is ItemState.SUCCEEDED
    assert asked == [is_direct]

    bench.area.is_direct = False
    await bench.run(request=request, epoch=3)
    assert asked == [is_direct, False]


async def test_a_destination_that_cannot_be_opened_now_is_no_fault_of_the_files(
    bench: Bench,
) -> None:
    """It is told when something is to be published."""
    [data] = objects(1)
    bench.add("0", data)

    def refusing(_organization: str, _destination: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    processor = replace(bench.processor, destinations=OpenDestinations(refusing))

    [result] = await processor.run(bench.claim(), is_held=lambda: True)

    assert result.state is ItemState.SUCCEEDED


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


async def test_a_file_that_grew_since_the_scan_is_treated_as_what_it_is(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    listed = [SourceFile(0, "0", 10)]
    processor = replace(bench.processor, inline_bytes=100)

    [result] = await processor.run(bench.claim(files=listed), is_held=lambda: True)

    assert result.state is ItemState.SUCCEEDED


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


async def test_swollen_objects_come_one_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 100_000)
    held, most = 0, 0
    record = bench.processor.vault.record

    async def recording(**given: object) -> None:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.005)
        await record(**given)
        held -= 1

    monkeypatch.setattr(bench.processor.vault, "record", recording)
    for number in range(6):
        dataset = builders.ct(builders.Identity())
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.Rows = dataset.Columns = 512
        dataset.PixelData = bytes(512 * 512 * 2)
        bench.add(str(number), builders.part10(dataset, DeflatedExplicitVRLittleEndian))

    results = await bench.run()

    assert {result.state for result in results} == {ItemState.SUCCEEDED}
    assert max(path.stat().st_size for path in bench.folder.path.iterdir()) < 20_000
    assert most == 1


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
    held = most = 0
    record = bench.processor.vault.record

    async def recording(**given: object) -> None:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.005)
        await record(**given)
        held -= 1

    monkeypatch.setattr(bench.processor.vault, "record", recording)
    for number in range(10):
        dataset = builders.ct(builders.Identity())
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.Rows, dataset.Columns = 100, 500
        dataset.PixelData = bytes(100 * 500 * 2)
        bench.add(str(number), builders.part10(dataset, DeflatedExplicitVRLittleEndian))

    results = await bench.run()

    assert {result.state for result in results} == {ItemState.SUCCEEDED}
    assert most == 3


async def test_swelling_counts_only_what_an_object_grew_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processing, "SWOLLEN_BYTES", 10)
    swelling = Swelling()
    large = type("Done", (), {"size": 1000})()

    assert await swelling.work(1000, lambda: large) is large
    assert await swelling.work(995, lambda: large) is large


async def test_a_source_is_opened_once_for_all_chunks_of_a_batch(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    opened = []

    def open_it(_source, _organization):
        opened.append(Folder(bench.folder.path))
        return opened[-1]

    sources = OpenSources(open_it)
    processor = replace(bench.processor, sources=sources)
    for number in range(3):
        await processor.run(bench.claim(number=number), is_held=lambda: True)
    assert [folder.is_closed for folder in opened] == [False]
    await sources.close()

    assert [folder.is_closed for folder in opened] == [True]


async def test_a_source_that_failed_is_opened_anew(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    opened = []

    def open_it(_source, _organization):
        folder = Folder(bench.folder.path)
        folder.faults["0"] = [StorageUnavailable()] * (9 if not opened else 0)
        opened.append(folder)
        return folder

    processor = replace(bench.processor, sources=OpenSources(open_it))
    with pytest.raises(StorageUnavailable):
        await processor.run(bench.claim(), is_held=lambda: True)
    [result] = await processor.run(bench.claim(), is_held=lambda: True)

    assert result.state is ItemState.SUCCEEDED
    assert [folder.is_closed for folder in opened] == [True, False]


async def test_only_so_many_sources_stay_open(bench: Bench) -> None:
    opened = []

    def open_it(_source, _organization):
        opened.append(Folder(bench.folder.path))
        return opened[-1]

    sources = OpenSources(open_it)
    for number in range(20):
        batch_id = type(bench.area.staging_id)(int=number)
        async with sources.lent(batch_id, NORTH, {}):
            pass

    assert [folder.is_closed for folder in opened].count(False) <= 8
    assert not opened[-1].is_closed
