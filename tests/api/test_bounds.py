"""What one caller may cost: slow ones are cut, too many are told so, and nothing grows."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from app import bootstrap
from app.api import middleware
from app.api.answer_headers import SECURITY
from app.api.application import create_app
from app.api.places import Places
from app.api.protocol import BoundedProtocol
from app.errors import Overloaded
from app.settings import Settings
from tests.api.conftest import House, listening
from tests.api.test_uploads import large, until_empty

DICOM = "Content-Type: application/dicom\r\n"
MIB = 1 << 20


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def head(path: str, token: str, length: int, more: str = DICOM) -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {token}\r\n{more}"
    return f"{lines}Content-Length: {length}\r\n\r\n".encode()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Read what comes until the end, or until the connection is cut."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while piece := await reader.read(65536):
                answer += piece
    return answer


@pytest.fixture
async def impatient(
    configured: Callable[..., Settings], logs, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[House, str]]:
    monkeypatch.setattr(middleware, "LINGER_S", 0.4)
    settings = configured(body_idle_timeout_s=0.4, min_bytes_per_s=10_000, max_concurrent_uploads=1)
    async with bootstrap.opened(settings) as gateway, listening(gateway) as address:
        yield House(gateway, "", logs), address


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/anonymize-stream", DICOM),
        ("/batch-prepare", "Content-Type: application/json\r\n"),
        ("/batch-prepare", "Content-Type: application/zip\r\n"),
    ],
    ids=["object", "description", "archive"],
)
@pytest.mark.parametrize("pause_s", [0.05, 5], ids=["drip", "silence"])
async def test_a_slow_body_is_given_up(
    impatient: tuple[House, str], path: str, more: str, pause_s: float
) -> None:
    house, address = impatient
    token = await house.token()
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
    writer.write(head(path, token, MIB, more))

    async def drip() -> None:
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(pause_s)

    dripping = asyncio.create_task(drip())
    answer = await until_closed(reader)
    dripping.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await dripping
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "body-timeout"' in answer


async def test_a_body_that_comes_in_pieces_but_fast_enough_is_taken(
    impatient: tuple[House, str],
) -> None:
    house, address = impatient
    token, data = await house.token(), large(frames=1)

    async def pieces() -> AsyncIterator[bytes]:
        for first in range(0, len(data), len(data) // 8):
            yield data[first : first + len(data) // 8]
            await asyncio.sleep(0.08)

    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{address}/anonymize-stream",
            content=pieces(),
            headers={"X-API-Key": token, "Content-Type": "application/dicom"},
        )

    assert answer.status_code == 200


def impatient_protocol() -> tuple[type[BoundedProtocol], asyncio.Event]:
    """A protocol that waits shortly for readers, and what tells that it has lost a connection."""
    lost = asyncio.Event()

    class Impatient(BoundedProtocol):
        reading_timeout_s = 0.3
        min_bytes_per_s = 100_000

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    return Impatient, lost


async def ask_and_read_nothing(address: str, request: bytes) -> socket.socket:
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asking.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(asking, ("127.0.0.1", port_of(address)))
    await loop.sock_sendall(asking, request)
    return asking


@pytest.mark.parametrize("frames", [12, 32], ids=["from-memory", "from-the-spool"])
async def test_a_reader_who_takes_nothing_is_cut(house: House, frames: int) -> None:
    token, body = await house.token(), large(frames)
    protocol, lost = impatient_protocol()
    async with listening(house.gateway, protocol) as address:
        request = head("/anonymize-stream", token, len(body)) + body
        with await ask_and_read_nothing(address, request):
            await asyncio.wait_for(lost.wait(), timeout=20)

    assert house.outcomes("anonymize") == ["success"]
    await until_empty(house.gateway.settings)


async def test_pipelined_answers_that_nobody_reads_are_not_piled_up(
    house: House,
) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n" * 400
    protocol, lost = impatient_protocol()
    async with listening(house.gateway, protocol) as address:
        with await ask_and_read_nothing(address, request):
            await asyncio.wait_for(lost.wait(), timeout=20)
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"{address}/metrics")).text

    answered = re.search(r'endpoint="/openapi.json",status="200"} (\d+)', metrics)
    assert answered is None or int(answered[1]) < 400


async def test_a_connection_too_many_hears_to_come_again(house: House) -> None:
    class Small(BoundedProtocol):
        max_connections = 3

    async with listening(house.gateway, Small) as address:
        port = port_of(address)
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        fourth = await asyncio.open_connection("127.0.0.1", port)
        refused = await until_closed(fourth[0])
        for _, writer in (*held, fourth):
            writer.close()
            await writer.wait_closed()
        async with httpx.AsyncClient() as client:
            again = await client.get(f"{address}/healthz")

    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"retry-after: 5" in head
    assert b'"code": "overloaded"' in body
    assert again.status_code == 200
    assert house.logs.getvalue().count("connections-refused") == 1


async def test_a_flood_of_connections_is_dropped_without_a_word(house: House) -> None:
    class Tiny(BoundedProtocol):
        max_connections = 2

    async with listening(house.gateway, Tiny) as address:
        port = port_of(address)
        made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        said = await asyncio.gather(*[until_closed(reader) for reader, _ in made[2:]])
        for _, writer in made:
            writer.close()

    assert sum(answer.startswith(b"HTTP/1.1 503") for answer in said) == 2
    assert sum(answer == b"" for answer in said) == 4


async def test_uploads_beyond_those_that_wait_hear_to_come_again(
    house: House, instance: bytes
) -> None:
    app = create_app(house.gateway.services(), max_concurrent_uploads=1, max_waiting_uploads=1)
    headers = {"Content-Type": "application/dicom"} | await house.headers()
    is_open = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield instance[:1000]
        await is_open.wait()
        yield instance[1000:]

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:

        async def send(content) -> httpx.Response:
            return await client.post("/anonymize-stream", content=content, headers=headers)

        first = asyncio.create_task(send(held()))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(send(instance))
        await asyncio.sleep(0.1)
        third = await send(instance)
        is_open.set()
        taken = await asyncio.gather(first, second)

    assert (third.status_code, third.json()["code"]) == (503, "overloaded")
    assert third.headers["Retry-After"] == "5"
    assert [answer.status_code for answer in taken] == [200, 200]


async def test_nobody_waits_for_a_place_for_ever() -> None:
    places = Places(1, 5, wait_s=0.05)
    async with places:
        with pytest.raises(Overloaded):
            await places.__aenter__()

    async with places:  # what waited in vain holds no place
        pass


async def test_a_caller_who_goes_while_it_waits_leaves_its_place() -> None:
    places = Places(1, 1)
    async with places:
        waiting = asyncio.create_task(places.__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    await places.__aenter__()
    again = asyncio.create_task(places.__aenter__())
    await asyncio.sleep(0)
    await places.__aexit__(None, None, None)
    await again


async def test_a_text_that_does_not_end_is_refused(address: str, house: House) -> None:
    headers = await house.headers() | {"Content-Type": "application/json"}

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * (64 << 10)

    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{address}/reidentify/batch", content=endless(), headers=headers
        )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_every_answer_carries_the_security_headers(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    dicom = {"Content-Type": "application/dicom"} | await house.headers()
    answers = [
        await client.get("/healthz"),
        await client.get("/openapi.json"),
        await client.get("/metrics"),
        await client.get("/nowhere"),
        await client.delete("/healthz"),
        await client.get("/reidentify"),
        await client.post("/anonymize-stream", content=b"no", headers=dicom),
        await client.post("/anonymize-stream", content=instance, headers=dicom),
    ]

    for answer in answers:
        for name, value in SECURITY:
            assert answer.headers.get_list(name.decode()) == [value.decode()]
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Server" not in answer.headers
        assert "Strict-Transport-Security" not in answer.headers


async def test_what_is_no_http_is_answered_with_them_as_well(address: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
    writer.write(b"PLANTED nonsense\r\n\r\n")
    answer = await until_closed(reader)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json" in answer
    assert b"PLANTED" not in answer
    for name, value in SECURITY:
        assert b"%s: %s\r\n" % (name, value) in answer


async def test_who_waits_for_something_slow_leaves_its_place_to_others() -> None:
    places, slow = Places(1, 0), Places(1, 0)
    left, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        async with places.place() as place, place.left(slow):
            left.set()
            await go_on.wait()

    waiting = asyncio.create_task(slowly())
    await left.wait()
    async with places.place() as other:
        with pytest.raises(Overloaded):  # the places of slow ones have a bound as well
            async with other.left(slow):
                pass
        with pytest.raises(Overloaded):
            async with places:
                pass
        go_on.set()
        await asyncio.sleep(0)
        assert not waiting.done()  # its own place is taken: it waits for it
    await waiting

    async with places:  # one place still, and not two
        with pytest.raises(Overloaded):
            async with places:
                pass


async def test_who_is_cancelled_while_it_waits_for_its_own_place_gives_none_back() -> None:
    places, slow = Places(1, 0), Places(1, 0)
    left, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        async with places.place() as place, place.left(slow):
            left.set()
            await go_on.wait()

    waiting = asyncio.create_task(slowly())
    await left.wait()
    async with places:
        go_on.set()
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(Overloaded):
            async with places:
                pass
    async with places, slow:
        pass
