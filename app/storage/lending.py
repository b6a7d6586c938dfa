"""Opening one regular file and lending it; faults of the source are told from faults of ours."""

import errno
import os
import stat
from typing import Final

from app.dicom.source import Source, read_exactly
from app.errors import (
    GatewayError,
    NotARegularFile,
    StorageUnavailable,
    SymbolicLink,
    Truncated,
    UnreadableFile,
)

# O_NONBLOCK: a FIFO that takes the place of a file at the last moment must not block us.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Faults of the moment or of the whole file system, not of one file.
_TEMPORARY: Final = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ESTALE),
        *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH),
        *(errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.EREMOTEIO),
    }
)


class Handle:
    """A file descriptor that is closed when nobody, in whatever thread, refers to it any more."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it now: for who knows that nobody else refers to it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def refusal(error: OSError) -> GatewayError:
    """Say in our words why something of the source cannot be read; its name is not in them."""
    if error.errno in _TEMPORARY:
        return StorageUnavailable("The source does not answer")
    if error.errno == errno.ELOOP:
        return SymbolicLink()
    return UnreadableFile()


def open_regular(name: bytes, directory: int | None = None) -> tuple[int, int]:
    """Open a regular file for reading, relative to an open directory, and return it and its size.

    It is looked at before it is opened, because opening alone can move a tape or wake the other
    end of a FIFO; and again afterwards, because it can be exchanged in between.

    Raises:
        NotARegularFile, SymbolicLink: it is something else.
        UnreadableFile, StorageUnavailable: it cannot be opened.
    """
    try:
        _check(os.stat(name, dir_fd=directory, follow_symlinks=False))
        fd = os.open(name, _FILE, dir_fd=directory)
    except OSError as error:
        raise refusal(error) from None
    try:
        found = os.fstat(fd)
        _check(found)
    except BaseException:
        os.close(fd)
        raise
    return fd, found.st_size


def _check(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise SymbolicLink
    if not stat.S_ISREG(found.st_mode):
        raise NotARegularFile


class LentFile(Source):
    """A stretch of a file that the lender keeps open, as a source.

    Args:
        base: where in the file the source begins.
    """

    __slots__ = ("_base", "_fd", "size")
    size: int

    def __init__(self, fd: int, size: int, base: int = 0) -> None:
        self._fd = fd
        self.size = size
        self._base = base

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``.

        Raises:
            Truncated: there are fewer.
            UnreadableFile, StorageUnavailable: the medium does not give them.
        """
        if offset + size > self.size:
            raise Truncated
        try:
            data = os.pread(self._fd, size, self._base + offset)
            while len(data) < size:  # a signal, or more than the kernel gives at once
                more = os.pread(self._fd, size - len(data), self._base + offset + len(data))
                if not more:
                    raise Truncated
                data += more
        except OSError as error:
            raise refusal(error) from None
        return data

    def view(self, offset: int, size: int) -> bytes:
        """Return the bytes, read from the file."""
        return self.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``; errors as for ``read``."""
        if offset + len(target) > self.size:
            raise Truncated
        try:
            read_exactly(self._fd, self._base + offset, target)
        except OSError as error:
            raise refusal(error) from None
