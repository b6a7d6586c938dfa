"""Pools of child processes for what opens pixels or documents.

Images are hostile, and their decoders are large: the serving process opens none. A child that
crashes, hangs or takes too much memory is killed and the object is refused; the next task gets a
new one. No import of a decoder happens here.

A pool belongs to no event loop: every ask occupies one thread of the pool's own, so a pool may be
used from several loops and threads, one after the other or at the same time. It is not shared
across a fork.
"""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.errors import PixelWorkFailed, ResourcesUnavailable
from app.pixels.child import receive, send
from app.telemetry import log

_ROOT: Final = str(Path(__file__).resolve().parents[2])
COMMAND: Final = (sys.executable, "-P", "-m", "app.pixels.child")
QUICK_MEMORY: Final = 1 << 30
OCR_MEMORY: Final = 2 << 30
_MAX_TASKS = 2000  # then a child is replaced: what its libraries lost comes back
_EXIT_S = 5.0
# What the system says of want that passes: of descriptors here, in transit and everywhere, of
# processes and of memory. No object is to blame for it.
_SCARCE: Final = frozenset(
    {
        errno.EMFILE,
        errno.ETOOMANYREFS,
        errno.ENFILE,
        errno.EAGAIN,
        errno.ENOMEM,
        errno.ENOBUFS,
    }
)


@dataclass(slots=True, eq=False)
class _Child:
    """One process and the socket to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    tasks: int = 0

    def kill(self) -> None:
        """End the process at once and collect it; may be called from any thread, repeatedly."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_EXIT_S)

    def close(self) -> None:
        """Kill the process and give the socket back; only by the thread that uses it."""
        self.kill()
        self.channel.close()


class _WentIdleError(Exception):
    """The child had ended by itself before the task reached it."""


@dataclass(slots=True, eq=False)
class _Job:
    """One ask on its way; ``abandon`` is called by another thread than ``run``."""

    task: dict[str, Any]
    fds: tuple[int, ...]
    timeout_s: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _child: _Child | None = None
    is_abandoned: bool = False

    def take(self, child: _Child) -> None:
        """Remember the child that works on this; raise where nobody waits any more."""
        with self._lock:
            if self.is_abandoned:
                raise PixelWorkFailed("closed")
            self._child = child

    def leave(self) -> None:
        """Forget the child: it goes back to the pool."""
        with self._lock:
            self._child = None

    def abandon(self) -> None:
        """Kill the child that works on this."""
        with self._lock:
            self.is_abandoned = True
            if self._child is not None:
                self._child.process.kill()

    def close(self, _: Future[Any] | None = None) -> None:
        """Close the copies of the descriptors."""
        fds, self.fds = self.fds, ()
        for fd in fds:
            os.close(fd)


