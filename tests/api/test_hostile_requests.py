"""Requests that are made to break out: paths, headers, two ends of one body, bombs."""

import asyncio
import gc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from app import bootstrap
from app.settings import Settings
from tests import builders
from tests.api.conftest import WHO, House, listening

MIB = 1 << 20


async def said(url: str, raw: bytes) -> bytes:
    """Send bytes as they are and read until the other side closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    answer = b""
    try:
        writer.write(raw)
        async with asyncio.timeout(15):
            while piece := await reader.read(65536):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def statuses(answer: bytes) -> list[int]:
    """Status numbers of all answers that came over one connection."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/problems/..%2f..%2fetc%2fpasswd",
        "/problems/%00",
        "/problems/%0d%0aSet-Cookie:%20PLANTED=1",
        "/profiles/..%2f..%2fkeys%2fgateway-keys.json",
        "/batches/..%2f..%2fkeys",
        "//evil.example/healthz",
        "/healthz/",
        "/healthz%00.json",
        "/\\..\\..\\windows",
        "http://evil.example/healthz?PLANTED",
    ],
)
async def test_a_path_leads_nowhere_but_to_routes(house: House, address: str, target: str) -> None:
    token = await house.token()
    lines = [f"GET {target} HTTP/1.1", "Host: evil.example", f"X-API-Key: {token}"]

    answer = await said(address, "\r\n".join([*lines, "Connection: close", "", ""]).encode())

    body = answer.partition(b"\r\n\r\n")[2]
    assert statuses(answer)[0] in {200, 400, 403, 404, 405, 422}
    assert b"root:" not in answer
    assert b"pseudonym_root" not in answer
    assert b"PLANTED" not in answer
    assert b"set-cookie" not in answer.lower()
    assert b"evil.example" not in answer
    assert b"location:" not in answer.lower()
    assert statuses(answer)[0] != 200 or body == b'{"status":"ok"}'


INJECTED = "DEMO%0d%0aX-Planted:%20yes"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/anonymize-stream?organization={INJECTED}"),
        ("POST", f"/anonymize-stream?profile={INJECTED}"),
        ("POST", f"/anonymize-stream?profile=basic&profile={INJECTED}"),
        ("GET", f"/reidentify?cloud_study_id={INJECTED}&purpose={INJECTED}"),
        ("GET", f"/batches?state={INJECTED}"),
        ("GET", f"/audit?actor={INJECTED}"),
        ("GET", f"/problems/{INJECTED}"),
    ],
)
async def test_a_line_end_in_a_parameter_makes_no_header(
    house: House, address: str, instance: bytes, method: str, path: str
) -> None:
    headers = await house.headers() | {"Content-Type": "application/dicom"}

    async with httpx.AsyncClient() as speaking:
        answer = await speaking.request(
            method, f"{address}{path}", content=instance * (method == "POST"), headers=headers
        )

    assert answer.status_code < 500
    assert "X-Planted" not in answer.headers
    assert "x-planted" not in house.logs.getvalue().lower()


def two_ends(token: str, framing: str, body: str) -> bytes:
    inner = "GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    lines = f"POST /anonymize-stream HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {token}\r\n"
    return f"{lines}Content-Type: application/dicom\r\n{framing}\r\n{body}{inner}".encode()


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: -1\r\n", "hello"),
        ("Content-Length: 99999999999999999999999\r\n", "hello"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"),
        ("Content-Length : 5\r\n", "hello"),
        ("X: y\r\n Content-Length: 5\r\n", "hello"),
        ("X: \x00\r\nContent-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_with_two_ends_smuggles_no_second_request(
    house: House, address: str, framing: str, body: str
) -> None:
    answer = await said(address, two_ends(await house.token(), framing, body))

    assert 200 not in statuses(answer)
    assert len(statuses(answer)) <= 1


def test_a_header_that_the_gateway_writes_cannot_hold_a_line_end() -> None:
    from uvicorn.protocols.http import httptools_impl  # noqa: PLC0415 - what is relied upon

    assert httptools_impl.HEADER_VALUE_RE.search(b"a\r\nb")
    assert httptools_impl.HEADER_RE.search(b"a\r\nb")


# --- Bombs --------------------------------------------------------------------------------------


@pytest.fixture
async def bounded(configured: Callable[..., Settings], logs) -> AsyncIterator[House]:
    settings = configured(
        max_converted_bytes=8 * MIB, max_archive_bytes=8 * MIB, max_archive_files=50
    )
    async with bootstrap.opened(settings) as gateway:
        yield House(gateway, "", logs)


async def post(house: House, path: str, body: bytes, kind: str) -> httpx.Response:
    async with listening(house.gateway) as url, httpx.AsyncClient(timeout=60) as speaking:
        headers = await house.headers() | {"Content-Type": kind}
        return await speaking.post(f"{url}{path}", content=body, headers=headers)


def deflated(dataset_bytes: int) -> bytes:
    """A valid deflated object whose private value is so long."""
    dataset = builders.ct(WHO)
    dataset.add_new(0x00091010, "OB", bytes(dataset_bytes))
    dataset.add_new(0x00090010, "LO", "ACME")
    return builders.part10(dataset, "1.2.840.10008.1.2.1.99")


async def test_a_deflated_bomb_is_refused_at_the_bound(bounded: House) -> None:
    bomb = deflated(200 * MIB)
    before = lowest_memory_bytes()

    answer = await post(bounded, "/anonymize-stream", bomb, "application/dicom")

    assert len(bomb) < MIB
    assert (answer.status_code, answer.json()["code"]) == (413, "limit-exceeded")
    assert memory_bytes() - before < 64 * MIB


async def test_a_body_that_is_packed_for_the_way_is_not_unpacked(
    house: House, instance: bytes
) -> None:
    async with listening(house.gateway) as url, httpx.AsyncClient() as speaking:
        headers = await house.headers() | {
            "Content-Type": "application/dicom",
            "Content-Encoding": "gzip",
        }
        answer = await speaking.post(
            f"{url}/anonymize-stream", content=zlib.compress(instance), headers=headers
        )

    assert answer.status_code == 415


def pdf_bomb(size: int) -> bytes:
    """A PDF whose one stream is deflated twice."""
    stream = zlib.compress(zlib.compress(bytes(size), 9), 9)
    return (
        b"%PDF-1.7\n1 0 obj\n<< /Length "
        + str(len(stream)).encode()
        + b" /Filter [/FlateDecode /FlateDecode] >>\nstream\n"
        + stream
        + b"\nendstream\nendobj\ntrailer\n<< /Size 2 >>\n%%EOF\n"
    )


async def test_streams_in_a_pdf_are_never_unpacked(house: House) -> None:
    bomb = pdf_bomb(256 * MIB)
    dataset = builders.encapsulated_pdf(WHO)
    dataset.EncapsulatedDocument = bomb + b"\n" * (len(bomb) % 2)
    before = lowest_memory_bytes()

    answer = await post(house, "/anonymize-stream", builders.part10(dataset), "application/dicom")

    assert answer.status_code == 200
    assert b"FlateDecode" not in answer.content
    assert b"This document was removed" in answer.content
    assert memory_bytes() - before < 64 * MIB


def lowest_memory_bytes() -> int:
    """Forget the peak that the making of the bomb left, and return where it is now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory_bytes()


def memory_bytes() -> int:
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) << 10
