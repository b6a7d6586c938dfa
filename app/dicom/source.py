"""Random access to the bytes of one SOP Instance, wherever they rest.

A source never grows and is never written; who opened a file closes it.
"""

import os
from typing import Protocol

from app.errors import Truncated


class Source(Protocol):
    """Bytes that can be read at any place.

    Attributes:
        size: length in bytes.
    """

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``; raise Truncated when there are fewer."""

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return the same bytes without a copy where that is possible."""

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``."""


class MemorySource:
    """A source over bytes that are already in memory."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``."""
        if offset + size > self.size:
            raise Truncated
        if offset == 0 and size == self.size:
            return self.data
        return self.data[offset : offset + size]

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return a view of the bytes."""
        if offset + size > self.size:
            raise Truncated
        return memoryview(self.data)[offset : offset + size]

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``."""
        target[:] = self.view(offset, len(target))


class FileSource:
    """A source over a regular file that the caller keeps open."""

    __slots__ = ("fd", "size")

    def __init__(self, fd: int, size: int | None = None) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size if size is None else size

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``."""
        data = os.pread(self.fd, size, offset)
        if len(data) == size:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and parts[-1]:
            parts.append(os.pread(self.fd, missing, offset + size - missing))
            missing -= len(parts[-1])
        if missing:
            raise Truncated
        return b"".join(parts)

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return the bytes, read from the file."""
        return self.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``."""
        read_exactly(self.fd, offset, target)


def read_exactly(fd: int, offset: int, target: memoryview) -> None:
    """Fill ``target`` from a file; raise Truncated where it ends before."""
    while target:
        size = os.preadv(fd, [target], offset)
        if not size:
            raise Truncated
        target, offset = target[size:], offset + size


def write_all(target: int, data: bytes | memoryview) -> None:
    """Write every byte of ``data`` to the file descriptor ``target``."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
