"""A batch in an object store is checked as one on a disk is: here on a real S3 server."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.batches import shelves
from app.batches.manifest import MANIFEST_NAME
from app.batches.shelves import Fault, Finding, StoreShelf
from app.batches.verifying import SignatureState, Verification, verify
from app.errors import DestinationRefused, StorageUnavailable
from app.storage.destinations import open_destination
from tests.batches.published import (
    BATCH,
    SIGNER,
    STUDIES,
    entries,
    entry,
    name_of,
    publish,
    resource_name,
    written,
)
from tests.storage.places import PREFIX, QUICK, S3Place
from tests.storage.servers import s3_server

FIRST = name_of(entry(1))
SIZE = sum(one.size for one in entries())


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def s3(s3_url: str, tmp_path: Path) -> S3Place:
    """A bucket with a published batch, and beside it another one."""
    place = S3Place(s3_url)
    publish(tmp_path / "batch", fhir=True)
    for path in (tmp_path / "batch").rglob("*"):
        if path.is_file():
            name = str(path.relative_to(tmp_path / "batch"))
            place.tamper(f"{BATCH}/{name}", path.read_bytes())
            place.tamper(f"{BATCH}-2/{name}", path.read_bytes())
    return place


def checked(place: S3Place, **given: Any) -> Verification:
    async def run() -> Verification:
        url = f"s3://{place.bucket}/{PREFIX}/{BATCH}"
        destination = open_destination(place.config(**{"url": url, **given}), QUICK)
        try:
            shelf = StoreShelf(destination, str(BATCH))
            return await verify(shelf, SIGNER.public_keys(), jobs=3)
        finally:
            await destination.close()

    return asyncio.run(run())


def test_a_batch_as_it_was_published_is_complete_and_authentic(s3: S3Place) -> None:
    outcome = checked(s3)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID
    assert (outcome.checked_files, outcome.checked_bytes, outcome.unknown) == (5, SIZE, 0)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda content: content[:-1], Fault.WRONG_SIZE),
        (lambda content: content + b"\0", Fault.WRONG_SIZE),
        (lambda content: content[:0], Fault.WRONG_SIZE),
        (lambda content: content[:-1] + b"\0", Fault.WRONG_HASH),
    ],
    ids=["shorter", "longer", "empty", "other"],
)
def test_an_object_that_is_not_as_listed_is_found(
    s3: S3Place, change: Callable[[bytes], bytes], fault: Fault
) -> None:
    s3.tamper(f"{BATCH}/{FIRST}", change(s3.content(f"{BATCH}/{FIRST}")))

    assert checked(s3).findings == [Finding(fault, FIRST)]


def test_an_object_that_is_gone_is_found(s3: S3Place) -> None:
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{PREFIX}/{BATCH}/{FIRST}")

    assert checked(s3).findings == [Finding(Fault.MISSING, FIRST)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("extra.dcm", b""),
        ("IM0001", bytes(128) + b"DICM"),
        ("with space.dcm", b""),
        (".hidden.dcm", b""),
    ],
)
def test_a_dicom_object_that_is_not_listed_is_found(s3: S3Place, name: str, content: bytes) -> None:
    s3.tamper(f"{BATCH}/{name}", content)

    assert checked(s3).findings == [Finding(Fault.UNEXPECTED, name)]


def test_a_fhir_resource_that_is_not_as_listed_is_found(s3: S3Place) -> None:
    name = resource_name(STUDIES[0])
    s3.tamper(f"{BATCH}/{name}", s3.content(f"{BATCH}/{name}")[:-1] + b"]")

    assert checked(s3).findings == [Finding(Fault.WRONG_HASH, name)]


def test_a_fhir_resource_that_is_not_listed_is_found(s3: S3Place) -> None:
    s3.tamper(f"{BATCH}/{resource_name('other')}", b"{}")

    assert checked(s3).findings == [Finding(Fault.UNEXPECTED, resource_name("other"))]


def test_an_object_that_is_no_dicom_is_counted_and_no_obstacle(s3: S3Place) -> None:
    s3.tamper(f"{BATCH}/readme.txt", b"x" * 1000)

    outcome = checked(s3)

    assert outcome.is_complete
    assert outcome.unknown == 1


def test_a_name_that_cannot_be_looked_into_may_be_dicom(s3: S3Place) -> None:
    s3.tamper(f"{BATCH}/what is this", b"")

    assert checked(s3).faults == {Fault.UNEXPECTED: 1}


def test_a_prefix_without_a_manifest_is_not_complete(s3: S3Place) -> None:
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{PREFIX}/{BATCH}/{MANIFEST_NAME}")

    assert checked(s3).problem == "there is no manifest.json"


def test_a_manifest_of_several_pieces_is_read(s3: S3Place) -> None:
    padded = written(entries(), fhir=True).replace(b"]", b"]" + b" " * 900_000, 7)
    assert len(padded) > 6_000_000
    s3.tamper(f"{BATCH}/{MANIFEST_NAME}", padded)

    assert checked(s3, part_bytes=5 << 20).is_complete


def test_a_bucket_that_is_not_there_is_no_outcome(s3: S3Place) -> None:
    with pytest.raises(DestinationRefused):
        checked(s3, url=f"s3://{s3.bucket}-2/{BATCH}")


def test_a_server_that_does_not_answer_is_no_outcome(s3: S3Place) -> None:
    with pytest.raises(StorageUnavailable):
        checked(s3, endpoint="http://127.0.0.1:1")


def test_a_manifest_for_which_there_is_no_room_is_no_outcome(
    s3: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shelves, "TemporaryFile", fail)

    with pytest.raises(StorageUnavailable):
        checked(s3)
