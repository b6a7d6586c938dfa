"""Worker processes beside this one: starts them, replaces those that end, stops them all.

What a worker process does is in ``working``; what is said between the two is in ``lifeline``.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self, cast
from uuid import UUID

from pydantic import SecretStr

from app import errors, telemetry
from app.cli import lifeline
from app.cli.worker_counts import WorkerCounts
from app.settings import Settings

# The child finds the program where its parent found it, whatever directory it is started in.
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from app.cli import main; main(sys.argv[1:])"
)
# Longer than what a process tells at once.
LINE_BYTES: Final = 1 << 20
_CLOSES_S: Final = 1.0
OnDeath = Callable[[UUID], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Times of the supervision, in seconds.

    Attributes:
        grace_s: what the processes get to finish when they are stopped.
        silent_after_s: a process that says nothing for so long hangs, and is killed.
        again_s: pause after a process that had joined; it grows while they die young.
        longest_again_s: the longest such pause. One poison object after another kills its worker,
            and is reported after a handful of deaths: the pause must not make that hours.
        failed_s: pause after a process that could not even join; it doubles.
        longest_failed_s: the longest such pause.
        young_s: age below which a death counts as one of a row.
    """

    grace_s: float = 30.0
    silent_after_s: float = 60.0
    again_s: float = 0.1
    longest_again_s: float = 2.0
    failed_s: float = 0.5
    longest_failed_s: float = 30.0
    young_s: float = 10.0


def command() -> Sequence[str]:
    """Return the command of one worker process."""
    return (
        *(sys.executable, "-P", "-c", _START, json.dumps(sys.path)),
        *("worker", "--one"),
    )


class Workers:
    """So many worker processes, each replaced when it ends, whatever it ended of.

    An asynchronous context manager; the processes are children of the thread that enters it, which
    has to live as long as they do: the kernel kills them with it.

    Args:
        settings: what the processes work by.
        count: how many.
        on_death: is told the id of a worker that is no more, so that what it held is given to
            others at once and not after the time that a silent worker gets.
        rhythm: times.
        start: command of one process.

    Attributes:
        counts: what the processes have counted, for metrics.
    """

    def __init__(
        self,
        settings: Settings,
        count: int,
        *,
        on_death: OnDeath,
        rhythm: Rhythm | None = None,
        start: Sequence[str] | None = None,
    ) -> None:
        self._order = lifeline.order_of(_plain(settings))
        self._count = count
        self._on_death = on_death
        self._rhythm = rhythm or Rhythm(grace_s=settings.shutdown_grace_s)
        self._command = start or command()
        self._children: set[_Child] = set()
        self._places: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.counts = WorkerCounts()

    async def __aenter__(self) -> Self:
        self._places = [asyncio.create_task(self._fill_place()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let the processes finish what they hold, for so long as they may; then kill them."""
        self._stopping.set()
        for child in self._children:
            child.terminate()
        if self._places:
            try:
                await asyncio.wait(self._places, timeout=self._rhythm.grace_s)
            finally:
                self.kill()
                await asyncio.wait(self._places)

    def kill(self) -> None:
        """Wait for nobody; what the processes held is done again."""
        self._stopping.set()
        for child in self._children:
            child.kill()

    @property
    def pids(self) -> Sequence[int]:
        """The processes that run now."""
        return [child.pid for child in self._children]

    async def _fill_place(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            try:
                ended = await self._run_one()
            except Exception as error:  # noqa: BLE001 - no memory, no process: the place stays
                kind, where = type(error).__name__, telemetry.place_of(error)
                telemetry.log().error("worker-not-started", kind=kind, where=where)
                ended = _Ended(has_joined=False, age_s=0)
            pause_s = self._pause_after(ended, pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _pause_after(self, ended: "_Ended", before_s: float) -> float:
        rhythm = self._rhythm
        if not ended.has_joined:
            return min(max(2 * before_s, rhythm.failed_s), rhythm.longest_failed_s)
        if ended.age_s >= rhythm.young_s:
            return rhythm.again_s
        return min(max(2 * before_s, rhythm.again_s), rhythm.longest_again_s)

    async def _run_one(self) -> "_Ended":
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            # A session of its own: Ctrl-C is for this process, which stops its children itself.
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
            limit=LINE_BYTES,
        )
        child = _Child(process, self.counts)
        self._children.add(child)
        try:
            await self._accompany(child)
        finally:
            child.kill()
            self._children.discard(child)
        if child.worker is not None:
            self.counts.ended(child.worker)
            await self._report(child.worker)
        age_s = time.monotonic() - began
        if not self._stopping.is_set():
            telemetry.log().warning(
                "worker-ended", status=process.returncode, duration_ms=round(1000 * age_s)
            )
        return _Ended(has_joined=child.worker is not None, age_s=age_s)

    async def _accompany(self, child: "_Child") -> None:
        if self._stopping.is_set():
            child.terminate()
        await child.give(self._order)
        await child.listen(self._rhythm.silent_after_s)
        await child.wait()

    async def _report(self, worker: UUID) -> None:
        try:
            await self._on_death(worker)
        except errors.GatewayError as error:  # its silence will tell, a little later
            telemetry.log().warning("worker-not-reported", code=error.code)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a worker process ended."""

    has_joined: bool
    age_s: float


class _Child:
    """The parent's end of the lifeline of one process."""

    def __init__(self, process: Process, counts: WorkerCounts) -> None:
        self._process = process
        self._counts = counts
        self._input = cast("asyncio.StreamWriter", process.stdin)
        self._output = cast("asyncio.StreamReader", process.stdout)
        self.worker: UUID | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def give(self, order: bytes) -> None:
        with suppress(ConnectionError, RuntimeError):  # it ended at once; uvloop's word for it
            self._input.write(order)
            await self._input.drain()

    async def listen(self, silent_after_s: float) -> None:
        """Follow what the process says until it ends; kill it when it says nothing any more."""
        while line := await self._next_line(silent_after_s):
            if line.startswith(lifeline.JOINED):
                self.worker = UUID(line.removeprefix(lifeline.JOINED).decode().strip())
                self._counts.begun(self.worker)
            elif line.startswith(lifeline.COUNTED) and self.worker is not None:
                self._counts.told(self.worker, json.loads(line.removeprefix(lifeline.COUNTED)))

    async def wait(self) -> None:
        await self._process.wait()
        self._input.close()
        # An order that nobody read any more is told here; early releases of 3.11 log it otherwise.
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._input.wait_closed(), _CLOSES_S)

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _next_line(self, silent_after_s: float) -> bytes:
        # The second look is for a parent that slept itself: it finds what was said meanwhile.
        for patience_s in (silent_after_s, 1.0):
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._output.readline(), patience_s)
        telemetry.log().error("worker-hangs")
        self.kill()
        return b""


def _plain(settings: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings.model_dump(), default=_plain_value))
    return plain


def _plain_value(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return sorted(value) if isinstance(value, frozenset) else str(value)
