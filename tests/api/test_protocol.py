"""Heads of requests are bounded in size and time, before anybody is known."""

import asyncio
import json

import httpx
import pytest

from app.api.protocol import BoundedProtocol
from tests.api.conftest import House, listening

LINE = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n"


async def said_to(address: str, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), timeout=10)
    except ConnectionError:
        return b"cut"
    finally:
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [LINE, *(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(200))],
        [LINE, b"X-Endless: ", *([b"a" * 65_536] * 20)],
        [b"GET /", *([b"a" * 65_536] * 20)],
    ],
    ids=["many-headers", "one-endless-header", "endless-path"],
)
async def test_a_head_without_end_is_cut(address: str, pieces: list[bytes]) -> None:
    answer = await said_to(address, *pieces)

    assert answer == b"cut" or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "head",
    [b"FETCH /healthz HTTP/1.1\r\n\r\n", LINE + b"Content-Length: -5\r\n\r\n"],
    ids=["unknown-method", "negative-length"],
)
async def test_what_is_not_http_is_refused_with_a_code_that_can_be_looked_up(
    address: str, head: bytes
) -> None:
    answer = await said_to(address, head)
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    async with httpx.AsyncClient() as client:
        meaning = await client.get(f"{address}{problem['type']}")

    assert (problem["status"], problem["code"]) == (400, "invalid-request")
    assert meaning.status_code == 200


async def test_a_head_that_is_never_finished_is_given_up(house: House) -> None:
    class Impatient(BoundedProtocol):
        head_timeout_s = 0.1

    async with listening(house.gateway, Impatient) as address:
        assert await said_to(address, LINE) == b""


async def test_a_slow_answer_is_not_a_slow_head(house: House) -> None:
    class Impatient(BoundedProtocol):
        head_timeout_s = 0.2

    async with listening(house.gateway, Impatient) as address, httpx.AsyncClient() as client:
        first = await client.get(f"{address}/healthz")
        await asyncio.sleep(0.4)
        second = await client.get(f"{address}/healthz")

    assert (first.status_code, second.status_code) == (200, 200)


async def test_an_ordinary_head_with_a_long_header_passes(address: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{address}/healthz", headers={"X-Long": "a" * 30_000})

    assert answer.status_code == 200
