"""The HTTP client of the measurements, a process of its own: as lean as Python allows.

The same code sends to the gateway and to Orthanc. One connection per client, kept alive; every
object sent is a new SOP Instance. Told on standard input what to do, it prints a line when the
measured time begins and one with the figures when it ends.
"""

import asyncio
import itertools
import json
import mmap
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.report import quantile

Buffer = bytes | memoryview
_HEAD_BYTES = 64 << 10
_PIECE_BYTES = 1 << 20
_KEPT_BODY_BYTES = 64 << 10
_SERIAL_DIGITS = 10
_TIMEOUT_S = 120


@dataclass(slots=True)
class Job:
    """What is sent where.

    Attributes:
        kind: ``gateway``, ``orthanc`` or ``orthanc-delete``.
        serial: the first number of the made-up SOP Instances.
        count: so many objects instead of so many seconds, when it is not 0.
    """

    kind: str
    port: int
    token: str
    clients: int
    seconds: float
    warm_up_s: float
    files: list[str]
    serial: int
    count: int = 0


@dataclass(slots=True)
class Answer:
    """One answer; its body only where it is short."""

    status: int
    size: int
    body: bytes


@dataclass(slots=True)
class Figures:
    """What was counted while the clock ran."""

    latencies: list[float] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    received: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class Connection(asyncio.BufferedProtocol):
    """One connection that answers one request at a time; bodies are counted, not kept."""

    def __init__(self) -> None:
        self._space = bytearray(1 << 20)
        self._head = bytearray()
        self._body = bytearray()
        self._missing = -1
        self._answer = Answer(0, 0, b"")
        self._done: asyncio.Future[Answer] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.is_closing = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class
        self.transport.set_write_buffer_limits(high=4 * _PIECE_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closing = True
        self._writable.set()
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("closed by the server"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol's signature
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing < 0:
            self._head += memoryview(self._space)[:nbytes]
            self._take_head()
            return
        self._take_body(memoryview(self._space)[:nbytes])

    async def ask(self, head: bytes, body: Sequence[Buffer]) -> Answer:
        """Send one request and wait for the whole answer."""
        if self.transport is None or self.is_closing:
            raise ConnectionResetError("not connected")
        self._done = asyncio.get_running_loop().create_future()
        if sum(map(len, body)) <= 4 * _PIECE_BYTES:
            self.transport.writelines([head, *body])
        else:
            self.transport.write(head)
            await self._write_pieces(body)
        async with asyncio.timeout(_TIMEOUT_S):
            return await self._done

    async def _write_pieces(self, body: Sequence[Buffer]) -> None:
        for part in body:
            view = memoryview(part)
            for start in range(0, len(view), _PIECE_BYTES):
                if self.transport is None or self.is_closing:
                    raise ConnectionResetError("closed while sending")
                self.transport.write(view[start : start + _PIECE_BYTES])
                await self._writable.wait()

    def _take_head(self) -> None:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self._head[:end]).lower().split(b"\r\n")
        rest = bytes(self._head[end + 4 :])
        self._head.clear()
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        status = int(lines[0].split(b" ")[1])
        if fields.get(b"connection") == b"close":
            self.is_closing = True
        if b"content-length" not in fields:
            raise ValueError("an answer without Content-Length")
        size = int(fields[b"content-length"])
        self._answer = Answer(status, size, b"")
        self._missing = size
        self._body.clear()
        self._take_body(memoryview(rest))

    def _take_body(self, data: memoryview) -> None:
        self._missing -= len(data)
        if self._answer.size <= _KEPT_BODY_BYTES:
            self._body += data
        if self._missing <= 0:
            self._missing = -1
            self._answer.body = bytes(self._body)
            if self._done is not None and not self._done.done():
                self._done.set_result(self._answer)


class Line:
    """A connection that is made anew where the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    async def ask(self, head: bytes, body: Sequence[Buffer] = ()) -> Answer:
        """Send one request."""
        if self._connection is None or self._connection.is_closing:
            self.close()
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(
                Connection, host="127.0.0.1", port=self._port
            )
        return await self._connection.ask(head, body)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.close()
        self._connection = None


class Objects:
    """Objects to send, each time under a new SOP Instance UID."""

    def __init__(self, files: Sequence[str], serial: int) -> None:
        self._parts = [_opened(Path(name)) for name in files]
        self._numbers = itertools.count(serial)

    def next(self) -> list[Buffer]:
        """Return one object in parts."""
        number = next(self._numbers)
        head, uid, rest = self._parts[number % len(self._parts)]
        fresh = uid[:-_SERIAL_DIGITS] + str(number).zfill(_SERIAL_DIGITS).encode()
        return [head.replace(uid, fresh), rest]


def _opened(path: Path) -> tuple[bytes, bytes, memoryview]:
    """Return an object's beginning, its SOP Instance UID, and the rest."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head = bytes(data[:_HEAD_BYTES])
    place = head.index(b"\x02\x00\x03\x00UI") + 8
    length = int.from_bytes(head[place - 2 : place], "little")
    return head, head[place : place + length].rstrip(b"\0"), data[len(head) :]


class Sender:
    """Sends objects the way one kind of server wants it."""

    def __init__(self, job: Job, objects: Objects) -> None:
        self._job = job
        self._objects = objects
        self._authorization = f"Authorization: Bearer {job.token}\r\n" if job.token else ""

    async def send(self, line: Line, figures: Figures) -> None:
        """Send one object and read its de-identified form."""
        body = self._objects.next()
        if self._job.kind == "gateway":
            answer = await self._step(line, figures, "POST /anonymize-stream", body)
        else:
            answer = await self._through_orthanc(line, figures, body)
        figures.received += answer.size

    async def _through_orthanc(
        self, line: Line, figures: Figures, body: Sequence[Buffer]
    ) -> Answer:
        stored = await self._step(line, figures, "POST /instances", body)
        place = f"/instances/{json.loads(stored.body)['ID']}"
        answer = await self._step(line, figures, f"POST {place}/anonymize", [b"{}"])
        if self._job.kind == "orthanc-delete":
            await self._step(line, figures, f"DELETE {place}", [])
        return answer

    async def _step(
        self, line: Line, figures: Figures, what: str, body: Sequence[Buffer]
    ) -> Answer:
        size = sum(map(len, body))
        head = (
            f"{what} HTTP/1.1\r\nHost: 127.0.0.1:{self._job.port}\r\n{self._authorization}"
            f"Content-Type: application/dicom\r\nContent-Length: {size}\r\n\r\n"
        )
        started = time.perf_counter()
        answer = await line.ask(head.encode(), body)
        name = re.sub(r"/[0-9a-f-]{40,}", "/{id}", what)
        figures.steps[name] = figures.steps.get(name, 0.0) + time.perf_counter() - started
        if answer.status != 200:
            raise ConnectionError(f"status {answer.status}")
        return answer


class Run:
    """All clients of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._figures = Figures()
        self._is_over = False
        self._sent = 0

    async def run(self) -> dict[str, Any]:
        """Send from all clients at once; return the figures of the measured time."""
        job = self._job
        sender = Sender(job, Objects(job.files, job.serial))
        async with self._lines() as lines:
            tasks = [asyncio.create_task(self._client(sender, line)) for line in lines]
            await asyncio.sleep(job.warm_up_s)
            cpu, started = time.process_time(), time.perf_counter()
            measured = self._figures = Figures()
            print(json.dumps({"begun": True}), flush=True)
            if job.count:
                await asyncio.gather(*tasks)
            else:
                await asyncio.sleep(job.seconds)
            seconds = time.perf_counter() - started
            self._is_over, self._figures = True, Figures()
            said = _summed_up(measured, seconds, time.process_time() - cpu)
            print(json.dumps(said), flush=True)
            await asyncio.gather(*tasks)
        return said

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[list[Line]]:
        lines = [Line(self._job.port) for _ in range(self._job.clients)]
        try:
            yield lines
        finally:
            for line in lines:
                line.close()

    async def _client(self, sender: Sender, line: Line) -> None:
        while not self._is_over and not (self._job.count and self._sent >= self._job.count):
            self._sent += 1
            started = time.perf_counter()
            try:
                await sender.send(line, self._figures)
            except (OSError, ValueError, TimeoutError) as error:
                line.close()
                name = str(error) or type(error).__name__
                self._figures.failures[name] = self._figures.failures.get(name, 0) + 1
                await asyncio.sleep(0.05)
            else:
                self._figures.latencies.append(time.perf_counter() - started)


def _summed_up(figures: Figures, seconds: float, cpu_s: float) -> dict[str, Any]:
    latencies = sorted(figures.latencies) or [0.0]
    count = len(figures.latencies)
    return {
        "objects": count,
        "seconds": seconds,
        "rate": count / seconds,
        "received": figures.received,
        "p50_ms": quantile(latencies, 0.50) * 1e3,
        "p99_ms": quantile(latencies, 0.99) * 1e3,
        "steps_ms": {name: s / max(count, 1) * 1e3 for name, s in figures.steps.items()},
        "client_cpu_s": cpu_s,
        "failures": figures.failures,
    }


def jobs() -> Iterator[Job]:
    """Read jobs, one in a line."""
    for line in sys.stdin:
        yield Job(**json.loads(line))


def main() -> None:
    """Do the jobs one after the other."""
    for job in jobs():
        uvloop.run(Run(job).run())


if __name__ == "__main__":
    main()
