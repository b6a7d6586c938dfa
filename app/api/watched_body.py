"""The body of a request as it comes: how much at most, how slowly at least, whatever reads it."""

import asyncio
import time
from typing import Final

from starlette.types import Message, Receive

from app import errors
from app.api.spool import BodyLimits

# Requests that describe something; objects and archives have bounds of their own.
MAX_TEXT_BYTES: Final = 1 << 20


class WatchedBody:
    """Takes the place of ``receive``, and refuses through it.

    Only the time counts in which the caller keeps us waiting, not that in which we keep the caller.

    Args:
        receive: of the server.
        limits: pause and speed that are borne.
        is_streamed: whoever reads it bounds its size and pauses; otherwise it is a text.

    Attributes:
        unwatched: what it was made with.
        is_taken: the body has come whole, or its sender has gone.
        refusal: what was raised; a framework between here and the top may have hidden it.
    """

    __slots__ = (
        "_is_streamed",
        "_limits",
        "_size",
        "_waited_s",
        "_window_bytes",
        "is_taken",
        "refusal",
        "unwatched",
    )

    def __init__(self, receive: Receive, limits: BodyLimits, *, is_streamed: bool) -> None:
        self.unwatched = receive
        self._limits = limits
        self._is_streamed = is_streamed
        self._size = 0
        self._waited_s = 0.0
        self._window_bytes = 0
        self.is_taken = False
        self.refusal: errors.GatewayError | None = None

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            errors.BodyTimeout: nothing came for long, or too little.
            errors.TooLarge: a text is too long.
        """
        if self.is_taken:
            return await self.unwatched()
        asked = time.monotonic()
        message = await (self.unwatched() if self._is_streamed else self._next_of_text())
        self._waited_s += time.monotonic() - asked
        if message.get("more_body", False):
            self._check(len(message.get("body", b"")))
        else:
            self.is_taken = True
            self._check_size(len(message.get("body", b"")))
        return message

    async def _next_of_text(self) -> Message:
        try:
            async with asyncio.timeout(self._limits.idle_timeout_s):
                return await self.unwatched()
        except TimeoutError:
            raise self._refused(errors.BodyTimeout()) from None

    def _check(self, size: int) -> None:
        """Look once for every pause that is borne whether enough came in that time."""
        self._check_size(size)
        self._window_bytes += size
        if self._waited_s < self._limits.idle_timeout_s:
            return
        if self._window_bytes < self._limits.min_bytes_per_s * self._waited_s:
            raise self._refused(
                errors.BodyTimeout(
                    f"The body comes slower than {self._limits.min_bytes_per_s} bytes a second"
                )
            )
        self._waited_s, self._window_bytes = 0.0, 0

    def _check_size(self, size: int) -> None:
        self._size += size
        if not self._is_streamed and self._size > MAX_TEXT_BYTES:
            raise self._refused(errors.TooLarge(f"The body is larger than {MAX_TEXT_BYTES} bytes"))

    def _refused(self, error: errors.GatewayError) -> errors.GatewayError:
        self.refusal = error
        return error
