"""Publishing to a directory: nothing half-written ever stands under a final name.

An object is put in two steps. ``put`` makes sure of its bytes; ``flush`` brings the bytes of all
that was put to the disk, then gives them their names, then brings the names to the disk. Staged
files of the same file system are linked, others are copied to files without a name; so a crash
leaves nothing behind, whenever it comes. Where there are no such files, as on NFS, a copy has a
temporary name until then, which a crash can leave.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from app import errors
from app.dicom.source import write_all
from app.storage.staged import READ_BYTES, StagedFile, StagedFileDamaged, check_name, hash_of
from app.storage.threads import GroupedCalls
from app.storage.trees import Parts, WritableTree, fault_of, sync_directory

T = TypeVar("T")
FILE_MODE: Final = 0o640
PART_SUFFIX: Final = ".part"
_PAGE: Final = 1_000
_FEW_FILES: Final = 4  # synchronised one by one; more, with their whole file system at once
_MOST_COPIES: Final = 64  # descriptors that wait for their names
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
)


@dataclass(frozen=True, slots=True)
class _Pending:
    """One object whose bytes are known to be right and whose name is not given yet.

    Attributes:
        staged: file to be linked.
        copy: descriptor of a copy instead, and its temporary name where it needs one.
    """

    directory: Parts
    leaf: str
    staged: Path
    size: int
    sha256: bytes
    copy: int | None = None
    temporary: str = ""


class DiskDestination:
    """A directory of this machine, or one that machines share.

    All work is done by one thread of its own, in the order in which it was asked for.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._tree = WritableTree(self._root)
        self._pending: dict[str, _Pending] = {}
        self._copies: list[str] = []
        self._can_link = True
        self._file_mode = FILE_MODE & ~_umask()
        self._thread = ThreadPoolExecutor(1, "disk-destination")
        self._calls = GroupedCalls(self._thread)

    async def links(self, directory: Path) -> bool:
        """Say whether files of a directory are linked: both are on one file system."""
        return self._can_link and await self._run(_is_near, directory, self._root)

    def url_of(self, name: str) -> str:
        """Return the path of an object, which needs no scheme to be opened."""
        return str(self._root / name)

    async def put(  # noqa: PLR0913 - the port's signature
        self,
        name: str,
        staged: Path,
        *,
        size: int,
        sha256: bytes,
        attributes: Mapping[str, str],  # noqa: ARG002 - a file has none
        content_type: str,  # noqa: ARG002 - a file has none
        is_resumed: bool,
    ) -> None:
        """Make sure of an object's bytes; it gets its name with the next flush.

        Raises:
            StorageUnavailable: the disk is full or does not answer.
            StagedFileDamaged: the staged file is not what was staged.
            DestinationRefused: the directory cannot be written.
        """
        check_name(name)
        await self._run(self._put, name, staged, size, sha256, is_resumed)

    async def flush(self, names: Sequence[str]) -> None:
        """Bring bytes, then names, of these objects to the disk.

        Raises:
            StorageUnavailable: not all of them are known to be there; put them again.
            StagedFileDamaged: a staged file is gone meanwhile.
            DestinationRefused: the directory cannot be written.
        """
        await self._run(self._flush, [check_name(name) for name in names])

    async def read(self, name: str) -> bytes:
        """Return a whole object, such as a manifest.

        Raises:
            UnreadableFile: there is no such object.
        """
        pieces = [piece async for piece in self.stream(name)]
        return b"".join(pieces)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces.

        Raises:
            UnreadableFile: there is no such object.
        """
        fd = await self._run(self._open, check_name(name))
        try:
            offset = 0
            while piece := await self._run(os.pread, fd, READ_BYTES, offset):
                yield piece
                offset += len(piece)
        finally:
            self._later(os.close, fd)

    async def names(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield name and size of every object below a prefix, in order."""
        parts = tuple(check_name(prefix).split("/")) if prefix else ()
        tree = WritableTree(self._root)  # of its own: the walk rests between pages
        walk = tree.walk(parts)
        try:
            while page := await self._run(lambda: list(islice(walk, _PAGE))):
                for directory, leaf, size in page:
                    if not _is_temporary(leaf):
                        yield "/".join((*directory, leaf)), size
        finally:
            self._later(tree.forget)

    async def count_gone(self, objects: Sequence[tuple[str, int]]) -> int:
        """Count published objects (name, size) that are not there any more."""
        return await self._run(
            self._count_gone, [(check_name(name), size) for name, size in objects]
        )

    async def remove(self, prefix: str) -> int:
        """Remove every object below a prefix; return how many there were."""
        return await self._run(self._remove, check_name(prefix))

    async def close(self) -> None:
        """Forget what was put and not flushed, and close all files."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._calls.run(partial(call, *arguments))
        except OSError as error:
            raise fault_of(error) from None

    def _later(self, call: Callable[..., object], *arguments: object) -> None:
        """Do it behind what the thread is still doing for somebody who no longer waits."""
        try:
            self._thread.submit(call, *arguments)
        except RuntimeError:  # closed
            call(*arguments)

    def _put(self, name: str, staged: Path, size: int, sha256: bytes, is_resumed: bool) -> None:
        *parents, leaf = name.split("/")
        wanted = _Pending(tuple(parents), leaf, staged, size, sha256)
        with StagedFile(staged, size, sha256) as file:
            directory = self._tree.enter(wanted.directory, create=True)
            if is_resumed and _is_there(directory, wanted, file.fd):
                return
            is_near = os.fstat(directory).st_dev == os.fstat(file.fd).st_dev
            if not (self._can_link and is_near and _open_up(file.fd, self._file_mode)):
                wanted = self._copied(wanted, file)
        self._drop(name)
        self._pending[name] = wanted
        if wanted.copy is not None:
            self._copies.append(name)
            if len(self._copies) >= _MOST_COPIES:
                self._flush(list(self._copies))

    def _copied(self, wanted: _Pending, file: StagedFile) -> _Pending:
        directory = self._tree.enter(wanted.directory, create=True)
        fd, temporary = _open_copy(directory)
        try:
            for piece in file.pieces(READ_BYTES):
                write_all(fd, piece)
        except BaseException:
            self._discard(wanted.directory, fd, temporary)
            raise
        return _Pending(
            wanted.directory, wanted.leaf, wanted.staged, wanted.size, wanted.sha256, fd, temporary
        )

    def _drop(self, name: str) -> None:
        """Forget what waits for a name."""
        pending = self._pending.pop(name, None)
        if pending is not None and pending.copy is not None:
            self._copies.remove(name)
            self._discard(pending.directory, pending.copy, pending.temporary)

    def _discard(self, directory: Parts, copy: int, temporary: str) -> None:
        os.close(copy)
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self._tree.enter(directory))

    def _flush(self, names: Sequence[str]) -> None:
        waiting = {name: self._pending[name] for name in names if name in self._pending}
        try:
            self._give_names([name for name in names if name not in waiting], waiting)
        except (FileNotFoundError, errors.UnreadableFile):
            raise errors.StorageUnavailable("Objects went away while they were published") from None
        finally:  # whatever failed is to be put again; nothing of it may get a name later
            for name in waiting:
                with contextlib.suppress(OSError):
                    self._drop(name)

    def _give_names(self, named: Sequence[str], waiting: Mapping[str, _Pending]) -> None:
        """Bring bytes, names, and the directories that hold the names to the disk, in turn."""
        directories = {tuple(name.split("/")[:-1]) for name in named}
        directories |= {pending.directory for pending in waiting.values()}
        if len(named) + len(waiting) <= _FEW_FILES:
            for name in named:
                _sync_and_close(self._open(name))
            for pending in waiting.values():
                _sync_bytes(pending)
        else:
            self._synchronise(directories)
        for pending in sorted(waiting.values(), key=lambda pending: pending.directory):
            self._name(pending)
        for parts in sorted(directories.union(self._tree.made()), reverse=True):
            sync_directory(self._tree.enter(parts))

    def _synchronise(self, directories: set[Parts]) -> None:
        """Bring everything of the file systems to their disks: one wait for hundreds of files."""
        devices: dict[int, Parts] = {}
        for parts in sorted(directories):
            fd = self._tree.enter(parts)
            if devices.setdefault(os.fstat(fd).st_dev, parts) == parts:
                _syncfs(fd)

    def _count_gone(self, objects: Sequence[tuple[str, int]]) -> int:
        self._tree.forget()  # what is open may be another directory than what has the name
        return sum(not self._has(name, size) for name, size in objects)

    def _has(self, name: str, size: int) -> bool:
        *parents, leaf = name.split("/")
        try:
            directory = self._tree.enter(tuple(parents))
            found = os.stat(leaf, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return False
            raise
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def _remove(self, prefix: str) -> int:
        for name in [name for name in self._pending if f"{name}/".startswith(f"{prefix}/")]:
            self._drop(name)
        return self._tree.remove(tuple(prefix.split("/")))

    def _name(self, pending: _Pending) -> None:
        """Give an object its name in one step."""
        directory = self._tree.enter(pending.directory, create=True)
        if pending.copy is None:
            try:
                _link(directory, pending.leaf, pending.staged)
            except FileNotFoundError:
                raise StagedFileDamaged from None
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                self._can_link = False
                self._name_copy(pending)
        elif pending.temporary:
            os.rename(pending.temporary, pending.leaf, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            _link(directory, pending.leaf, Path(f"/proc/self/fd/{pending.copy}"))

    def _name_copy(self, pending: _Pending) -> None:
        """Publish a copy of what could not be linked after all."""
        with StagedFile(pending.staged, pending.size, pending.sha256) as file:
            copied = self._copied(pending, file)
        if copied.copy is not None:
            try:
                os.fsync(copied.copy)
                self._name(copied)
            finally:
                self._discard(pending.directory, copied.copy, copied.temporary)

    def _open(self, name: str) -> int:
        *parents, leaf = name.split("/")
        try:
            fd = os.open(leaf, _READ, dir_fd=self._tree.enter(tuple(parents)))
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
                raise errors.UnreadableFile from None
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise errors.UnreadableFile
        return fd

    def _close(self) -> None:
        for name in list(self._pending):
            with contextlib.suppress(OSError):
                self._drop(name)
        self._tree.forget()


def _is_near(directory: Path, root: Path) -> bool:
    """Whether two directories are on one file system; the second one need not be there yet."""
    there = next(path for path in (root, *root.parents) if path.exists())
    return directory.stat().st_dev == there.stat().st_dev


def _is_there(directory: int, wanted: _Pending, staged: int) -> bool:
    """Whether an object already has its name and its bytes."""
    try:
        fd = os.open(wanted.leaf, _READ, dir_fd=directory)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if os.path.samestat(found, os.fstat(staged)):
            return True
        is_alike = stat.S_ISREG(found.st_mode) and found.st_size == wanted.size
        return is_alike and hash_of(fd) == wanted.sha256
    finally:
        os.close(fd)


def _open_copy(directory: int) -> tuple[int, str]:
    """Open a file for a copy: without a name, or with a temporary one where that is not known."""
    with contextlib.suppress(OSError):
        return os.open(
            ".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, FILE_MODE, dir_fd=directory
        ), ""
    temporary = f".{secrets.token_hex(8)}{PART_SUFFIX}"
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
    return os.open(temporary, flags, FILE_MODE, dir_fd=directory), temporary


def _link(directory: int, leaf: str, file: Path) -> None:
    """Give a file a further name, in place of what has it now."""
    is_open_file = file.parts[1:2] == ("proc",)
    try:
        os.link(file, leaf, dst_dir_fd=directory, follow_symlinks=is_open_file)
    except FileExistsError:
        temporary = f".{secrets.token_hex(8)}{PART_SUFFIX}"
        os.link(file, temporary, dst_dir_fd=directory, follow_symlinks=is_open_file)
        try:
            os.rename(temporary, leaf, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            # Where both were the same file already, renaming has left the temporary name.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)


def _open_up(fd: int, mode: int) -> bool:
    """Give a staged file the mode of a published one; only its owner can."""
    try:
        os.fchmod(fd, mode)
    except PermissionError:
        return False
    return True


def _sync_bytes(pending: _Pending) -> None:
    if pending.copy is not None:
        os.fsync(pending.copy)
        return
    try:
        fd = os.open(pending.staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StagedFileDamaged from None
    _sync_and_close(fd)


def _sync_and_close(fd: int) -> None:
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_libc = ctypes.CDLL(None, use_errno=True)


def _syncfs(fd: int) -> None:
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _umask() -> int:
    """Return the process's umask without changing it, which other threads would notice."""
    with Path("/proc/self/status").open(encoding="ascii", errors="replace") as file:
        found = next((line for line in file if line.startswith("Umask:")), "Umask: 022")
    return int(found.split()[1], 8)


def _is_temporary(leaf: str) -> bool:
    return leaf.startswith(".") and leaf.endswith(PART_SUFFIX)
