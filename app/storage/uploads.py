"""Uploaded archives on their way to the workers: private files with random names."""

import datetime as dt
import os
import re
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from app.errors import (
    NotARegularFile,
    SourceNotAllowed,
    SymbolicLink,
    UnreadableFile,
)
from app.storage.lending import open_regular
from app.storage.staging_faults import storage_error

_NAME: Final = re.compile(r"[0-9a-f]{32}")
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Uploads:
    """The directory of uploaded archives.

    Args:
        directory: made for the owner alone when the first upload comes.
    """

    __slots__ = ("_directory",)

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self) -> tuple[str, int]:
        """Make an empty file and return its name and a descriptor to write to.

        Raises:
            StagingUnavailable: the directory cannot be written; StagingFull where there is no room.
        """
        name = secrets.token_hex(16)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            return name, os.open(self._directory / name, _CREATE, 0o600)
        except OSError as error:
            raise storage_error(error) from None

    def keep(self, fd: int) -> None:
        """Make a complete upload durable, its name included; the caller closes the descriptor.

        Raises:
            StagingUnavailable: it is not on disk; StagingFull where there is no room.
        """
        try:
            os.fsync(fd)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise storage_error(error) from None

    def path(self, name: str) -> Path:
        """Return where an upload lies, whether it is there or not.

        Raises:
            SourceNotAllowed: no upload has such a name.
        """
        if not _NAME.fullmatch(name):
            raise SourceNotAllowed("There is no upload by that name")
        return self._directory / name

    def open(self, name: str) -> int:
        """Open an upload for reading; the caller closes it.

        Raises:
            SourceNotAllowed: it is not there, or no upload has such a name.
            StagingUnavailable: it cannot be opened now.
        """
        try:
            return open_regular(os.fsencode(self.path(name)))[0]
        except (NotARegularFile, SymbolicLink, UnreadableFile):
            raise SourceNotAllowed("The uploaded archive is not there any more") from None

    def remove(self, name: str) -> None:
        """Remove an upload, if it is there; who reads it may go on.

        Raises:
            SourceNotAllowed: no upload has such a name.
            StagingUnavailable: it cannot be removed.
        """
        try:
            self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error) from None

    def remove_unused(self, before: dt.datetime, *, used: Collection[str]) -> int:
        """Remove what was last written before a moment and belongs to no batch; count it.

        Args:
            before: long enough ago that whoever received it has made its batch, or given up.
            used: names that batches still need.

        Raises:
            StagingUnavailable: the directory cannot be read, or something cannot be removed.
        """
        removed = 0
        for name in self._names():
            if name not in used and self._is_older(name, before):
                self.remove(name)
                removed += 1
        return removed

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._directory) as entries:
                yield from (entry.name for entry in entries if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return  # nothing was uploaded yet
        except OSError as error:
            raise storage_error(error) from None

    def _is_older(self, name: str, before: dt.datetime) -> bool:
        try:
            return self.path(name).stat(follow_symlinks=False).st_mtime < before.timestamp()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error) from None
