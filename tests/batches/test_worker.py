"""A worker process from the ticket to the manifest."""

import json
import os
import zipfile
from pathlib import Path

import psycopg
import pytest

from app import telemetry
from app.batches.records import Request
from app.batches.states import BatchState, OnError, Priority
from app.deid.profile import BUILT_IN
from tests.batches import station as stations
from tests.batches.house import event, new_batch
from tests.batches.station import Station, below, fill, root
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


# From one end to the other


async def test_a_directory_becomes_a_published_study_with_a_manifest(station: Station) -> None:
    fill(root(station), 100)

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    published = station.published(batch)
    manifest = json.loads(published.pop("manifest.json"))
    assert ended.state is BatchState.SUCCEEDED
    assert (ended.succeeded_files, ended.published_files, len(published)) == (100, 100, 100)
    assert manifest["totals"]["instances"] == 100
    assert station.left_in_work() == []


async def test_nothing_is_published_of_a_batch_that_is_held(station: Station) -> None:
    fill(root(station), 40)
    next(root(station).rglob("IM00007")).write_bytes(next(stations.objects(1))[:-40])

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.problems) == (BatchState.HELD, {"truncated": 1})
    assert station.published(batch) == {}


async def test_what_succeeded_is_published_where_the_rest_is_skipped(station: Station) -> None:
    fill(root(station), 40)
    next(root(station).rglob("IM00007")).write_bytes(next(stations.objects(1))[:-40])
    (root(station) / "letter.txt").write_text("Dear colleague")

    batch = await station.submit(on_error=OnError.SKIP)
    async with station.working():
        ended = await station.ended(batch)

    assert ended.state is BatchState.PARTIAL
    assert ended.problems == {"truncated": 1, "not-dicom": 1}
    assert len(station.published(batch)) == 39 + 1


async def test_a_held_batch_that_is_mended_is_published_whole(station: Station) -> None:
    fill(root(station), 40)
    broken = next(root(station).rglob("IM00007"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-40])
    batch = await station.submit()

    async with station.working():
        await station.ended(batch)
        broken.write_bytes(whole)
        await station.service.retry(NORTH, batch.batch_id, event())
        ended = await station.ended(batch)

    assert ended.state is BatchState.SUCCEEDED
    assert len(station.published(batch)) == 41


async def test_the_same_object_twice_is_published_once(station: Station) -> None:
    fill(root(station), 3)
    (root(station) / "again").write_bytes(next(stations.objects(1)))

    batch = await station.submit()
    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.duplicate_files) == (BatchState.SUCCEEDED, 1)
    assert len(station.published(batch)) == 4


async def test_nothing_stays_staged_of_a_chunk_of_doubles_alone(station: Station) -> None:
    fill(root(station), 3)
    (root(station) / "again").write_bytes(next(stations.objects(1)))
    (root(station) / "broken").write_bytes(next(stations.objects(1))[:-40])

    batch = await station.submit(on_error=OnError.SKIP)
    async with station.working(chunk_files=1):
        ended = await station.ended(batch)
        await station.until_so(lambda: not station.left_in_work())

    assert (ended.state, ended.duplicate_files) == (BatchState.PARTIAL, 1)


async def test_doubles_are_counted_as_doubles(station: Station) -> None:
    fill(root(station), 3)
    (root(station) / "again").write_bytes(next(stations.objects(1)))
    metrics = telemetry.BatchMetrics()

    batch = await station.submit()
    async with station.working(metrics=metrics):
        await station.ended(batch)

    counted = {
        sample.labels["state"]: sample.value
        for family in metrics.files.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"succeeded": 3, "duplicate": 1}


async def test_a_source_that_is_not_there_fails_the_batch(station: Station) -> None:
    batch = await station.submit("gone")

    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "source-not-allowed")


async def test_a_source_without_an_object_fails_the_batch(station: Station) -> None:
    (root(station) / "letter.txt").write_text("Dear colleague")
    batch = await station.submit()

    async with station.working():
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "nothing-to-publish")


async def test_a_batch_larger_than_the_staging_area_fails(station: Station) -> None:
    fill(root(station), 10)
    batch = await station.submit()

    async with station.working(staging_max_bytes=5000):
        ended = await station.ended(batch)

    assert (ended.state, ended.code) == (BatchState.FAILED, "staging-too-small")


async def test_fhir_resources_are_made_where_they_are_asked_for(station: Station) -> None:
    fill(root(station), 3)
    batch = await station.submit(fhir=True)

    async with station.working():
        await station.ended(batch)

    names = [Path(name).name for name in station.published(batch)]
    assert names.count("imagingstudy.json") == 1


