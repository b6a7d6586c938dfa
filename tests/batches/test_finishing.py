"""The end of a batch: what goes out with its last object, and in which order."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.batches.finishing import Finisher
from app.batches.publishing import OpenDestinations, opener
from app.batches.records import FinishClaim, SourceFile, object_name
from app.batches.staging import StagingArea
from app.errors import DestinationRefused
from app.storage.stores import Stores
from app.vault.signing import Signer
from tests.batches.house import BatchHouse, new_batch, result
from tests.batches.test_publishing import Shelf

pytestmark = pytest.mark.db


class Whole(Shelf):
    """A destination that knows its addresses, and the order in which things came."""

    def url_of(self, name: str) -> str:
        return f"shelf://{name}"


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea(tmp_path / "staging")


@pytest.fixture
def shelf() -> Whole:
    return Whole()


def finisher(house: BatchHouse, area: StagingArea, shelf: Whole) -> Finisher:
    return Finisher(
        house.work,
        area,
        OpenDestinations(lambda _organization, _destination: shelf),
        Signer(house.mapping.pair.keys),
    )


async def claimed(house: BatchHouse, *, fhir: bool = False, chunks=(3, 2)) -> FinishClaim:
    request = replace(new_batch().request, fhir=fhir)
    await house.scanned(chunks, request=request)
    for _ in chunks:
        await house.process()
    for _ in chunks:
        await house.publish()
    claim = await house.work.claim_finish(house.worker, house.staging)
    assert claim is not None
    return claim


async def always() -> bool:
    return True


async def never() -> bool:
    return False


async def test_the_manifest_lists_what_was_published(house, area, shelf) -> None:
    claim = await claimed(house)

    url = await finisher(house, area, shelf).run(claim, is_held=always)

    name = f"{claim.batch.batch_id}/manifest.json"
    data, attributes, content_type, _ = shelf.objects[name]
    manifest = json.loads(data)
    assert (url, content_type) == (f"shelf://{name}", "application/json")
    assert attributes["batch_id"] == str(claim.batch.batch_id)
    assert manifest["totals"]["instances"] == 5
    assert shelf.flushed == [[name]]


async def test_the_same_batch_gives_the_same_manifest(house, area, shelf) -> None:
    claim = await claimed(house)
    again = Whole()

    await finisher(house, area, shelf).run(claim, is_held=always)
    await finisher(house, area, again).run(claim, is_held=always)

    name = f"{claim.batch.batch_id}/manifest.json"
    assert shelf.objects[name][0] == again.objects[name][0]


@pytest.mark.parametrize("fhir", [False, True], ids=["plain", "with FHIR"])
async def test_who_lost_the_batch_puts_nothing(house, area, shelf, fhir) -> None:
    claim = await claimed(house, fhir=fhir)

    assert await finisher(house, area, shelf).run(claim, is_held=never) is None

    assert shelf.objects == {}


async def test_nothing_of_it_stays_in_the_staging_area(house, area, shelf) -> None:
    claim = await claimed(house, fhir=True)

    await finisher(house, area, shelf).run(claim, is_held=always)

    assert [path for path in (area.path / ".work").rglob("*") if path.is_file()] == []


async def test_fhir_resources_come_before_the_manifest(house, area, shelf) -> None:
    claim = await claimed(house, fhir=True)

    await finisher(house, area, shelf).run(claim, is_held=always)

    batch_id = claim.batch.batch_id
    study = f"{batch_id}/7QM2X-9THV4-CBK8/imagingstudy.json"
    assert list(shelf.objects) == [study, f"{batch_id}/manifest.json"]
    resource = json.loads(shelf.objects[study][0])
    assert (resource["resourceType"], resource["numberOfInstances"]) == ("ImagingStudy", 5)


async def test_a_study_that_runs_over_pages_is_one_resource(
    house, area, shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.batches.publications.PAGE", 2)
    claim = await claimed(house, fhir=True)

    await finisher(house, area, shelf).run(claim, is_held=always)

    resources = [data for name, (data, *_) in shelf.objects.items() if "imagingstudy" in name]
    assert [json.loads(data)["numberOfInstances"] for data in resources] == [5]


async def test_the_manifest_lists_the_fhir_resource_as_it_was_put(house, area, shelf) -> None:
    claim = await claimed(house, fhir=True)

    await finisher(house, area, shelf).run(claim, is_held=always)

    resource, manifest = (data for data, *_ in shelf.objects.values())
    [study] = json.loads(manifest)["studies"]
    assert study["imaging_study"] == {
        "size": len(resource),
        "sha256": hashlib.sha256(resource).hexdigest(),
    }


async def test_the_manifest_of_a_batch_without_fhir_lists_no_resource(house, area, shelf) -> None:
    claim = await claimed(house)

    await finisher(house, area, shelf).run(claim, is_held=always)

    [(manifest, *_)] = shelf.objects.values()
    assert [study["imaging_study"] for study in json.loads(manifest)["studies"]] == [None]


def published_in(area: StagingArea, claim: FinishClaim) -> list[Path]:
    """Files of the size that the tables know, under the names that they give."""
    made = []
    for seq in range(claim.batch.total_files):
        given = result(SourceFile(seq, "", 1000))
        name = object_name(given.cloud_study_id, given.series_uid, given.sop_instance_uid)
        path = area.batch_directory(claim.batch.batch_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(given.size))
        made.append(path)
    return made


def in_staging(
    house: BatchHouse, area: StagingArea, claim: FinishClaim
) -> tuple[Finisher, FinishClaim]:
    destinations = OpenDestinations(opener(Stores({}), area.path))
    made = Finisher(house.work, area, destinations, Signer(house.mapping.pair.keys))
    request = replace(claim.request, destination={"kind": "staging"})
    return made, replace(claim, request=request)


async def test_a_directory_gets_the_manifest_as_a_file(house, area) -> None:
    made, claim = in_staging(house, area, await claimed(house))
    published_in(area, claim)

    url = await made.run(claim, is_held=always)

    path = area.batch_directory(claim.batch.batch_id) / "manifest.json"
    assert url == str(path)
    assert json.loads(path.read_bytes())["batch_id"] == str(claim.batch.batch_id)


async def test_a_fhir_resource_that_is_another_one_is_replaced(house, area) -> None:
    made, claim = in_staging(house, area, await claimed(house, fhir=True))
    published_in(area, claim)
    directory = area.batch_directory(claim.batch.batch_id)
    await made.run(claim, is_held=always)
    [path] = directory.rglob("imagingstudy.json")
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes(len(whole)))

    await made.run(claim, is_held=always)

    assert path.read_bytes() == whole


def shortened(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("fhir", [False, True], ids=["plain", "with FHIR"])
@pytest.mark.parametrize("harm", [Path.unlink, shortened], ids=["gone", "cut"])
async def test_there_is_no_manifest_when_what_was_published_went_away(
    house, area, harm, fhir
) -> None:
    made, claim = in_staging(house, area, await claimed(house, fhir=fhir))
    harm(published_in(area, claim)[3])

    with pytest.raises(DestinationRefused):
        await made.run(claim, is_held=always)

    assert not (area.batch_directory(claim.batch.batch_id) / "manifest.json").exists()


async def test_what_an_earlier_manifest_listed_may_have_been_fetched(house, area) -> None:
    made, claim = in_staging(house, area, await claimed(house))
    claim = replace(claim, batch=replace(claim.batch, revision=1))

    url = await made.run(claim, is_held=always)

    assert url is not None
