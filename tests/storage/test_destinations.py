"""What every destination promises, directory or object store."""

import asyncio
import hashlib

import pytest

from app import errors
from app.storage.destinations import StagedFileDamaged, open_destination
from app.storage.disk import DiskDestination
from app.storage.objects import ObjectDestination
from tests.storage.fault_proxy import FaultProxy
from tests.storage.places import PART, names_of, publish

NAME = "0b7e/CS-ABC/2.25.1/2.25.2.dcm"
SIZES = [0, 1000, PART, 2 * PART + 17]


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_arrives_as_it_was_staged(place, stage, size):
    staged = stage(size)
    destination = place.destination()

    await publish(destination, NAME, staged)

    assert place.content(NAME) == staged.data
    assert place.everything() == [NAME]
    assert await destination.read(NAME) == staged.data
    await destination.close()


async def test_an_object_is_read_in_pieces(place, stage):
    staged = stage(2 * PART + 17)
    destination = place.destination()
    await publish(destination, NAME, staged)

    pieces = [piece async for piece in destination.stream(NAME)]

    assert len(pieces) > 1
    assert b"".join(pieces) == staged.data
    await destination.close()


async def test_an_object_that_was_published_before_is_replaced(place, stage):
    destination = place.destination()
    await publish(destination, NAME, stage(1000))
    other = stage(b"another object")

    await publish(destination, NAME, other)

    assert place.content(NAME) == other.data
    assert place.everything() == [NAME]
    await destination.close()


async def test_resuming_repairs_what_is_not_the_same(place, stage):
    destination = place.destination()
    await publish(destination, NAME, stage(b"x" * 1000))
    staged = stage(b"y" * 1000)

    await publish(destination, NAME, staged, is_resumed=True)

    assert place.content(NAME) == staged.data
    await destination.close()


async def test_resuming_publishes_what_is_not_there(place, stage):
    destination = place.destination()
    staged = stage(1000)

    await publish(destination, NAME, staged, is_resumed=True)

    assert place.content(NAME) == staged.data
    await destination.close()


@pytest.mark.parametrize("size", [1000, 2 * PART + 17])
async def test_a_staged_file_that_was_cut_off_is_not_published(place, stage, size):
    staged = stage(size)
    destination = place.destination()
    staged.path.write_bytes(staged.data[:-1])

    with pytest.raises(StagedFileDamaged):
        await destination.put(NAME, staged.path, **staged.arguments())

    assert await names_of(destination) == {}
    await destination.close()


@pytest.mark.parametrize("size", [1000, 2 * PART + 17])
async def test_a_staged_file_with_another_byte_is_not_uploaded(store, stage, size):
    staged = stage(size)
    destination = store.destination()
    staged.path.write_bytes(staged.data[:-1] + bytes([staged.data[-1] ^ 1]))

    with pytest.raises(StagedFileDamaged):
        await destination.put(NAME, staged.path, **staged.arguments())

    assert store.everything() == []


async def test_a_staged_file_that_is_gone_is_told_apart_from_other_trouble(place, stage):
    staged = stage(1000)
    staged.path.unlink()
    destination = place.destination()

    with pytest.raises(StagedFileDamaged):
        await destination.put(NAME, staged.path, **staged.arguments())

    assert issubclass(StagedFileDamaged, errors.StorageUnavailable)
    await destination.close()


async def test_a_link_in_the_place_of_a_staged_file_is_not_followed(place, stage, tmp_path):
    staged = stage(1000)
    secret = tmp_path / "secret"
    staged.path.rename(secret)
    staged.path.symlink_to(secret)
    destination = place.destination()

    with pytest.raises(StagedFileDamaged):
        await destination.put(NAME, staged.path, **staged.arguments())

    await destination.close()


async def test_names_and_removal_end_at_whole_parts_of_a_name(place, stage):
    destination = place.destination()
    names = ["b1/s/1.dcm", "b1/s/2.dcm", "b1/manifest.json", "b10/s/1.dcm", "b1.json"]
    for name in names:
        await destination.put(name, stage(10).path, **stage(10).arguments())
    await destination.flush(names)

    listed = await names_of(destination, "b1")
    removed = await destination.remove("b1")

    assert listed == {"b1/s/1.dcm": 10, "b1/s/2.dcm": 10, "b1/manifest.json": 10}
    assert removed == 3
    assert sorted(place.everything()) == ["b1.json", "b10/s/1.dcm"]
    await destination.close()