async def test_what_is_left_of_a_cancelled_batch_is_removed(station: Station) -> None:
    fill(root(station), 200)
    batch = await station.submit(on_error=OnError.SKIP)
    async with station.working(chunk_files=16):
        await station.until(lambda found: found.published_files > 0, batch)
        await station.service.cancel(NORTH, batch.batch_id, event())
    published = station.published(batch)

    # Who lost its claim may put one more object: so this waits half a minute otherwise.
    with psycopg.connect(station.order.url, autocommit=True) as hand:
        hand.execute("UPDATE batch_leftovers SET due_at = now()")
    async with station.working():
        directory = station.area.batch_directory(batch.batch_id)
        await station.until_so(lambda: not (below(directory) or station.left_in_work()))

    assert published
    assert (await station.service.get(NORTH, batch.batch_id)).state is BatchState.CANCELLED


# Whose turn it is


async def test_an_urgent_batch_overtakes_one_that_began_before(station: Station) -> None:
    fill(root(station) / "large", 600)
    fill(root(station) / "small", 10, first=5000)
    slow = await station.submit("large")

    async with station.working(chunk_files=16):
        await station.until(lambda found: found.succeeded_files > 0, slow)
        fast = await station.submit("small", priority=Priority.STAT)
        await station.ended(fast)
        behind = await station.service.get(NORTH, slow.batch_id)

    assert behind.state is BatchState.PROCESSING


# What nobody needs any more


async def test_an_archive_whose_batch_was_never_made_is_removed_after_a_day(
    station: Station,
) -> None:
    forgotten, fresh, needed = (station.area.uploads / (digit * 32) for digit in "abc")
    for upload in (forgotten, fresh, needed):
        upload.write_bytes(b"PK")
    for upload in (forgotten, needed):
        os.utime(upload, (0, 0))
    request = Request({"kind": "archive", "name": needed.name}, {"kind": "staging"})
    await station.service.submit(new_batch(request=request, home=station.area.staging_id))

    async with station.working():
        await station.until_so(lambda: not forgotten.exists())

    assert fresh.exists()
    assert needed.exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"PK\x03\x04 and then nothing", "invalid-archive"), (None, "nothing-to-publish")],
    ids=["damaged", "without an object"],
)
async def test_an_archive_that_no_retry_could_make_more_of_is_removed_soon(
    station: Station, content: bytes | None, code: str
) -> None:
    upload = station.area.uploads / ("c" * 32)
    if content is None:
        with zipfile.ZipFile(upload, "w") as archive:
            archive.writestr("letter.txt", "Dear colleague")
    else:
        upload.write_bytes(content)
    request = Request({"kind": "archive", "name": upload.name}, {"kind": "staging"})
    profile_version = BUILT_IN["basic"].version
    batch, _ = await station.service.submit(
        new_batch(request=request, home=station.area.staging_id, profile_version=profile_version)
    )

    async with station.working():
        ended = await station.ended(batch)
        with psycopg.connect(station.order.url, autocommit=True) as hand:
            hand.execute("UPDATE batch_leftovers SET due_at = now()")
        await station.until_so(lambda: not upload.exists())

    assert (ended.state, ended.code) == (BatchState.FAILED, code)


async def test_an_archive_that_came_again_outlives_the_batch_that_was_deleted(
    station: Station,
) -> None:
    upload = station.area.uploads / ("c" * 32)  # under one key it has one name
    with zipfile.ZipFile(upload, "w") as archive:
        archive.writestr("broken", next(stations.objects(1))[:-40])
    request = Request({"kind": "archive", "name": upload.name}, {"kind": "staging"})
    asked = new_batch(
        request=request,
        home=station.area.staging_id,
        profile_version=BUILT_IN["basic"].version,
        idempotency_key="nightly-17",
    )
    first, _ = await station.service.submit(asked)

    async with station.working():
        await station.ended(first)
        await station.service.delete(NORTH, first.batch_id, event())
        second, _ = await station.service.submit(asked)
        await station.ended(second)
        with psycopg.connect(station.order.url, autocommit=True) as hand:
            hand.execute("UPDATE batch_leftovers SET due_at = now()")
            await station.until_so(
                lambda: not hand.execute("SELECT id FROM batch_leftovers").fetchall()
            )

    assert second.batch_id != first.batch_id
    assert upload.exists()
