"""A port that answers ``GET /metrics`` and nothing else, for processes that serve nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

from app import errors
from app.telemetry import METRICS_MEDIA_TYPE

PATH: Final = "/metrics"
HEAD_BYTES: Final = 16 << 10
HEAD_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
MOST_CALLERS: Final = 16

Exposition: TypeAlias = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def exposed(host: str, port: int, exposition: Exposition) -> AsyncIterator[int]:
    """Answer for the time of an ``async with`` block, and lend the port's number.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        exposition: writes the metrics.

    Raises:
        errors.Misconfigured: the port cannot be listened on.
    """
    callers = _Callers(exposition)
    try:
        server = await asyncio.start_server(callers.answer, host, port, limit=HEAD_BYTES)
    except OSError as error:
        raise errors.Misconfigured(
            f"cannot listen on {host}:{port} for metrics: {error.strerror}"
        ) from None
    try:
        number: int = server.sockets[0].getsockname()[1]
        yield number
    finally:
        server.close()
        await callers.leave()


class _Callers:
    """Those who are connected just now."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        task = asyncio.ensure_future(self._answer(reader, writer))
        if len(self._tasks) >= MOST_CALLERS:
            task.cancel()
        self._tasks.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def leave(self) -> None:
        """Cut off who is still there."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                writer.write(await self._response(head))
                await writer.drain()

    async def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != PATH.encode():
            return _written("404 Not Found", b"")
        if method != b"GET":
            return _written("405 Method Not Allowed", b"", "Allow: GET\r\n")
        return _written(
            "200 OK", await self._exposition(), f"Content-Type: {METRICS_MEDIA_TYPE}\r\n"
        )


def _written(status: str, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + body
