"""The directory of held objects: sealed files under their ids, within a bound. Bytes only.

The space is reserved under a lock before a byte is written, so that any number of processes stay
within the bound together. A file appears under its name when all of it is on the disk; what a
killed process leaves is sealed under a key that nobody has, and is swept away.
"""

import errno
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from app.dicom.source import FileSource, write_all
from app.errors import (
    HeldObjectDamaged,
    Misconfigured,
    PixelsNeedReview,
    QuarantineFull,
    StorageUnavailable,
)
from app.vault.keyrings.files import locked

PART: Final = ".part"
SWEPT_AFTER_S: Final = 3600.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OTHERS: Final = 0o077


class Shelf:
    """Holds sealed objects.

    Args:
        directory: made, for its owner alone, unless it is there.
        max_bytes: most bytes of all objects together.

    Raises:
        Misconfigured: it is no directory of the gateway's own, or open to others.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = directory.stat(follow_symlinks=False)
        except OSError as error:
            raise Misconfigured(f"the quarantine cannot be made ({error.strerror})") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Misconfigured("the quarantine must be a directory of the gateway's own user")
        if found.st_mode & _OTHERS:
            raise Misconfigured(f"the quarantine {directory} is open to others; chmod it to 0700")

    def put(self, object_id: UUID, pieces: Iterable[bytes], size: int) -> None:
        """Write a sealed object; it is on the disk on return, or nothing is left of it.

        Raises:
            QuarantineFull: it does not fit just now.
            PixelsNeedReview: it never will.
            StorageUnavailable: the directory cannot be written.
        """
        if size > self._max_bytes:
            raise PixelsNeedReview("The object is larger than the whole quarantine")
        part = self.directory / f"{object_id}{PART}"
        with self._failures():
            descriptor = self._reserved(part, size)
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    for piece in pieces:
                        write_all(file.fileno(), piece)
                    os.fsync(file.fileno())
                part.rename(self.directory / str(object_id))
                self._sync()
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    @contextmanager
    def opened(self, object_id: UUID) -> Iterator[FileSource]:
        """Lend a sealed object to be read.

        Raises:
            HeldObjectDamaged: it is gone.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self.directory / str(object_id), flags)
        except OSError:
            raise HeldObjectDamaged from None
        try:
            yield FileSource(descriptor)
        finally:
            os.close(descriptor)

    def has_room(self, size: int) -> bool:
        """Tell whether so many bytes fit just now.

        Raises:
            StorageUnavailable: the directory cannot be read.
        """
        with self._failures():
            free = os.statvfs(self.directory)
            return self._used() + size <= self._max_bytes and size <= free.f_bavail * free.f_frsize

    def is_whole(self, object_id: UUID, size: int) -> bool:
        """Tell whether an object is there with its length; its content only opening it tells."""
        try:
            with self.opened(object_id) as sealed:
                return sealed.size == size
        except HeldObjectDamaged:
            return False

    def remove(self, object_id: UUID) -> None:
        """Take an object away; it may be gone already. What cannot be removed is swept later."""
        with suppress(OSError):
            (self.directory / str(object_id)).unlink(missing_ok=True)

    def sweep(self, held: Collection[UUID]) -> int:
        """Remove what belongs to no held object and is not fresh; return how many files.

        Raises:
            StorageUnavailable: the directory cannot be read.
        """
        kept = {str(object_id) for object_id in held}
        before = time.time() - SWEPT_AFTER_S
        swept = 0
        with self._failures(), os.scandir(self.directory) as entries:
            for entry in entries:
                # A directory is not ours, such as lost+found where the quarantine is a volume.
                if entry.name in kept or entry.is_dir(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):  # removed meanwhile
                    if entry.stat(follow_symlinks=False).st_mtime <= before:
                        Path(entry.path).unlink()
                        swept += 1
        return swept

    def _reserved(self, part: Path, size: int) -> int:
        """Make a file of its final length, if it still fits."""
        with locked(self.directory):
            if self._used() + size > self._max_bytes:
                raise QuarantineFull
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(part, flags, 0o600)
            try:
                os.ftruncate(descriptor, size)
            except BaseException:
                os.close(descriptor)
                part.unlink(missing_ok=True)
                raise
            return descriptor

    def _used(self) -> int:
        used = 0
        with os.scandir(self.directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # decided about just now
                    used += entry.stat(follow_symlinks=False).st_size
        return used

    def _sync(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise QuarantineFull from None
            raise StorageUnavailable("The quarantine cannot be used") from None
