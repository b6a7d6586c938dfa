"""Archives of many objects, made of a few by new identifiers: as fast as the disk takes them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import PLANTED, uid

PER_STUDY = 500
PER_SERIES = 125
_TEMPLATES = 8
_HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Archive:
    """A directory of objects, each another SOP Instance.

    Attributes:
        size: bytes of all of them.
    """

    root: Path
    files: Sequence[Path]
    size: int


def make(kind: str, templates: Sequence[Path], root: Path, count: int) -> Archive:
    """Write so many objects in directories by patient and series.

    Args:
        kind: ``ct`` or ``mr``, as ``bench.load`` made the templates.
        templates: a few objects of one series.
        root: where; made here.
        count: how many.
    """
    made = [_Template(kind, number, path) for number, path in enumerate(templates[:_TEMPLATES])]
    files, size = [], 0
    for number in range(count):
        folder = root / f"P{number // PER_STUDY:06}" / f"S{number // PER_SERIES:06}"
        if number % PER_SERIES == 0:
            folder.mkdir(parents=True)
        path = folder / f"IM{number:08}.dcm"
        size += made[number % len(made)].write(path, number)
        files.append(path)
    return Archive(root, files, size)


class _Template:
    """An object whose identifiers are replaced by others of the same length."""

    def __init__(self, kind: str, number: int, path: Path) -> None:
        data = path.read_bytes()
        self._kind = kind
        self._head, self._rest = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
        self._instance = uid(kind, "instance", number).encode()
        self._series = uid(kind, "series").encode()
        self._study = uid(kind, "study").encode()
        self._patient = PLANTED["PatientID"].encode()

    def write(self, path: Path, number: int) -> int:
        """Write the object by this number and return its size."""
        study, series = number // PER_STUDY, number // PER_SERIES
        head = (
            self._head.replace(self._instance, _uid(self._kind, "i", number))
            .replace(self._series, _uid(self._kind, "s", series))
            .replace(self._study, _uid(self._kind, "t", study))
            .replace(self._patient, f"PF{study:0{len(self._patient) - 2}}".encode())
        )
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            return os.writev(fd, [head, self._rest])
        finally:
            os.close(fd)


def _uid(*parts: object) -> bytes:
    return uid("archive", *parts).encode()
