"""Far more senders than there is room for: memory stays where it is, and everybody hears why."""

import asyncio
from pathlib import Path

import pytest

from tests.batches.test_kill import free_port
from tests.faults.driver import check
from tests.faults.gateway import Gateway

pytestmark = pytest.mark.db
MIB = 1 << 20
SENDERS = 240
BODY_BYTES = 8 * MIB


def memory_bytes(pid: int) -> int:
    status = Path("/proc", str(pid), "status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


class Keeping(asyncio.StreamReader):
    """Keeps what came, though the connection was reset before anybody had read it."""

    came = b""

    def feed_data(self, data: bytes) -> None:
        self.came += data
        super().feed_data(data)


async def offer(port: int, token: str, is_over: asyncio.Event) -> bytes:
    """Send as much of a body as is taken, never all of it, and return what is answered."""
    loop, reader = asyncio.get_running_loop(), Keeping()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(
        b"POST /anonymize-stream HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/dicom\r\n"
        + f"X-API-Key: {token}\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode()
    )

    async def push() -> None:
        for _ in range(BODY_BYTES // (256 << 10) - 1):
            writer.write(bytes(256 << 10))
            await writer.drain()

    pushing = asyncio.create_task(push())
    ending = asyncio.create_task(is_over.wait())
    reading = asyncio.create_task(reader.read(4096))
    await asyncio.wait({ending, reading}, return_when=asyncio.FIRST_COMPLETED)
    for task in (pushing, ending, reading):
        task.cancel()
    await asyncio.gather(pushing, ending, reading, return_exceptions=True)
    transport.abort()
    return reader.came


async def test_senders_beyond_all_bounds_cost_no_memory_and_no_answer_of_others(
    database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    gateway = Gateway(
        database_url,
        tmp_path / "data",
        port,
        DEID_MAX_CONNECTIONS="200",
        DEID_MAX_CONCURRENT_UPLOADS="4",
        DEID_MAX_WAITING_UPLOADS="40",
    )
    try:
        pid = await asyncio.to_thread(gateway.next_start)
        await gateway.until_ready()
        async with gateway.driver(lanes=2) as driver:
            await driver.until_answered(20)
        before, is_over = memory_bytes(pid), asyncio.Event()
        offers = [
            asyncio.create_task(offer(port, gateway.token(), is_over)) for _ in range(SENDERS)
        ]
        async with asyncio.timeout(30):
            while sum(task.done() for task in offers) < SENDERS - 44:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        is_over.set()
        answers = await asyncio.gather(*offers)
        grown = memory_bytes(pid) - before
        async with gateway.driver(lanes=1) as first:  # those who left are noticed one by one
            await first.until_answered(1)
        async with gateway.driver(lanes=2) as again:
            await again.until_answered(20)
    finally:
        gateway.close()

    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    print(f"{len(refused)} of {SENDERS} refused, {grown >> 20} MiB more")  # noqa: T201
    assert len(refused) >= SENDERS - 44 - 20  # a few may lose their answer with the connection
    assert all(b"retry-after: 5" in answer.lower() for answer in refused)
    assert grown < 120 * MIB  # 1.9 GiB were offered
    check(driver, database_url)
    check(again, database_url)
    assert again.figures.refused == 0
