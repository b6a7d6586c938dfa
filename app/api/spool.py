"""Request bodies: taken whole before the answer starts, in memory or in a nameless spool file.

Small bodies stay in memory; larger ones go to a file that has no name, so that nothing is left
to read after a crash or a disconnect. What the bytes mean is not known here.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

from starlette.types import Receive

from app import errors
from app.dicom.source import FileSource, MemorySource, Source
from app.storage.nameless import open_nameless

WRITE_BYTES: Final = 1 << 20
# Below IOV_MAX, and small enough that a body sent byte by byte costs little more than its size.
_PIECES_PER_BLOCK: Final = 256

T = TypeVar("T")
Bytes: TypeAlias = bytes | memoryview


class Disconnected(Exception):
    """The caller went away before the body was complete; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds on one body; see the settings of the same names."""

    max_bytes: int
    memory_bytes: int
    inline_bytes: int
    idle_timeout_s: float
    min_bytes_per_s: int = 0


async def in_thread(executor: Executor, call: Callable[[], T]) -> T:
    """Run a blocking call in a thread and stay until it has ended, even when cancelled.

    The calls use file descriptors that the caller closes afterwards; leaving early would let a
    thread write into whatever file gets the number next.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


class Body:
    """One body being received; leaving the ``with`` block releases whatever holds it."""

    __slots__ = (
        "_blocks",
        "_directory",
        "_executor",
        "_fd",
        "_limits",
        "_pending_bytes",
        "_pieces",
        "size",
    )

    def __init__(self, limits: BodyLimits, directory: Path, executor: Executor) -> None:
        self.size = 0
        self._limits = limits
        self._directory = directory
        self._executor = executor
        self._pieces: list[Bytes] = []
        self._blocks: list[Bytes] = []
        self._pending_bytes = 0
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._pieces, self._blocks = [], []
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def is_spooled(self) -> bool:
        """Whether the body lies in a file."""
        return self._fd is not None

    def add(self, piece: Bytes) -> None:
        """Take the next bytes.

        Raises:
            errors.TooLarge: the body passes ``max_bytes``.
        """
        self.size += len(piece)
        if self.size > self._limits.max_bytes:
            raise too_large(self._limits)
        self._pieces.append(piece)
        self._pending_bytes += len(piece)
        if len(self._pieces) >= _PIECES_PER_BLOCK:
            self._blocks.append(b"".join(self._pieces))
            self._pieces = []

    async def settle(self) -> None:
        """Write what is pending to the spool once it is too much for memory."""
        if self._fd is None:
            if self.size > self._limits.memory_bytes:
                self._fd = open_nameless(self._directory)
                await self._write()
        elif self._pending_bytes >= WRITE_BYTES:
            await self._write()

    async def source(self) -> Source:
        """Close the intake and return the bytes; valid inside the ``with`` block."""
        if self._fd is None:
            pieces = [*self._blocks, *self._pieces]
            self._pieces, self._blocks = [], []
            only = pieces[0] if len(pieces) == 1 else None
            return MemorySource(only if isinstance(only, bytes) else b"".join(pieces))
        await self._write()
        return FileSource(self._fd, self.size)

    async def _write(self) -> None:
        fd, pieces = self._fd, [*self._blocks, *self._pieces]
        self._pieces, self._blocks, self._pending_bytes = [], [], 0
        if fd is not None and pieces:
            await in_thread(self._executor, lambda: _write_all(fd, pieces))


async def next_piece(receive: Receive, limits: BodyLimits) -> tuple[bytes, bool]:
    """Wait for the next bytes of the request and whether more follow.

    Raises:
        errors.BodyTimeout: nothing came for the allowed time.
        Disconnected: the caller went away.
    """
    try:
        async with asyncio.timeout(limits.idle_timeout_s):
            message = await receive()
    except TimeoutError:
        raise errors.BodyTimeout from None
    if message["type"] != "http.request":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


async def receive_raw(receive: Receive, body: Body, limits: BodyLimits) -> None:
    """Take a request whose body is the object itself."""
    more = True
    while more:
        piece, more = await next_piece(receive, limits)
        if piece:
            body.add(piece)
            await body.settle()


def too_large(limits: BodyLimits) -> errors.TooLarge:
    """Say how large a body may be."""
    return errors.TooLarge(f"The body is larger than {limits.max_bytes} bytes")


def prepare_directory(directory: Path) -> None:
    """Make the spool directory, for the owner alone.

    Raises:
        errors.Misconfigured: it belongs to somebody else or cannot be made private.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat(follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise errors.Misconfigured(
                "The spool directory must be a directory of the gateway's own user"
            )
        directory.chmod(0o700)
    except OSError:
        raise errors.Misconfigured("The spool directory cannot be made") from None


def _write_all(fd: int, pieces: list[Bytes]) -> None:
    try:
        for first in range(0, len(pieces), _PIECES_PER_BLOCK):
            _write_vector(fd, pieces[first : first + _PIECES_PER_BLOCK])
    except OSError:
        raise errors.StorageUnavailable("The spool is full or cannot be written") from None


def _write_vector(fd: int, pieces: list[Bytes]) -> None:
    rest = [memoryview(piece) for piece in pieces]
    while rest:
        written = os.writev(fd, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if rest and written:
            rest[0] = rest[0][written:]
