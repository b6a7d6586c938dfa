"""uvicorn's HTTP protocol with what it lacks: bounds on what a connection may cost.

Without them anybody who reaches the port could make the process hold headers of any size,
connections that never finish asking or never read their answer, or any number of connections.
And answers that take long by their nature get word that the server stops, so that they end in time.
"""

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import errors, telemetry
from app.api import problems
from app.api.answer_headers import secured
from app.api.stopping import STOPPING

HEAD_BYTES: Final = 64 << 10
HEAD_TIMEOUT_S: Final = 30.0
# A connection too many hears why and is closed after so long: closed at once, it would lose that.
PARTING_S: Final = 2.0

# Of connections that are refused the log tells once in so long.
_TOLD_EVERY_S: Final = 10.0
_OVERLOADED: Final = problems.of_error(errors.Overloaded("Too many connections"))


class BoundedProtocol(HttpToolsProtocol):
    """Takes heads of at most 64 KiB that arrive within half a minute, and cuts slow readers.

    Attributes:
        max_connections: further ones hear 503.
        reading_timeout_s: time in which a reader must take something of its answer.
        min_bytes_per_s: how much of it, at least.
        told_at: when the log told last of refused connections.
    """

    head_bytes: int = HEAD_BYTES
    head_timeout_s: float = HEAD_TIMEOUT_S
    max_connections: int = 1000
    reading_timeout_s: float = 60.0
    min_bytes_per_s: int = 1024
    told_at: ClassVar[float] = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **options)
        self._is_in_head = True
        self._is_parting = False
        self._held_bytes = 0
        self._unsent_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first head, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._part()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and cut a head that does not end."""
        if self._is_parting:
            return
        super().data_received(data)
        if self._is_in_head:
            self._held_bytes += len(data)
            if self._held_bytes > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large")

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in the form of every other refusal."""
        self._say(problems.of_error(errors.InvalidRequest(msg.rstrip("."))))
        self.transport.close()
        self._watch_reader()

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

    def on_response_complete(self) -> None:
        """Let a connection that is to be closed not wait for its reader for ever."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reader()

    def pause_writing(self) -> None:
        """Watch the reader from now on."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop watching: the reader has taken what it was sent."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_watching()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose answer nobody has read is cut."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Tell the running answer that the server stops."""
        self._stopping.set()
        super().shutdown()

    def _part(self) -> None:
        """Refuse the connection. Far beyond the bound nobody is told why any more."""
        self._is_parting = True
        self._tell()
        if len(self.connections) > 2 * self.max_connections:
            self.transport.abort()
            return
        self._say(_OVERLOADED)
        self._deadline = self.loop.call_later(PARTING_S, self._give_up)

    def _tell(self) -> None:
        """Put into the log that connections are refused; once for many."""
        now, kind = time.monotonic(), type(self)
        if now >= kind.told_at + _TOLD_EVERY_S or not kind.told_at:
            kind.told_at = now
            telemetry.log().warning("connections-refused", count=len(self.connections))

    def _say(self, problem: problems.Problem) -> None:
        """Write a whole answer, past the application."""
        body = json.dumps(problem.document(telemetry.new_request_id())).encode()
        headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *problem.headers,
            *self.server_state.default_headers,
        ]
        lines = [
            b"%s: %s\r\n" % header for header in secured(headers, is_tls=self.scheme == "https")
        ]
        start = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
        self.transport.write(b"".join([start, *lines, b"\r\n", body]))

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
            self._watch_reader()

    def _watch_reader(self) -> None:
        self._stop_watching()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.reading_timeout_s, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """Cut a reader who took too little since the last look."""
        self._reading = None
        taken = self._unsent_bytes - self.transport.get_write_buffer_size()
        if taken < self.min_bytes_per_s * self.reading_timeout_s:
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
