"""Key files on disk: read strictly, made whole, replaced whole. Bytes only."""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import Misconfigured

MAX_FILE_BYTES: Final = 1 << 20
_OTHERS: Final = 0o007
_GROUP_WRITES: Final = 0o030
_GROUP: Final = 0o070


def read_private(path: Path) -> bytes:
    """Read a file that is nobody else's.

    The owner alone may have rights to it; what root mounts for a group (a secret of an
    orchestrator) may also be readable by that group.

    Raises:
        Misconfigured: it is missing, no regular file, too large, or open to others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured(f"the key file {path} cannot be read ({error.strerror})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Misconfigured(f"the key file {path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if _is_open_to_others(status, os.geteuid()):
            raise Misconfigured(f"the key file {path} is open to others; chmod it to 0600")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise Misconfigured(f"the key file {path} is too large")
    return content


def create(path: Path, content: bytes) -> None:
    """Let a whole, synced file appear under its name, or fail because the name is taken.

    Raises:
        OSError: it cannot be written.
    """
    with _unfinished(path, content) as unfinished:
        os.link(unfinished, path)
    _sync_directory(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Let a whole, synced file take the place of another in one step; mode 0600.

    Raises:
        OSError: it cannot be written.
    """
    target = path.resolve()
    with _unfinished(target, content) as unfinished:
        unfinished.replace(target)
    _sync_directory(target.parent)


def signature(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file is replaced; empty while there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others who make or replace key files in this directory waiting.

    Raises:
        OSError: the directory cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_open_to_others(status: os.stat_result, user: int) -> bool:
    if status.st_mode & (_OTHERS | _GROUP_WRITES):
        return True
    is_mounted_by_root = status.st_uid == 0 and user != 0
    return bool(status.st_mode & _GROUP) and not is_mounted_by_root


@contextmanager
def _unfinished(path: Path, content: bytes) -> Iterator[Path]:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
