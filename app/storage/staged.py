"""Files that wait in the staging area to be published, and names under which they may be."""

import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from app import errors

READ_BYTES: Final = 1 << 20
# Pseudonyms, UIDs and our own file names; nothing that a path, a URL or a shell could misread.
_NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]+(/(?!\.)[A-Za-z0-9._-]+)*")
_MAX_NAME: Final = 900
_GONE: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR})


class StagedFileDamaged(errors.StorageUnavailable):
    """The staged file is gone or is not what was staged: publishing it again cannot help."""

    title = "A staged file is gone or damaged"


def check_name(name: str) -> str:
    """Return the name when an object may be published under it.

    Raises:
        DestinationRefused: it is empty, too long, or has a part that begins with a dot or holds
            other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise errors.DestinationRefused("An object cannot be published under such a name")
    return name


class StagedFile:
    """One open staged file. Closing it waits for a read that is under way in another thread."""

    def __init__(self, path: Path, size: int, sha256: bytes) -> None:
        """Open the file; no link is followed.

        Raises:
            StagedFileDamaged: it is gone, no regular file, or of another size.
            StorageUnavailable: it cannot be opened now.
        """
        self.path = path
        self.size = size
        self.sha256 = sha256
        self._lock = threading.Lock()
        self._is_closed = True
        self.fd = self._open()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly these bytes.

        Raises:
            StagedFileDamaged: the file ends before.
            StorageUnavailable: it cannot be read now, or was closed.
        """
        with self._lock:
            if self._is_closed:  # its number may be another file's by now
                raise errors.StorageUnavailable("The staged file is closed")
            try:
                data = os.pread(self.fd, size, offset)
            except OSError:
                raise errors.StorageUnavailable("The staging area cannot be read") from None
        if len(data) != size:
            raise StagedFileDamaged
        return data

    def whole(self) -> bytes:
        """Return all bytes, if they are what was staged.

        Raises:
            StagedFileDamaged: they are not.
        """
        data = self.read(0, self.size) if self.size else b""
        if hashlib.sha256(data).digest() != self.sha256:
            raise StagedFileDamaged
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield all bytes; the last piece only if they are what was staged.

        Raises:
            StagedFileDamaged: they are not.
        """
        digest = hashlib.sha256()
        for offset in range(0, self.size, size):
            piece = self.read(offset, min(size, self.size - offset))
            digest.update(piece)
            if offset + size >= self.size and digest.digest() != self.sha256:
                raise StagedFileDamaged
            yield piece

    def _open(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _GONE:
                raise StagedFileDamaged from None
            raise errors.StorageUnavailable("The staging area cannot be read") from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            os.close(fd)
            raise StagedFileDamaged
        return fd


def hash_of(fd: int) -> bytes:
    """Return the SHA-256 of an open file, from its beginning."""
    digest, offset = hashlib.sha256(), 0
    while piece := os.pread(fd, READ_BYTES, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()
