"""Private files without a name: the kernel frees them with their last descriptor."""

import contextlib
import os
import tempfile
from pathlib import Path

from app.errors import StorageUnavailable


def open_nameless(directory: Path) -> int:
    """Open an empty file for reading and writing that nobody else can find.

    Raises:
        StorageUnavailable: the directory cannot be written.
    """
    with contextlib.suppress(OSError, AttributeError):  # no O_TMPFILE on this system or file system
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fd, name = tempfile.mkstemp(dir=directory)
        Path(name).unlink()
    except OSError:
        raise StorageUnavailable("The spool cannot be written") from None
    return fd
