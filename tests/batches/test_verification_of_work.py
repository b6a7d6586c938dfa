"""What a worker publishes, a receiver can prove: from real files to the checked manifest."""

import json
from pathlib import Path

import jsonschema
import pytest
from fhir.resources.R4B.imagingstudy import ImagingStudy

from app.batches.imaging_study import IMAGING_STUDY_NAME
from app.batches.manifest import MANIFEST_NAME
from app.batches.manifest_schema import SCHEMA
from app.batches.shelves import DirectoryShelf
from app.batches.states import OnError
from app.batches.verifying import verify
from app.vault.keys import load_keys
from app.vault.signing import Signer
from tests.batches import station as stations
from tests.batches.house import event
from tests.batches.station import below, fill
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


async def test_a_batch_that_a_worker_published_is_complete_and_authentic(
    database_url: str, tmp_path: Path
) -> None:
    async with stations.opened(database_url, tmp_path) as station:
        fill(Path(station.order.root), 20)
        batch = await station.submit(fhir=True)
        async with station.working():
            await station.ended(batch)
        directory = station.area.batch_directory(batch.batch_id)
        keys = Signer(load_keys(Path(station.order.keys))).public_keys()

    with DirectoryShelf(directory) as shelf:
        outcome = await verify(shelf, keys, jobs=2)

    manifest = json.loads((directory / MANIFEST_NAME).read_bytes())
    assert outcome.is_complete
    assert outcome.is_authentic
    assert (outcome.checked_files, outcome.unknown) == (20, 0)
    jsonschema.validate(manifest, SCHEMA)
    assert all(study["imaging_study"] for study in manifest["studies"])
    [resource] = directory.rglob(IMAGING_STUDY_NAME)
    assert ImagingStudy.model_validate_json(resource.read_bytes()).numberOfInstances == 20


async def test_a_batch_that_a_retry_made_more_of_is_complete_and_authentic(
    database_url: str, tmp_path: Path
) -> None:
    async with stations.opened(database_url, tmp_path) as station:
        fill(Path(station.order.root), 20)
        broken = next(path for path in below(Path(station.order.root)) if path.name == "IM00007")
        whole = broken.read_bytes()
        broken.write_bytes(whole[:-40])
        batch = await station.submit(fhir=True, on_error=OnError.SKIP)
        directory = station.area.batch_directory(batch.batch_id)
        keys = Signer(load_keys(Path(station.order.keys))).public_keys()
        async with station.working():
            await station.ended(batch)
            [resource] = directory.rglob(IMAGING_STUDY_NAME)
            first = resource.read_bytes()
            broken.write_bytes(whole)
            await station.service.retry(NORTH, batch.batch_id, event())
            await station.ended(batch)

    with DirectoryShelf(directory) as shelf:
        outcome = await verify(shelf, keys, jobs=2)

    assert outcome.is_complete
    assert outcome.is_authentic
    assert outcome.summary.content["revision"] == 2
    assert [
        ImagingStudy.model_validate_json(text).numberOfInstances
        for text in (first, resource.read_bytes())
    ] == [19, 20]
