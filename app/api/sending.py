"""Answers that are sent piece by piece, to callers who may go away."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.types import Message, Receive, Send

from app.api.dependencies import Services
from app.api.spool import Bytes, Disconnected, in_thread

GATHER_BYTES: Final = 64 << 10


def gathered(chunks: Iterable[Bytes]) -> Iterator[Bytes]:
    """Join runs of small chunks; large ones pass as they are."""
    small: list[Bytes] = []
    held = 0
    for chunk in chunks:
        if len(chunk) < GATHER_BYTES:
            small.append(chunk)
            held += len(chunk)
            if held < GATHER_BYTES:
                continue
        if small:
            yield b"".join(small)
            small, held = [], 0
        if len(chunk) >= GATHER_BYTES:
            yield chunk
    if small:
        yield b"".join(small)


async def send_from_thread(
    send: Send, receive: Receive, chunks: Iterator[Bytes], services: Services
) -> None:
    """Send what a thread makes, piece by piece; stop when the caller goes away.

    Listening while sending is safe here: the body was taken whole, so the only message that can
    still come is the disconnect.
    """
    gone = asyncio.ensure_future(receive())
    try:
        while (chunk := await in_thread(services.executor, lambda: next(chunks, None))) is not None:
            if gone.done():
                raise Disconnected
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        gone.cancel()


@asynccontextmanager
async def while_there(receive: Receive) -> AsyncIterator[None]:
    """End what is done within as soon as the caller goes away; the body was taken whole.

    Raises:
        Disconnected: that is what happened.
    """
    task, gone = asyncio.current_task(), asyncio.ensure_future(receive())
    assert task is not None  # noqa: S101 - a coroutine runs in one
    is_gone = False

    def end(_: asyncio.Future[Message]) -> None:
        nonlocal is_gone
        is_gone = True
        task.cancel()

    gone.add_done_callback(end)
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone or task.uncancel():
            raise
        raise Disconnected from None
    finally:
        gone.remove_done_callback(end)
        gone.cancel()
