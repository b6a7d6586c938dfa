"""Directories with every kind of entry, and the rights of an unprivileged user."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.dicom.source import Source
from app.storage.found import Found, StudySource

NOBODY = 65534


def fill(directory: Path, **files: bytes) -> Path:
    """Write files; two underlines in a name stand for a slash."""
    for name, data in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def bind_socket(path: Path) -> None:
    """Make a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without the rights of root, which may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def found(source: StudySource, after: str = "") -> dict[str, Found]:
    """List a source, by name."""
    return {one.name: one for one in source.list(after)}


def names(source: StudySource, after: str = "") -> list[str]:
    """List the names of a source."""
    return [one.name for one in source.list(after)]


def content(source: Source) -> bytes:
    """Return all bytes of what was lent."""
    return source.read(0, source.size)


def read(source: StudySource, name: str) -> bytes:
    """Lend one file and return its bytes."""
    with source.lend(name) as lent:
        return content(lent)
