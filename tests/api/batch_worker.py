"""A worker that does what a test says, on the tables of a gateway under test."""

import asyncio
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx

from app.api.batch_parts import BatchIntake
from app.batches.states import ItemState
from tests.api.conftest import House
from tests.batches.house import files, results

PLANTED = "PLANTED"
STUDY = f"{PLANTED}^NAME"


@dataclass
class Worker:
    """One worker at the staging area of a gateway."""

    house: House
    worker: UUID

    @classmethod
    async def joined(cls, house: House) -> "Worker":
        return cls(house, await house.gateway.work.join(intake_of(house).staging_id))

    async def scan(self, *chunks: int) -> None:
        work = self.house.gateway.work
        claim = await work.claim_scan(self.worker, intake_of(self.house).staging_id)
        assert claim is not None
        listed, parts = files(sum(chunks)), []
        for size in chunks:
            parts.append(listed[:size])
            listed = listed[size:]
        following = await work.add_chunks(claim, parts)
        assert following is not None
        assert await work.finish_scan(following)

    async def process(self, *states: ItemState) -> None:
        """De-identify one chunk; its files end in these states, or all succeed."""
        work, staging = self.house.gateway.work, intake_of(self.house).staging_id
        claim = await work.claim_chunk(self.worker, staging)
        assert claim is not None
        assert await work.finish_chunk(claim, results(claim, *states), staging)

    async def publish(self, chunks: int = 1) -> None:
        work, staging = self.house.gateway.work, intake_of(self.house).staging_id
        for _ in range(chunks):
            claim = await work.claim_publish(self.worker, staging)
            assert claim is not None
            assert await work.finish_publish(claim)
        claim = await work.claim_finish(self.worker, staging)
        assert claim is not None
        assert await work.finish(claim, "file:///out/manifest.json")

    async def succeed(self, size: int = 2) -> None:
        await self.scan(size)
        await self.process()
        await self.publish()


def intake_of(house: House) -> BatchIntake:
    assert house.gateway.intake is not None
    return house.gateway.intake


def study(house: House, name: str = STUDY) -> str:
    """Make a study directory below the gateway's root; its name names a patient."""
    directory = house.gateway.settings.roots[0] / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.dcm").write_bytes(b"never read here")
    return str(directory.absolute())


def archive(content: bytes = b"never read here") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as writing:
        writing.writestr(zipfile.ZipInfo(f"{STUDY}.dcm"), content)  # bears no time of its making
    return made.getvalue()


def uploads(house: House) -> list[Path]:
    """What lies in the staging area's directory of archives."""
    directory = house.gateway.settings.staging_path / ".uploads"
    return sorted(directory.iterdir()) if directory.exists() else []


async def prepare(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], **asked: object
) -> httpx.Response:
    """Hand over a study directory."""
    body = {"study_directory": study(house)} | asked
    given = {name: value for name, value in body.items() if value is not None}
    return await client.post("/batch-prepare", json=given, headers=headers)


async def taken(client: httpx.AsyncClient, headers: dict[str, str], count: int = 1) -> str:
    """Wait until the gateway has so many batches; return where the last one is."""
    while True:
        listed = (await client.get("/batches", headers=headers)).json()["batches"]
        if len(listed) >= count:
            return str(listed[0]["links"]["self"])
        await asyncio.sleep(0.01)
