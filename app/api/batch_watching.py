"""Staying with a batch: until it has ended, its caller has gone, or this server stops."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import errors, telemetry
from app.api.stopping import STOPPING
from app.batches.records import Batch
from app.batches.representation import representation
from app.batches.states import ENDED

T = TypeVar("T")
Now: TypeAlias = Callable[[], Awaitable[Batch]]
Check: TypeAlias = Callable[[], Awaitable[object]]
NextVersion: TypeAlias = Callable[[int, float], Awaitable[Batch]]
"""Waits until a batch has another version than this one, at most so many seconds."""

HEARTBEAT_S: Final = 15.0
CHECK_S: Final = 10.0
PAUSE_S: Final = 1.0  # between two questions of one watcher
WAIT_PAUSE_S: Final = 0.25
# Who takes nothing for so long is not listening.
SEND_TIMEOUT_S: Final = 60.0
MAX_WATCHERS: Final = 200

_OPENING: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": still here\n\n"


class Watchers:
    """Counts who stays with a batch; each asks the database again and again."""

    def __init__(self, most: int = MAX_WATCHERS) -> None:
        self._free = most

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Take a place while watching.

        Raises:
            errors.Unavailable: all are taken.
        """
        if self._free <= 0:
            raise errors.Unavailable("Too many callers wait for batches; ask again later")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def while_wanted(scope: Scope, receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Run something until it ends; give it up when the caller goes away or the server stops.

    The request's body must have been taken: what is received here is thrown away.

    Returns:
        what it returned, or None where it was given up.
    """
    working = asyncio.ensure_future(work)
    tasks: list[asyncio.Future[Any]] = [working, asyncio.ensure_future(_gone(receive))]
    stopping = scope.get("state", {}).get(STOPPING)
    if stopping is not None:
        tasks.append(asyncio.ensure_future(stopping.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return None if working.cancelled() else working.result()


async def until_ended(batch: Batch, next_version: NextVersion, wait_s: float) -> Batch:
    """Return a batch when it has ended, or as it is when the time is over."""
    deadline = time.monotonic() + wait_s
    while batch.state not in ENDED and (left := deadline - time.monotonic()) > 0:
        batch = await next_version(batch.version, left)
        if batch.state not in ENDED:  # a busy batch has another version every time
            await asyncio.sleep(min(WAIT_PAUSE_S, left))
    return batch


class EventStream(Response):
    """Answers with the events of a batch until it has ended.

    Args:
        batch: as it stands.
        seen: version that the caller knows, if any.
        now: asks how the batch stands.
        check: raises once the caller may not listen any more.
        watchers: bounds how many listen at once.
    """

    media_type = "text/event-stream"

    def __init__(
        self, batch: Batch, *, seen: int | None, now: Now, check: Check, watchers: Watchers
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._watchers = watchers
        self._events = events(batch, seen=seen, now=now, check=check)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watchers.place():
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            try:
                await while_wanted(scope, receive, self._stream(send))
            except errors.GatewayError:
                await _end(send)  # told as a comment; the outermost layer counts it
                raise
            await _end(send)

    async def _stream(self, send: Send) -> None:
        try:
            async for event in self._events:
                await _say(send, event)
        except TimeoutError:
            return
        except errors.GatewayError as error:
            with contextlib.suppress(TimeoutError):
                await _say(send, f": {error.code}\n\n".encode())
            raise
        finally:
            await self._events.aclose()


async def events(
    batch: Batch, *, seen: int | None, now: Now, check: Check
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a batch in the form of server-sent events, and signs of life between.

    The database is asked once a `PAUSE_S`, for the batch or for the caller's right to know.

    Source: HTML Standard, 9.2 (server-sent events).
    """
    yield _OPENING
    if batch.version != seen or batch.waiting is not None:
        yield event_of(batch)
    checked_at = spoke_at = time.monotonic()
    while batch.state not in ENDED:
        await asyncio.sleep(PAUSE_S)
        if time.monotonic() - checked_at >= CHECK_S:
            await check()
            checked_at = time.monotonic()
            continue
        known, batch = batch, await now()
        if (batch.version, batch.waiting) != (known.version, known.waiting):
            yield event_of(batch)
        elif time.monotonic() - spoke_at >= HEARTBEAT_S:
            yield _HEARTBEAT
        else:
            continue
        spoke_at = time.monotonic()


def event_of(batch: Batch) -> bytes:
    """Write one event: its id is the version, so that a caller who comes back misses nothing."""
    name = "ended" if batch.state in ENDED else "progress"
    data = json.dumps(representation(batch, telemetry.utc_now()), separators=(",", ":"))
    return f"id: {batch.version}\nevent: {name}\ndata: {data}\n\n".encode("ascii")


async def _say(send: Send, event: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": event, "more_body": True})


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
