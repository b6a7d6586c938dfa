"""The end of a batch: its manifest, put last, so that its presence means completeness.

Before it go the FHIR resources, where they were asked for. What a manifest says is decided in
``manifest``. Memory is bounded by a page, or by the largest study where FHIR is asked for.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final
from uuid import UUID

from app import telemetry
from app.batches.imaging_study import CONTENT_TYPE as FHIR_TYPE
from app.batches.imaging_study import IMAGING_STUDY_NAME, imaging_study
from app.batches.manifest import MANIFEST_NAME, ManifestHeader, ManifestWriter, header_of
from app.batches.publishing import OpenDestinations, attributes_of
from app.batches.records import FinishClaim, ManifestEntry, object_name
from app.batches.staging import StagingArea
from app.batches.work import BatchWork
from app.errors import ObjectsGone, StorageUnavailable
from app.storage.destinations import Destination
from app.storage.staging_faults import storage_error
from app.vault.signing import Signer

MANIFEST_TYPE: Final = "application/json"
# Beside the chunks' directories of the batch.
_DIRECTORY: Final = "manifest"


@dataclass(frozen=True, slots=True)
class Finisher:
    """What a worker process ends batches with."""

    work: BatchWork
    staging: StagingArea
    destinations: OpenDestinations
    signer: Signer

    async def run(
        self, claim: FinishClaim, *, is_held: Callable[[], Awaitable[bool]]
    ) -> str | None:
        """Publish the manifest and what goes with it.

        Args:
            claim: the batch.
            is_held: asked before each file is put.

        Returns:
            Where the manifest lies, for people; None where the claim is lost.

        Raises:
            Unavailable: a part does not answer; to be tried again.
            GatewayError: the destination does not take it.
        """
        batch = claim.batch
        place = (batch.batch_id, _DIRECTORY, claim.epoch)
        directory = await asyncio.to_thread(self.staging.make_chunk, *place)
        try:
            async with self.destinations.lent(
                batch.organization, claim.request.destination
            ) as opened:
                shipment = _Shipment(opened, claim, header_of(batch), directory, is_held)
                manifest = await self._write(claim, shipment)
                await shipment.put(MANIFEST_NAME, manifest, MANIFEST_TYPE)
                return opened.url_of(f"{batch.batch_id}/{MANIFEST_NAME}")
        except _ClaimLost:
            return None
        finally:
            await asyncio.to_thread(self._remove, *place)

    async def _write(self, claim: FinishClaim, shipment: "_Shipment") -> Path:
        """Write the manifest to a private file; put the studies' resources on the way."""
        path = shipment.directory / MANIFEST_NAME
        try:
            with (
                path.open("xb") as file,
                ManifestWriter(
                    file, shipment.header, self.signer, spool=shipment.directory
                ) as writer,
            ):
                async with aclosing(self.work.entries(claim)) as entries:
                    await self._list(claim, shipment.still_there(entries), shipment, writer)
                await asyncio.to_thread(writer.finish)
        except OSError as error:
            raise storage_error(error) from None
        return path

    async def _list(
        self,
        claim: FinishClaim,
        pages: AsyncGenerator[Sequence[ManifestEntry], None],
        shipment: "_Shipment",
        writer: ManifestWriter,
    ) -> None:
        """List the objects; whatever happens, no page stays open."""
        async with aclosing(pages):
            if not claim.request.fhir:
                async for page in pages:
                    await asyncio.to_thread(writer.add, page)
                return
            async with aclosing(_studies(pages)) as studies:
                async for study in studies:
                    await asyncio.to_thread(writer.add, study)
                    size, sha256 = await shipment.put_study(study)
                    writer.attach(size=size, sha256=sha256)

    def _remove(self, batch_id: UUID, name: str, epoch: int) -> None:
        try:
            self.staging.remove_chunk(batch_id, name, epoch)
        except StorageUnavailable as error:  # it is tidied up with the batch
            telemetry.log().warning("staged-not-removed", code=error.code)


class _ClaimLost(Exception):
    """Somebody else ends the batch."""


@dataclass(frozen=True, slots=True)
class _Shipment:
    """What goes to the destination beside the objects."""

    destination: Destination
    claim: FinishClaim
    header: ManifestHeader
    directory: Path
    is_held: Callable[[], Awaitable[bool]]

    async def still_there(
        self, pages: AsyncIterator[Sequence[ManifestEntry]]
    ) -> AsyncGenerator[Sequence[ManifestEntry], None]:
        """Pass on what is to be listed; what went away before it was listed ends the batch.

        What an earlier manifest listed may have been fetched and removed since.

        Raises:
            ObjectsGone: published objects are gone.
        """
        batch = self.claim.batch
        async for page in pages:
            objects = [(f"{batch.batch_id}/{_name_of(entry)}", entry.size) for entry in page]
            if not batch.revision and await self.destination.count_gone(objects):
                raise ObjectsGone
            yield page

    async def put(self, name: str, path: Path, content_type: str) -> tuple[int, bytes]:
        """Put one file below the batch, durably, and return its size and SHA-256.

        Raises:
            _ClaimLost: a later revision may be there, which this file is no part of.
        """
        batch = self.claim.batch
        full_name = f"{batch.batch_id}/{name}"
        size, sha256 = await asyncio.to_thread(_measured, path)
        if not await self.is_held():
            raise _ClaimLost
        await self.destination.put(
            full_name,
            path,
            size=size,
            sha256=sha256,
            attributes=attributes_of(batch.batch_id, batch.priority),
            content_type=content_type,
            is_resumed=True,
        )
        await self.destination.flush([full_name])
        return size, sha256

    async def put_study(self, study: Sequence[ManifestEntry]) -> tuple[int, bytes]:
        """Put the FHIR resource of one study, and return its size and SHA-256."""
        cloud_study_id = study[0].cloud_study_id
        path = self.directory / f"{cloud_study_id}.json"
        await asyncio.to_thread(lambda: path.write_bytes(imaging_study(self.header, study)))
        measured = await self.put(f"{cloud_study_id}/{IMAGING_STUDY_NAME}", path, FHIR_TYPE)
        await asyncio.to_thread(path.unlink)
        return measured


async def _studies(
    pages: AsyncIterator[Sequence[ManifestEntry]],
) -> AsyncGenerator[Sequence[ManifestEntry], None]:
    """Put the objects of each study together; they come in order."""
    study: list[ManifestEntry] = []
    async for page in pages:
        for cloud_study_id, entries in groupby(page, key=attrgetter("cloud_study_id")):
            if study and study[0].cloud_study_id != cloud_study_id:
                yield study
                study = []
            study.extend(entries)
    if study:
        yield study


def _name_of(entry: ManifestEntry) -> str:
    return object_name(entry.cloud_study_id, entry.series_uid, entry.sop_instance_uid)


def _measured(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            return path.stat().st_size, hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise storage_error(error) from None
