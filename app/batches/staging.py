"""The staging area: where results wait until they may be published, and what else lies there.

``area.json`` names the area by a random id, the same for every machine that shares the directory.
``.work`` holds results (``.work/{batch}/{chunk}-{epoch}/{seq}.dcm``), ``.uploads`` archives, and
``{batch}`` beside them what was published here. Private directories, pseudonyms and numbers only.
"""

import ctypes
import errno
import json
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from app.errors import Misconfigured, StorageUnavailable
from app.storage.staging_faults import storage_error

AREA_FILE: Final = "area.json"
WORK: Final = ".work"
UPLOADS: Final = ".uploads"
# The directory around them is private; published objects are these very files, moved.
OBJECT_MODE: Final = 0o640
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MORE_TRIES: Final = 10


class StagingArea:
    """One staging area.

    Attributes:
        path: its directory.
        is_direct: whether results may be written past the page cache.
        staging_id: the same on every machine that sees this directory.
        uploads: the directory of uploaded archives.

    Raises:
        Misconfigured: the directory cannot be used.
    """

    def __init__(self, path: Path, *, is_direct: bool = True) -> None:
        self.path = path.absolute()
        self.is_direct = is_direct
        self._work = self.path / WORK
        self.uploads = self.path / UPLOADS
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            for private in (self._work, self.uploads):
                private.mkdir(mode=0o700, exist_ok=True)
            self.staging_id = _area_id(self.path)
        except OSError as error:
            raise Misconfigured(
                f"the staging area {path} cannot be used: {error.strerror}"
            ) from None

    def chunk_directory(self, batch_id: UUID, number: int | str, epoch: int) -> Path:
        """Name the directory of what one claim of a chunk, or another part of a batch, makes."""
        return self._work / str(batch_id) / f"{number}-{epoch}"

    def staged(self, batch_id: UUID, number: int, epoch: int, seq: int) -> Path:
        """Name one staged object."""
        return self.chunk_directory(batch_id, number, epoch) / object_file(seq)

    def batch_directory(self, batch_id: UUID) -> Path:
        """Name the directory of what is published here of a batch."""
        return self.path / str(batch_id)

    def make_chunk(self, batch_id: UUID, number: int | str, epoch: int) -> Path:
        """Make the empty directory of a claim; what earlier claims of the chunk left is removed.

        Raises:
            StorageUnavailable: the staging area cannot be written.
        """
        made = self.chunk_directory(batch_id, number, epoch)
        try:
            for _ in range(_MORE_TRIES):
                # Whoever removes the last chunk of the batch removes their directory as well.
                with suppress(FileNotFoundError):
                    self._make_empty(made, f"{number}-*", epoch)
                    return made
            self._make_empty(made, f"{number}-*", epoch)
        except OSError as error:
            raise storage_error(error) from None
        return made

    def _make_empty(self, made: Path, like: str, epoch: int) -> None:
        self._make_again()
        made.parent.mkdir(mode=0o700, exist_ok=True)
        for left in made.parent.glob(like):
            if int(left.name.rpartition("-")[2]) <= epoch:
                shutil.rmtree(left)
        made.mkdir(mode=0o700)

    def _make_again(self) -> None:
        """Make the private directory anew when somebody tidied it away, in this very area alone.

        Where the area itself is gone, what stands at its path now may be an empty mount point.
        """
        if not self._work.exists() and (self.path / AREA_FILE).exists():
            self._work.mkdir(mode=0o700, exist_ok=True)

    def remove_chunk(self, batch_id: UUID, number: int | str, epoch: int) -> None:
        """Remove what one claim of a chunk staged, and the batch's directory with the last one.

        Raises:
            StorageUnavailable: it could not be removed.
        """
        _remove(self.chunk_directory(batch_id, number, epoch))
        _remove_if_empty(self._work / str(batch_id))

    def remove_staged(self, batch_id: UUID) -> None:
        """Remove everything that waits here of a batch; what is published stays.

        Raises:
            StorageUnavailable: it could not be removed.
        """
        _remove(self._work / str(batch_id))

    def remove_upload(self, name: str) -> None:
        """Remove an uploaded archive.

        Raises:
            StorageUnavailable: it could not be removed, or that is no name of an upload.
        """
        if name != os.path.basename(name) or name in {"", ".", ".."}:  # noqa: PTH119 - a name
            raise StorageUnavailable("This is no name of an upload")
        try:
            (self.uploads / name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error) from None

    def free_bytes(self) -> int:
        """Return how many bytes can still be written.

        Raises:
            StorageUnavailable: the file system does not answer.
        """
        try:
            state = os.statvfs(self.path)
        except OSError as error:
            raise storage_error(error) from None
        return state.f_bavail * state.f_frsize

    def capacity_bytes(self) -> int:
        """Return how many bytes the file system holds when it is empty.

        Raises:
            StorageUnavailable: the file system does not answer.
        """
        try:
            state = os.statvfs(self.path)
        except OSError as error:
            raise storage_error(error) from None
        return state.f_blocks * state.f_frsize

    def sync(self) -> None:
        """Return once everything that was written here would survive a loss of power.

        One call for a whole chunk: a sync of every single file would cost more than its work.

        Raises:
            StorageUnavailable: something could not be written.
        """
        try:
            fd = os.open(self._work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _syncfs(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise storage_error(error) from None


def object_file(seq: int) -> str:
    """Name the staged file of an item."""
    return f"{seq}.dcm"


def create(path: str) -> int:
    """Open a new staged file for writing.

    Raises:
        StorageUnavailable: it cannot be made; StagingFull where there is no room.
    """
    try:
        return os.open(path, _NEW_FILE, OBJECT_MODE)
    except OSError as error:
        raise storage_error(error) from None


def _area_id(directory: Path) -> UUID:
    """Read the id of an area; the first one to ask makes it, and no reader sees half of it."""
    final = directory / AREA_FILE
    if not final.exists():
        _make_area_file(directory, final)
    try:
        return UUID(json.loads(final.read_text(encoding="ascii"))["staging_id"])
    except (ValueError, KeyError, TypeError):
        raise Misconfigured(f"{final} does not name a staging area") from None


def _make_area_file(directory: Path, final: Path) -> None:
    part = directory / f".area-{secrets.token_hex(8)}"
    fd = os.open(part, _NEW_FILE, OBJECT_MODE)
    try:
        os.write(fd, json.dumps({"staging_id": str(uuid4())}).encode("ascii"))
        os.fsync(fd)
        os.link(part, final)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        os.close(fd)
        part.unlink()
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        if directory.exists():  # somebody else removes it as well
            _remove(directory)
    except OSError as error:
        raise storage_error(error) from None


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.ENOENT, errno.EEXIST}:
            raise storage_error(error) from None


def _load_syncfs() -> "ctypes._NamedFuncPointer | None":
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None


_libc_syncfs: Final = _load_syncfs()


def _syncfs(fd: int) -> None:
    """Write back one file system; where the system cannot do that, all of them."""
    if _libc_syncfs is None:
        os.sync()
    elif _libc_syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
