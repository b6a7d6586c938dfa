"""What the gateway needs goes away under load and comes back; nobody restarts the gateway."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.vault.keyrings.transit import Transit
from app.vault.keys import load_keys
from tests.api.test_uploads import large
from tests.batches.test_kill import free_port
from tests.db.test_embedded import postmaster_pid
from tests.faults.driver import Driver, check, nothing_original_in
from tests.faults.gateway import Gateway
from tests.vault.transit_server import TOKEN, TransitServer

pytestmark = pytest.mark.db
MIB = 1 << 20
LOCK_MAPPING = (
    "LOCK TABLE data_keys, subjects, studies, study_identities, series, instances"
    " IN ACCESS EXCLUSIVE MODE"
)


@pytest.fixture
def own_server(reachable_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(
        reachable_path / "pg", fsync=False, reachable_dir=reachable_path / "reachable"
    )
    server.start()
    yield server
    server.stop()


async def test_postgres_is_stopped_killed_and_started_again(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    url = own_server.url("deid_gateway")
    gateway = Gateway(url, tmp_path / "data", free_port())
    try:
        await gateway.until_ready()
        with nothing_original_in(gateway.log):
            async with gateway.driver() as driver:
                await driver.until_answered(20)
                await asyncio.to_thread(own_server.stop)
                await driver.until_refused(8)
                await asyncio.to_thread(own_server.start)
                await driver.until_answered(20)
                os.kill(postmaster_pid(own_server), signal.SIGKILL)
                await driver.until_refused(8)
                await asyncio.to_thread(own_server.start)
                await driver.until_answered(20)
        starts = gateway.deaths()
    finally:
        gateway.close()

    check(driver, url)
    assert driver.figures.cut == 0
    assert starts == 0


async def test_a_pool_without_a_free_connection_says_so_and_recovers(
    database_url: str, tmp_path: Path
) -> None:
    gateway = Gateway(database_url, tmp_path / "data", free_port(), DEID_DATABASE_POOL_SIZE="1")
    try:
        await gateway.until_ready()
        reading = {"Authorization": f"Bearer {gateway.token('development-reporting')}"}
        async with gateway.driver() as driver, httpx.AsyncClient(timeout=60) as client:

            async def ask() -> httpx.Response:
                question = {
                    "cloud_study_id": driver.answers[0][2],
                    "purpose": "TREAT",
                    "reference": "TICKET-1",
                }
                return await client.get(
                    f"{gateway.url}/reidentify", params=question, headers=reading
                )

            await driver.until_answered(20)
            before = (await ask()).json()
            async with await psycopg.AsyncConnection.connect(database_url) as other:
                await other.execute(LOCK_MAPPING)
                asked = [asyncio.create_task(ask()) for _ in range(6)]
                during = await asyncio.gather(*asked)
            await driver.until_answered(20)
            after = (await ask()).json()
    finally:
        gateway.close()

    check(driver, database_url)
    assert {(answer.status_code, answer.json()["code"]) for answer in during} == {
        (503, "database-unavailable")
    }
    assert {answer.headers["Retry-After"] for answer in during} == {"5"}
    assert after["original_patient_id"] == before["original_patient_id"]


def small_spool(spool: Path, size: int) -> list[str]:
    """A command that gives what it starts a file system of so many bytes for its spool.

    Where this machine lets nobody mount one, no file of the process can be larger instead.
    """
    mounting = f"mount -t tmpfs -o size={size},mode=700 tmpfs '{spool}' && exec \"$@\""
    unsharing = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
    command = [*unsharing, "sh", "-c", mounting, "sh"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        return command
    assert shutil.which("prlimit") is not None, "neither unshare nor prlimit of util-linux works"
    return ["prlimit", f"--fsize={size}", "--"]


async def test_a_full_spool_refuses_what_needs_it_and_nothing_else(
    database_url: str, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    gateway = Gateway(
        database_url,
        tmp_path / "data",
        free_port(),
        prefix=small_spool(spool, 6 * MIB),
        DEID_SPOOL_DIR=str(spool),
        DEID_MEMORY_BODY_BYTES=str(MIB),
    )
    try:
        await gateway.until_ready()
        headers = {
            "Authorization": f"Bearer {gateway.token()}",
            "Content-Type": "application/dicom",
        }
        async with gateway.driver(lanes=2) as driver, httpx.AsyncClient(timeout=60) as client:

            async def send(data: bytes) -> httpx.Response:
                return await client.post(
                    f"{gateway.url}/anonymize-stream", content=data, headers=headers
                )

            await driver.until_answered(10)
            fitting, too_much = large(frames=8), large(frames=24)
            before = await send(fitting)
            full = await asyncio.gather(*[send(too_much) for _ in range(3)])
            after = await send(fitting)
            await driver.until_answered(10)
    finally:
        gateway.close()

    check(driver, database_url)
    assert driver.figures.refused == 0
    assert [(answer.status_code, answer.json()["code"]) for answer in full] == [
        (503, "storage-unavailable")
    ] * 3
    assert (before.status_code, after.status_code) == (200, 200)
    assert before.content == after.content


@pytest.fixture
def provider() -> Iterator[TransitServer]:
    with TransitServer() as server:
        yield server


async def test_the_key_provider_is_needed_for_a_start_and_for_nothing_else(
    database_url: str, tmp_path: Path, provider: TransitServer
) -> None:
    token = tmp_path / "transit-token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    gateway = Gateway(
        database_url,
        tmp_path / "data",
        free_port(),
        DEID_KEY_PROVIDER="vault-transit",
        DEID_KEY_PROVIDER_KEY="gateway",
        DEID_REIDENTIFY_KEY_PROVIDER_KEY="private",
        DEID_KEY_PROVIDER_URL=provider.url,
        DEID_KEY_PROVIDER_SECRET_FILE=str(token),
    )
    try:
        first = await asyncio.to_thread(gateway.next_start)
        await gateway.until_ready()
        wrapper = Transit(provider.url, "transit", "gateway", token)
        keys = load_keys(tmp_path / "data" / "keys" / "gateway-keys.json", wrapper)
        async with Driver(gateway.url, gateway.token(), keys, lanes=4) as driver:
            await driver.until_answered(20)
            provider.is_sealed = True
            await driver.until_answered(20)
            undisturbed = (driver.figures.refused, driver.figures.cut)
            os.kill(first, signal.SIGKILL)
            for _ in range(3):  # the supervisor tries in vain
                await asyncio.to_thread(gateway.next_start)
            provider.is_sealed = False
            await driver.until_answered(20)
    finally:
        gateway.close()

    check(driver, database_url)
    assert undisturbed == (0, 0)
    assert "the transit engine refuses (HTTP 503)" in gateway.log()
    assert "Traceback" not in gateway.log()
