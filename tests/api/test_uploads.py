"""Bodies over a real socket: exact bytes, bounds, disconnects, and memory that does not grow."""

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app import bootstrap
from app.settings import Settings
from tests import builders
from tests.api.conftest import WHO, House, listening

DICOM = {"Content-Type": "application/dicom"}
MIB = 1 << 20
FRAME = 512 * 512 * 2


def head_of(frames: int) -> bytes:
    """An object up to the first pixel byte."""
    dataset = builders.enhanced_mr(WHO)
    del dataset.PixelData
    dataset.Rows = dataset.Columns = 512
    dataset.NumberOfFrames = frames
    length = frames * FRAME
    return builders.part10(dataset) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length)


def large(frames: int) -> bytes:
    return head_of(frames) + os.urandom(frames * FRAME)


def entries(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


def spool_of(settings: Settings) -> list[str]:
    """Names in the spool directory, and open files in it that have none."""
    files = list(Path("/proc/self/fd").iterdir())
    links = [str(file.readlink()) for file in files if file.is_symlink()]
    place = str(settings.spool_path.absolute())
    return entries(settings.spool_path) + [link for link in links if link.startswith(place)]


async def until_empty(settings: Settings) -> None:
    """Wait until nothing is in the spool: the last byte may arrive before its file is closed."""
    async with asyncio.timeout(20):
        while spool_of(settings):  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
async def test_a_large_object_keeps_every_pixel_byte(
    address: str, house: House, form: bool
) -> None:
    data = large(frames=128)
    pixels = data[-128 * FRAME :]
    headers = await house.headers()

    async with httpx.AsyncClient(timeout=60) as client:
        if form:
            answer = await client.post(
                f"{address}/anonymize-stream", files={"file": data}, headers=headers
            )
        else:
            answer = await client.post(
                f"{address}/anonymize-stream", content=data, headers=headers | DICOM
            )

    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"])
    assert answer.content.endswith(pixels)
    await until_empty(house.gateway.settings)


async def test_a_large_truncated_object_is_refused(address: str, house: House) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{address}/anonymize-stream",
            content=large(frames=32)[:-1],
            headers=DICOM | await house.headers(),
        )

    assert (answer.status_code, answer.json()["code"]) == (400, "truncated")
    await until_empty(house.gateway.settings)


@pytest.mark.parametrize("size", [2 * MIB, 16 * MIB], ids=["in-memory", "spooled"])
async def test_a_caller_who_hangs_up_leaves_nothing(address: str, house: House, size: int) -> None:
    token = await house.token()
    port = int(address.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /anonymize-stream HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/dicom\r\n"
        + f"X-API-Key: {token}\r\nContent-Length: {2 * size}\r\n\r\n".encode()
    )
    writer.write(bytes(size))
    await writer.drain()
    writer.transport.abort()
    async with httpx.AsyncClient() as client:
        for _ in range(500):
            await asyncio.sleep(0.01)
            if 'status="499"' in (await client.get(f"{address}/metrics")).text:
                break

    await until_empty(house.gateway.settings)
    assert house.outcomes("anonymize") == []


@pytest.fixture
async def narrow(configured: Callable[..., Settings]) -> AsyncIterator[str]:
    settings = configured(max_body_bytes=MIB, memory_body_bytes=MIB // 4)
    async with bootstrap.opened(settings) as gateway, listening(gateway) as url:
        yield url


async def parts(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 64 << 10):
        yield bytes(64 << 10)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_that_is_too_large_is_refused_with_an_answer(
    narrow: str, house: House, declared: bool
) -> None:
    headers = DICOM | await house.headers()
    if declared:
        headers["Content-Length"] = str(8 * MIB)

    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{narrow}/anonymize-stream", content=parts(8 * MIB), headers=headers
        )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert answer.headers["Connection"] == "close"


async def test_a_caller_refused_while_sending_reads_why(address: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{address}/anonymize-stream", content=parts(16 * MIB), headers=DICOM
        )

    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


async def test_one_connection_carries_many_objects(
    address: str, house: House, instance: bytes
) -> None:
    headers = DICOM | await house.headers()
    async with httpx.AsyncClient() as client:
        answers = [
            await client.post(f"{address}/anonymize-stream", content=instance, headers=headers)
            for _ in range(10)
        ]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_fifty_first_uploads_of_one_study_agree_on_its_id(
    address: str, house: House, instance: bytes
) -> None:
    headers = DICOM | await house.headers()
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{address}/anonymize-stream", content=instance, headers=headers)
                for _ in range(50)
            )
        )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Cloud-Study-Id"] for answer in answers}) == 1
    assert house.outcomes("anonymize") == ["success"] * 50


# --- The program itself ------------------------------------------------------------------------


class Program:
    """``deid-gateway serve`` in a process of its own."""

    def __init__(
        self, database_url: str | None, data_dir: Path, *options: str, workers: int = 0
    ) -> None:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
        database = {"DATABASE_URL": database_url} if database_url is not None else {}
        self.process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *options],
            env={"PATH": "/usr/bin:/bin", "DEID_WORKERS": str(workers), **database},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{") and json.loads(line)["event"] == "gateway-started":
                return int(json.loads(line)["port"])
        raise AssertionError("the program ended before it listened")

    def peak_memory_bytes(self) -> int:
        status = Path("/proc", str(self.process.pid), "status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) << 10

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def program(database_url: str, tmp_path: Path) -> Iterator[Program]:
    running = Program(database_url, tmp_path / "data")
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


def test_a_gigabyte_goes_through_in_little_memory(program: Program, tmp_path: Path) -> None:
    token = (tmp_path / "data" / "keys" / "development.token").read_text().strip()
    frames = 2048
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(head_of(frames))
        file.truncate(file.tell() + frames * FRAME)  # a sparse file: zeros that take no room

    received = 0
    with (
        path.open("rb") as file,
        httpx.Client(timeout=120) as client,
        client.stream(
            "POST",
            f"http://127.0.0.1:{program.port}/anonymize-stream",
            content=iter(lambda: file.read(MIB), b""),
            headers=DICOM | {"X-API-Key": token, "Content-Length": str(path.stat().st_size)},
        ) as answer,
    ):
        for chunk in answer.iter_bytes(MIB):
            received += len(chunk)
        declared = int(answer.headers["Content-Length"])

    assert answer.status_code == 200
    assert received == declared
    assert received > frames * FRAME
    assert program.peak_memory_bytes() < 150 * MIB


def test_a_stopped_program_ends_with_its_requests_answered(program: Program) -> None:
    with httpx.Client() as client:
        assert client.get(f"http://127.0.0.1:{program.port}/readyz").status_code == 200

    assert program.stop() == 0
