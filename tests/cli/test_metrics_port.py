"""A port for metrics answers that and nothing else, and nobody can hold it up."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app import errors
from app.cli import metrics_port
from app.cli.metrics_port import exposed

HOST = "127.0.0.1"


async def exposition() -> bytes:
    return b"deid_batch_files_total 1.0\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with exposed(HOST, 0, exposition) as number:
        yield number


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/metrics?name=x", 200),
        ("POST", "/metrics", 405),
        ("GET", "/", 404),
        ("GET", "/batches", 404),
    ],
)
async def test_metrics_are_answered_and_nothing_else(
    port: int, method: str, path: str, status: int
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
        answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.content == (await exposition() if status == 200 else b"")


async def test_the_answer_is_in_the_form_of_prometheus(port: int) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{HOST}:{port}/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("said", [b"x" * 100_000, b"\r\n\r\n", b"GET /metrics"])
async def test_who_speaks_no_http_harms_nobody(port: int, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(said)
    writer.write_eof()
    await reader.read()
    writer.close()

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{HOST}:{port}/metrics")).is_success


async def test_who_says_nothing_is_cut_off_and_so_is_one_too_many(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_port, "MOST_CALLERS", 1)
    monkeypatch.setattr(metrics_port, "HEAD_TIMEOUT_S", 0.3)
    silent, silent_writer = await asyncio.open_connection(HOST, port)
    surplus, surplus_writer = await asyncio.open_connection(HOST, port)

    async with asyncio.timeout(20):
        assert await surplus.read() == b""
        assert await silent.read() == b""

    for writer in (silent_writer, surplus_writer):
        writer.close()


async def test_a_port_that_is_taken_is_said_at_the_start(port: int) -> None:
    with pytest.raises(errors.Misconfigured, match="cannot listen"):
        async with exposed(HOST, port, exposition):
            raise AssertionError("taken twice")