class Children:
    """A pool of child processes, started when they are needed.

    Args:
        size: number of processes, and so of tasks at the same time; further ones wait in line.
        memory_bytes: bound of each process for what it allocates; 0 for none.
        command: what starts a child; four arguments are added.
        niceness: how much the processes stand back behind others.
        idle_s: after this time without a task a process ends and gives its memory back.
    """

    def __init__(
        self,
        *,
        size: int,
        memory_bytes: int = QUICK_MEMORY,
        command: Sequence[str] | None = None,
        niceness: int = 0,
        idle_s: float = 300.0,
    ) -> None:
        self._command = tuple(command or COMMAND)
        self._bounds = (str(memory_bytes), str(niceness), str(idle_s))
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="pixels")
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._jobs: set[_Job] = set()
        self._is_closed = False

    async def ask(
        self, task: dict[str, Any], fds: Iterable[int] = (), timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """Have a child do one task; its answer comes back as it is.

        Args:
            task: JSON with "kind", as ``child.HANDLERS`` names it.
            fds: open descriptors that the child gets copies of; the caller's stay its own.
            timeout_s: how long the work may take; waiting for a free child does not count.

        Raises:
            PixelWorkFailed: the child crashed, hung, took too much memory or raised; its
                ``reason`` says which.
            ResourcesUnavailable: this process has no descriptors, threads or memory for it now.
        """
        job = _Job(dict(task), _copies(fds), timeout_s)
        future = self._submitted(job)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            job.abandon()
            raise
        except PixelWorkFailed as failure:
            log().warning(
                "pixels.work_failed",
                kind=str(task.get("kind")),
                code=failure.reason,
                where=failure.where,
            )
            raise
        finally:
            with self._lock:
                self._jobs.discard(job)

    def _submitted(self, job: _Job) -> "Future[dict[str, Any]]":
        with self._lock:
            if self._is_closed:
                job.close()
                raise PixelWorkFailed("closed")
            try:
                future = self._threads.submit(self._run, job)
            except RuntimeError:  # no thread can be started; one that runs may find the job yet
                job.abandon()
                job.close()
                raise ResourcesUnavailable from None
            self._jobs.add(job)
        future.add_done_callback(job.close)
        return future

    def close(self) -> None:
        """Kill all processes; what is under way fails with the reason ``closed``."""
        with self._lock:
            self._is_closed = True
            jobs, idle, self._idle = list(self._jobs), self._idle, []
        for job in jobs:
            job.abandon()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in (*idle, *self._idle):
            child.close()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, job: _Job) -> dict[str, Any]:
        """Do one task in a thread of the pool; a child that had gone idle is replaced once."""
        try:
            return self._try(job, self._take())
        except _WentIdleError:
            return self._try(job, self._start())

    def _try(self, job: _Job, child: _Child) -> dict[str, Any]:
        is_whole = False
        try:
            job.take(child)
            reply = _exchange(child, job)
            is_whole = "answer" in reply
        finally:
            job.leave()
            self._give_back(child, is_whole=is_whole)
        if not is_whole:
            raise PixelWorkFailed(
                str(reply.get("failed", "failed")), where=str(reply.get("where", ""))
            )
        answer: dict[str, Any] = reply["answer"]
        return answer

    def _take(self) -> _Child:
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return self._start()
            if child.process.poll() is None:
                return child
            child.close()  # it went idle, or something ended it

    def _give_back(self, child: _Child, *, is_whole: bool) -> None:
        """Keep a child for the next task, or end one of which nobody knows the state."""
        child.tasks += 1
        if is_whole and child.tasks < _MAX_TASKS:
            with self._lock:
                if not self._is_closed:
                    self._idle.append(child)
                    return
        child.close()

    def _start(self) -> _Child:
        with _want_told():
            ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - the command is this program
                    (*self._command, str(theirs.fileno()), *self._bounds),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # what decoders print may quote the image
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                    env=_ENVIRONMENT,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                if error.errno in _SCARCE:
                    raise ResourcesUnavailable from None
                raise PixelWorkFailed("not-started") from None
        return _Child(process, ours)


# Nothing is inherited: settings and secrets of the gateway are not for a process that opens images.
_ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONPATH": _ROOT,
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


@contextmanager
def _want_told() -> Iterator[None]:
    """Tell want that passes from all else.

    Raises:
        ResourcesUnavailable: there is something too little now.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _SCARCE:
            raise ResourcesUnavailable from None
        raise


def _copies(fds: Iterable[int]) -> tuple[int, ...]:
    """Return copies of descriptors: all of them, or none.

    Raises:
        ResourcesUnavailable: there are no descriptors left for them.
    """
    copies: list[int] = []
    try:
        with _want_told():
            for fd in fds:
                copies.append(os.dup(fd))  # noqa: PERF401 - those made so far are closed again
    except BaseException:
        for copy in copies:
            os.close(copy)
        raise
    return tuple(copies)


def _exchange(child: _Child, job: _Job) -> dict[str, Any]:
    """Send a task and wait for the reply; whatever keeps it from coming has a word."""
    deadline = time.monotonic() + job.timeout_s
    try:
        child.channel.settimeout(max(job.timeout_s, 0.001))
        send(child.channel, job.task, job.fds)
        data, _ = receive(child.channel, deadline=deadline)
    except TimeoutError:
        raise PixelWorkFailed("timed-out") from None
    except OverflowError:
        raise PixelWorkFailed("message-too-large") from None
    except OSError as error:
        if error.errno in _SCARCE:
            raise ResourcesUnavailable from None
        data = b""
    if data:
        return _read(data)
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(_EXIT_S)
    if job.is_abandoned:
        raise PixelWorkFailed("closed")
    if child.tasks and child.process.returncode == 0:
        raise _WentIdleError
    raise PixelWorkFailed("crashed")


def _read(data: bytes) -> dict[str, Any]:
    """Read a reply; a child that a hostile image has taken over may send anything."""
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or not isinstance(reply.get("answer", {}), dict):
        raise PixelWorkFailed("crashed")
    return reply
