"""uvicorn's HTTP protocol with two things that it lacks.

Bounds on the head of a request: without them anybody who reaches the port could make the process
hold headers of any size, or connections that never finish asking. And word to answers that take
long by their nature that the server stops, so that they end in time.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 << 10
HEAD_TIMEOUT_S: Final = 30.0
# Where a request's state holds the event that is set when the server stops.
STOPPING: Final = "stopping"


class BoundedProtocol(HttpToolsProtocol):
    """Takes heads of at most 64 KiB that arrive within half a minute."""

    head_bytes: int = HEAD_BYTES
    head_timeout_s: float = HEAD_TIMEOUT_S

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **options)
        self._is_in_head = True
        self._held_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and cut a head that does not end."""
        super().data_received(data)
        if self._is_in_head:
            self._held_bytes += len(data)
            if self._held_bytes > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Begin the next head."""
        super().on_message_begin()
        self.scope["state"][STOPPING] = self._stopping
        self._is_in_head, self._held_bytes = True, 0
        if self._deadline is None:
            self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count every header, those that trail a body as well."""
        self._held_bytes += len(name) + len(value)
        if self._held_bytes > self.head_bytes:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """Tell the running answer that the server stops."""
        self._stopping.set()
        super().shutdown()

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
