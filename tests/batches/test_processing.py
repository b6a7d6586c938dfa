"""A chunk through the pipeline: every file ends in a result, whatever it is."""

import errno
import hashlib
import os
from dataclasses import replace

import psycopg
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from app import pipeline
from app.batches import writing
from app.batches.opening import OpenSources
from app.batches.publishing import OpenDestinations
from app.batches.records import Request, SourceFile
from app.batches.states import ItemState
from app.dicom.source import MemorySource
from app.errors import (
    DatabaseUnavailable,
    SourceNotAllowed,
    StagingFull,
    StorageUnavailable,
    Truncated,
    Unavailable,
    UnreadableFile,
)
from tests import builders
from tests.batches.bench import Bench
from tests.batches.house import BatchHouse
from tests.batches.station import objects
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


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


async def test_what_nobody_foresaw_is_that_files_own_failure(
    bench: Bench, house: BatchHouse, spoken
) -> None:
    for number, data in enumerate(objects(3)):
        bench.add(str(number), data)
    bench.folder.faults["1"] = [ZeroDivisionError("PLANTED")]

    results = await bench.run()

    assert [result.code for result in results] == ["", "internal-error", ""]
    assert results[1].state is ItemState.FAILED
    said = spoken.readouterr()
    assert "object-not-processed" in said.out + said.err
    assert "PLANTED" not in said.out + said.err + results[1].detail
    outcomes = house.mapping.query("SELECT outcome FROM audit_events ORDER BY outcome")
    assert [row["outcome"] for row in outcomes] == ["internal-error", "success", "success"]


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


async def test_a_file_that_grew_since_the_scan_is_treated_as_what_it_is(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    listed = [SourceFile(0, "0", 10)]
    processor = replace(bench.processor, inline_bytes=100)

    [result] = await processor.run(bench.claim(files=listed), is_held=lambda: True)

    assert result.state is ItemState.SUCCEEDED
