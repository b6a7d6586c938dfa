"""From a request to published objects, with a real worker: what a caller sees of it."""

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import samples
from app.batches.worker import run_worker
from app.cli.working import parts_of
from app.vault.signing import PublicKeys
from tests.api.conftest import House
from tests.batches.test_callbacks import Receiver, receiving

pytestmark = pytest.mark.usefixtures("working")


@pytest.fixture
async def working(house: House) -> AsyncIterator[None]:
    """A worker beside the gateway, in this process."""
    stop = asyncio.Event()
    parts = await asyncio.to_thread(parts_of, house.gateway)
    task = asyncio.create_task(run_worker(parts, stop))
    yield
    stop.set()
    await task


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers() | {"Prefer": "wait=60"}


def published(directory: str) -> list[str]:
    root = Path(directory)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def verified(house: House, receiver: Receiver) -> bool:
    """Check a callback as its receiver would."""
    [head], [body] = receiver.heads, receiver.bodies
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    keys = PublicKeys.from_jwks(json.dumps(house.gateway.signer.public_jwk()).encode())
    signature = base64.b64decode(head["webhook-signature"].removeprefix("v1a,"))
    return keys.verify(house.gateway.signer.key_id, signed, signature)


async def test_a_study_directory_is_published_and_its_sender_told(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    study = house.gateway.settings.roots[0] / "PLANTED^NAME"
    paths = samples.write_sample_study(study)
    (study / "PLANTED.txt").write_text("no object")

    async with receiving() as receiver:
        answer = await client.post(
            "/batch-prepare",
            json={"study_directory": str(study.absolute()), "callback_url": receiver.url},
            headers=headers,
        )
        async with asyncio.timeout(20):
            while not receiver.bodies:  # noqa: ASYNC110 - the worker tells when it comes to it
                await asyncio.sleep(0.02)

    shown, told = answer.json(), json.loads(receiver.bodies[0])
    items = await client.get(shown["links"]["items"], headers=headers)
    names = published(shown["staging_directory"])
    assert (answer.status_code, shown["state"], shown["success"]) == (200, "succeeded", True)
    assert (shown["total_files"], shown["successful_files"]) == (len(paths) + 1, len(paths))
    assert shown["problems"] == {"not-dicom": 1}
    assert Path(shown["manifest_path"]).name == "manifest.json"
    assert {item["file"] for item in items.json()["items"]} - {None} < set(names)
    assert (told["batch_id"], told["state"]) == (shown["batch_id"], "succeeded")
    assert verified(house, receiver)
    said = answer.text + items.text + receiver.bodies[0].decode() + house.logs.getvalue()
    assert "PLANTED" not in said + " ".join(names)


async def test_an_archive_is_published_like_a_directory(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        for instance in samples.sample_study():
            writing.writestr(f"PLANTED/{instance.name}", instance.data)

    answer = await client.post(
        "/batch-prepare",
        content=packed.getvalue(),
        headers=headers | {"Content-Type": "application/zip", "Idempotency-Key": "nightly"},
    )

    shown = answer.json()
    assert (answer.status_code, shown["state"]) == (200, "succeeded")
    assert len(published(shown["staging_directory"])) == shown["successful_files"] + 1
    assert "PLANTED" not in answer.text + house.logs.getvalue()


async def test_what_is_no_archive_fails_with_a_code(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post(
        "/batch-prepare",
        content=b"no archive",
        headers=headers | {"Content-Type": "application/zip"},
    )

    shown = answer.json()
    assert (answer.status_code, shown["state"], shown["success"]) == (200, "failed", False)
    assert shown["code"] == "invalid-archive"
