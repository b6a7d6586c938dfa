"""Batches on a database of their own: a service, workers' work, and made-up files."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from app.audit.events import AuditEvent
from app.batches.records import (
    Batch,
    ChunkClaim,
    ItemResult,
    NewBatch,
    Request,
    SourceFile,
)
from app.batches.repository import BatchRepository
from app.batches.sealing import BatchBox
from app.batches.service import BatchService
from app.batches.states import ItemState, OnError, Priority
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.vault.workbox import WorkBox
from tests.mapping_house import NORTH, KeyPair, MappingHouse
from tests.mapping_house import opened as opened_mapping

LOST_AFTER_S = 5.0
SECRET = "WORD^PLANTED"


@dataclass
class BatchHouse:
    """One gateway's batches, and one staging area's worker."""

    mapping: MappingHouse
    service: BatchService
    work: BatchWork
    upkeep: Upkeep
    staging: UUID
    worker: UUID

    async def submit(self, **given: object) -> Batch:
        batch, _ = await self.service.submit(new_batch(**given))
        return batch

    async def scanned(self, chunks: Sequence[int] = (2,), **given: object) -> Batch:
        """A batch whose source is listed, with so many files in each chunk."""
        batch = await self.submit(**given)
        claim = await self.work.claim_scan(self.worker, self.staging)
        assert claim is not None
        assert claim.batch_id == batch.batch_id
        listed = files(sum(chunks))
        parts, first = [], 0
        for size in chunks:
            parts.append(listed[first : first + size])
            first += size
        following = await self.work.add_chunks(claim, parts)
        assert following is not None
        assert await self.work.finish_scan(following)
        return batch

    async def claim(self) -> ChunkClaim:
        claim = await self.work.claim_chunk(self.worker, self.staging)
        assert claim is not None
        return claim

    async def process(self, *states: ItemState) -> ChunkClaim:
        """De-identify one chunk; its files end in these states, or all succeed."""
        claim = await self.claim()
        assert await self.work.finish_chunk(claim, results(claim, *states), self.staging)
        return claim

    async def publish(self) -> None:
        claim = await self.work.claim_publish(self.worker, self.staging)
        assert claim is not None
        assert await self.work.finish_publish(claim)

    async def finish(self) -> None:
        claim = await self.work.claim_finish(self.worker, self.staging)
        assert claim is not None
        assert await self.work.finish(claim, "file:///out/manifest.json")

    async def get(self, batch: Batch) -> Batch:
        return await self.service.get(batch.organization, batch.batch_id)

    def tickets(self) -> dict[str, int]:
        found = self.mapping.query(
            "SELECT task_name, count(*) AS n FROM procrastinate_jobs WHERE status = 'todo'"
            " GROUP BY 1"
        )
        return {row["task_name"].removeprefix("batches."): row["n"] for row in found}

    def forget_worker(self, worker: UUID) -> None:
        """Nobody has heard of it for a long time."""
        self.mapping.query(
            "UPDATE batch_workers SET seen_at = now() - interval '1 hour' WHERE id = %s"
            " RETURNING id",
            worker,
        )


@asynccontextmanager
async def opened(url: str, pair: KeyPair, *, can_open: bool = True) -> AsyncIterator[BatchHouse]:
    async with opened_mapping(url, pair, can_open=can_open) as mapping:
        box = BatchBox(WorkBox(pair.keys))
        work = BatchWork(mapping.database, box, mapping.vault)
        staging = uuid4()
        yield BatchHouse(
            mapping=mapping,
            service=BatchService(
                BatchRepository(mapping.database, box), mapping.vault, Path("staging")
            ),
            work=work,
            upkeep=Upkeep(
                mapping.database,
                box,
                mapping.vault.data_key,
                lost_after_s=LOST_AFTER_S,
                kept_days=30,
            ),
            staging=staging,
            worker=await work.join(staging),
        )


def new_batch(organization: str = NORTH, **given: object) -> NewBatch:
    asked = {
        "request": Request(
            source={"kind": "directory", "root": "root", "path": SECRET},
            destination={"kind": "store", "name": "archive"},
        ),
        "priority": Priority.ROUTINE,
        "on_error": OnError.HOLD,
        "profile": "basic",
        "profile_version": "0123456789ab",
        "actor": "tester",
        "api_key_id": None,
        "request_id": "0123456789abcdef",
    }
    return NewBatch(organization=organization, **(asked | given))


def files(count: int) -> list[SourceFile]:
    return [SourceFile(seq, f"{SECRET}/{seq}.dcm", 1000) for seq in range(count)]


def results(claim: ChunkClaim, *states: ItemState) -> list[ItemResult]:
    padded = [*states, *[ItemState.SUCCEEDED] * (len(claim.files) - len(states))]
    return [result(file, state) for file, state in zip(claim.files, padded, strict=True)]


def result(file: SourceFile, state: ItemState = ItemState.SUCCEEDED, **given: object) -> ItemResult:
    if state is not ItemState.SUCCEEDED:
        return ItemResult(file, state, "not-dicom" if state is ItemState.IGNORED else "truncated")
    made = {
        "warnings": ("odd-length (0010,0010)", "other"),
        "cloud_study_id": "7QM2X-9THV4-CBK8",
        "cloud_patient_id": "P0123456789AB",
        "study_uid": "2.25.1",
        "series_uid": "2.25.2",
        "sop_instance_uid": f"2.25.{1000 + file.seq}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "modality": "MR",
        "size": 900,
        "sha256": bytes([file.seq % 256]) * 32,
    }
    return ItemResult(file, state, **(made | given))


def event() -> AuditEvent:
    return AuditEvent(action="", actor="tester", purpose="report")