async def test_many_objects_are_listed_and_removed(place, stage):
    destination = place.destination()
    names = [f"b/s/{number}.dcm" for number in range(23)]
    staged = stage(10)
    await asyncio.gather(
        *(destination.put(name, staged.path, **staged.arguments()) for name in names)
    )
    await destination.flush(names)

    assert await names_of(destination, "b/s") == dict.fromkeys(names, 10)
    assert await destination.remove("b") == 23
    assert place.everything() == []
    await destination.close()


async def test_nothing_is_listed_or_removed_where_nothing_is(place):
    destination = place.destination()

    assert await names_of(destination, "b1") == {}
    assert await destination.remove("b1") == 0
    await destination.close()


async def test_an_absent_object_cannot_be_read(place):
    destination = place.destination()

    with pytest.raises(errors.UnreadableFile):
        await destination.read(NAME)

    await destination.close()


BAD_NAMES = ["", "/a", "a//b", "a/", "../a", "a/../b", "./a", ".work/a", "a/.part", "a\0b", "a b"]
BAD_NAMES += ["a\\b", "a?b", "a%2fb", "ä", "x" * 901]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_is_no_pseudonym_is_refused(name, tmp_path, stage):
    staged = stage(10)
    destination = DiskDestination(tmp_path / "published")

    with pytest.raises(errors.DestinationRefused):
        await destination.put(name, staged.path, **staged.arguments())

    assert not (tmp_path / "published").exists()
    await destination.close()


async def test_the_url_of_an_object_holds_no_credentials(place):
    destination = place.destination()

    url = destination.url_of(NAME)

    assert url.endswith(f"/{NAME}")
    assert "@" not in url
    assert "?" not in url
    await destination.close()


async def test_attributes_become_metadata(store, stage):
    staged = stage(1000)
    destination = store.destination()

    await publish(destination, NAME, staged)

    found = store.metadata(NAME)
    assert found["content-type"] == "application/dicom"
    assert found["batch_id"] == "B-1"
    assert found["priority"] == "STAT"
    assert found["sha256"] == hashlib.sha256(staged.data).hexdigest()
    assert found["uploaded_at"].endswith("Z")


async def test_attributes_become_metadata_of_an_object_in_parts(store, stage):
    staged = stage(2 * PART + 17)
    destination = store.destination()

    await publish(destination, NAME, staged)

    assert store.metadata(NAME)["sha256"] == hashlib.sha256(staged.data).hexdigest()
    assert store.metadata(NAME)["content-type"] == "application/dicom"


async def test_a_missing_bucket_is_refused_for_good(store, stage):
    fields = {"url": store.fields["url"].replace("-", "-x", 1)}
    destination = store.destination(**fields)
    staged = stage(10)

    with pytest.raises(errors.DestinationRefused) as refused:
        await destination.put(NAME, staged.path, **staged.arguments(is_resumed=True))

    assert "does not exist" in refused.value.detail
    assert "http" not in refused.value.detail


async def test_reading_from_a_missing_bucket_is_not_told_as_a_missing_object(store):
    destination = store.destination(url=store.fields["url"].replace("-", "-x", 1))

    with pytest.raises(errors.DestinationRefused):
        await destination.read(NAME)
    with pytest.raises(errors.DestinationRefused):
        await names_of(destination, "b1")


async def test_an_upload_that_is_cancelled_leaves_nothing(store, stage):
    staged = stage(7 * PART)
    with FaultProxy(store.url) as proxy:
        proxy.spoil = lambda request: "hold" if request.method == "PUT" else None
        destination = store.destination(endpoint=proxy.url)
        sending = asyncio.create_task(destination.put(NAME, staged.path, **staged.arguments()))
        await asyncio.to_thread(proxy.stalled.wait, 30)

        sending.cancel()
        await asyncio.sleep(0.01)
        proxy.released.set()

        with pytest.raises(asyncio.CancelledError):
            await sending
    assert store.everything() == []


async def test_a_url_and_a_path_can_be_opened_without_configuration(tmp_path):
    assert open_destination("s3://bucket/prefix").url_of("a") == "s3://bucket/prefix/a"
    assert isinstance(open_destination("gs://bucket"), ObjectDestination)
    assert open_destination(str(tmp_path)).url_of("a") == f"{tmp_path}/a"
    assert open_destination(f"file://{tmp_path}").url_of("a") == f"{tmp_path}/a"


@pytest.mark.parametrize("url", ["", "ftp://host/a", "s3://key:secret@bucket/a", "s3://b/a?x=1"])
def test_a_url_that_means_no_store_is_refused_without_being_repeated(url):
    with pytest.raises(errors.InvalidRequest) as refused:
        open_destination(url)

    assert "secret" not in str(refused.value)
