"""Results on their way into files of the staging area: hashed and written beside the event loop.

Where a staged file is only linked to its destination, nobody here reads it again, and its bytes go
past the page cache: that takes half of the processor's time, no memory that grows with what is
written, and leaves the end of a chunk little to wait for.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, Self

from app.batches.staging import create
from app.pipeline import Deidentified
from app.storage.staging_faults import storage_error
from app.storage.threads import GroupedCalls

THREADS: Final = 4
BUFFER_BYTES: Final = 1 << 20
#: Smaller files are better off in the page cache, which brings many of them to the disk at once.
LEAST_DIRECT_BYTES: Final = 64 << 10
# Disks have blocks of 512 or 4,096 bytes.
_BLOCK: Final = 4096


class Writers:
    """Threads that write results, each with a buffer of its own.

    Raises:
        RuntimeError: there may be no more threads.
    """

    def __init__(self) -> None:
        self._threads = _started(ThreadPoolExecutor(THREADS, "staging"))
        self._calls = GroupedCalls(self._threads, is_waited_for=True)
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads, once they have written what they have."""
        self._threads.shutdown()

    async def write(self, done: Deidentified, path: str, *, is_direct: bool) -> bytes:
        """Write one result to a new file and return its SHA-256.

        Its source is in use until this returns, also when the task is cancelled.

        Args:
            done: the result.
            path: where nothing is yet.
            is_direct: whether it may go past the page cache, which the file system need not know.

        Raises:
            StorageUnavailable: it cannot be written.
            InvalidInput, Unavailable: the source does not give all of its bytes any more.
        """
        return await self._calls.run(partial(self.write_here, done, path, is_direct=is_direct))

    def write_here(self, done: Deidentified, path: str, *, is_direct: bool) -> bytes:
        """Do the same in the calling thread, for what would keep others waiting."""
        return write(done, path, self._buffer(), is_direct=is_direct)

    def _buffer(self) -> memoryview:
        """Return the buffer of this thread, which begins where a page does."""
        made: memoryview | None = getattr(self._own, "buffer", None)
        if made is None:
            try:
                made = self._own.buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))
            except OSError:
                raise MemoryError from None
        return made


def _started(threads: ThreadPoolExecutor) -> ThreadPoolExecutor:
    """Start all threads at once: should one be missing later, a file would have to suffer."""
    may_go = threading.Event()
    try:
        for _ in range(THREADS):
            threads.submit(may_go.wait)
    finally:
        may_go.set()
    return threads


def write(done: Deidentified, path: str, buffer: memoryview, *, is_direct: bool) -> bytes:
    """Write one result to a new file and return its SHA-256; every byte is read once for both.

    Args:
        done: the result.
        path: where nothing is yet.
        buffer: whole blocks, beginning at a page.
        is_direct: whether it may go past the page cache.

    Raises:
        StorageUnavailable: it cannot be written.
        InvalidInput, Unavailable: the source does not give all of its bytes any more.
    """
    digest = hashlib.sha256()
    file = _NewFile(path, is_direct=is_direct and done.size >= LEAST_DIRECT_BYTES)
    try:
        try:
            for size in done.fill(buffer):
                piece = buffer[:size]
                digest.update(piece)
                file.append(piece)
        finally:
            file.close()
    except BaseException:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - paths are texts here for the sake of speed
        raise
    return digest.digest()


class _NewFile:
    """A file that is written from its beginning; past the page cache for as long as that goes."""

    def __init__(self, path: str, *, is_direct: bool) -> None:
        self._fd = create(path)
        self._is_direct = False
        if is_direct:
            with suppress(OSError):  # the file system knows no such thing
                fcntl.fcntl(self._fd, fcntl.F_SETFL, os.O_DIRECT)
                self._is_direct = True

    def append(self, piece: memoryview) -> None:
        """Write a piece behind the others; only the last one may end within a block."""
        try:
            if self._is_direct:
                whole = len(piece) // _BLOCK * _BLOCK
                self._write(piece[:whole])
                piece = piece[whole:]
                if piece:
                    self._use_cache()
            self._write(piece)
        except OSError as error:
            raise storage_error(error) from None

    def close(self) -> None:
        """Close it."""
        try:
            os.close(self._fd)
        except OSError as error:  # where a network file system says that it had no room
            raise storage_error(error) from None

    def _write(self, piece: memoryview) -> None:
        while piece:
            try:
                piece = piece[os.write(self._fd, piece) :]
            except OSError as error:
                # Its blocks are larger than ours, or it took a part of one.
                if not self._is_direct or error.errno != errno.EINVAL:
                    raise
                self._use_cache()

    def _use_cache(self) -> None:
        fcntl.fcntl(self._fd, fcntl.F_SETFL, 0)
        self._is_direct = False
