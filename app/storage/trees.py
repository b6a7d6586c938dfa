"""One directory tree, entered step by step so that no link below its root is ever followed."""

import contextlib
import errno
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from app import errors

Parts: TypeAlias = tuple[str, ...]

DIRECTORY_MODE: Final = 0o750
_MOST_OPEN: Final = 64
_DEEPEST_REMOVED: Final = 32
_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    | {errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENODEV, errno.ENOTCONN}
)


def fault_of(error: OSError) -> errors.GatewayError:
    """Return our error for one of the system's; paths stay out of it."""
    if error.errno in _TEMPORARY or error.errno is None:
        return errors.StorageUnavailable("The destination is full or does not answer")
    word = errno.errorcode.get(error.errno, "unknown")
    return errors.DestinationRefused(f"The directory cannot be written ({word})")


def sync_directory(fd: int) -> None:
    """Bring the names in a directory to the disk; some network file systems know no such thing."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}:
            raise


class WritableTree:
    """Open directories below a root; the ones used last are kept open. Not thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: OrderedDict[Parts, int] = OrderedDict()
        self._made: set[Parts] = set()

    def enter(self, parts: Parts, *, create: bool = False) -> int:
        """Return a descriptor of a directory, valid until the next call.

        Raises:
            OSError: it is not there, or a part of it is a link or no directory.
        """
        known = self._open.get(parts)
        if known is not None and os.fstat(known).st_nlink:
            self._open.move_to_end(parts)
            return known
        if known is not None:  # it was removed, and so was all below it
            self.forget()
        fd = self._enter_below(parts, create) if parts else self._enter_root(create)
        self._open[parts] = fd
        while len(self._open) > _MOST_OPEN:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
        return fd

    def made(self) -> Sequence[Parts]:
        """Return directories that got a new one since the last call; their entries may be lost."""
        made, self._made = sorted(self._made), set()
        return made

    def forget(self) -> None:
        """Close every directory; they may have been removed or replaced."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def walk(self, parts: Parts) -> Iterator[tuple[Parts, str, int]]:
        """Yield directory, name and size of every regular file, in order; links are skipped."""
        files, below = [], []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.enter(parts)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        files.append((entry.name, entry.stat(follow_symlinks=False).st_size))
        for name, size in sorted(files):
            yield parts, name, size
        for name in sorted(below):
            yield from self.walk((*parts, name))

    def remove(self, parts: Parts) -> int:
        """Remove a directory and all in it; return how many files there were."""
        self.forget()
        if not parts:
            raise errors.DestinationRefused("The whole destination is not removed")
        try:
            parent = self.enter(parts[:-1])
            status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return 0
        removed = _remove(parent, parts[-1], status)
        self.forget()
        return removed

    def _enter_root(self, create: bool) -> int:
        if create:
            missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
            for path in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    path.mkdir(mode=DIRECTORY_MODE)
                _sync(path.parent)
        # The root itself may be a link: it is what the operator named.
        return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _enter_below(self, parts: Parts, create: bool) -> int:
        parent = self.enter(parts[:-1], create=create)
        try:
            return os.open(parts[-1], _ENTER, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(parts[-1], DIRECTORY_MODE, dir_fd=parent)
            self._made.add(parts[:-1])
        return os.open(parts[-1], _ENTER, dir_fd=parent)


def _remove(parent: int, name: str, status: os.stat_result) -> int:
    if not stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return int(stat.S_ISREG(status.st_mode))
    top = os.open(name, _ENTER, dir_fd=parent)
    try:
        removed = 0
        while (count := _empty(top, top, 0)) is not None:
            removed += count
    finally:
        os.close(top)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return removed


def _empty(directory: int, top: int, depth: int) -> int | None:
    """Remove what is in a directory; return how many files that were, None where it was empty.

    Receivers can nest directories as deep as they like: what lies too deep is moved up to the top,
    which is emptied until nothing is left in it.
    """
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    removed = 0
    for name, status in found:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=directory)
                removed += stat.S_ISREG(status.st_mode)
            elif depth == _DEEPEST_REMOVED:
                moved = f".{secrets.token_hex(8)}"
                os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
            else:
                removed += _remove_below(directory, name, top, depth + 1)
    return removed if found else None


def _remove_below(parent: int, name: str, top: int, depth: int) -> int:
    directory = os.open(name, _ENTER, dir_fd=parent)
    try:
        removed = _empty(directory, top, depth) or 0
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)
    return removed


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_directory(fd)
    finally:
        os.close(fd)
