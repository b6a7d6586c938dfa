"""DICOM media: which files a DICOMDIR references, and whether they are there.

Source: PS3.10 2026d, 8 (file IDs and the DICOMDIR); PS3.3 2026d, F.3 (directory records).
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Final

from app.dicom import part10
from app.dicom.elements import make_key
from app.dicom.source import Source
from app.dicom.tokens import Dataset, Limits, Tokens
from app.errors import GatewayError, InvalidInput
from app.storage.roots import Names, Tree, open_listing

Reference = tuple[bytes, ...]
REFERENCE: Final = b"//"
"""Stands between the name of a DICOMDIR and a file that it references; no path has it."""

_DICOMDIR: Final = b"DICOMDIR"
_RECORDS: Final = make_key(0x00041220, "SQ")
_FILE_ID: Final = make_key(0x00041500, "CS")
_IN_USE: Final = make_key(0x00041410, "US")
_INACTIVE: Final = b"\0\0"
# A file's version (ISO 9660), which some systems show, and the dot before an empty extension.
_DECORATION: Final = re.compile(rb"\.?(;[0-9]{1,5})?\Z")


def folded(name: bytes) -> bytes:
    """Return a file name as it would stand in a DICOMDIR, however the medium was copied."""
    return _DECORATION.sub(b"", name).upper()


def is_dicomdir(name: bytes) -> bool:
    """Whether a file of this name (its last component) is the directory of a medium."""
    return name[:8].upper() == _DICOMDIR and folded(name) == _DICOMDIR


def references(source: Source, limits: Limits) -> list[Reference]:
    """Return the file IDs in use in a DICOMDIR, each once, ordered as their paths are.

    A file that is none or is damaged references nothing; the pipeline says so when it reads it.

    Raises:
        UnreadableFile, StorageUnavailable: the medium does not give its bytes.
    """
    try:
        tokens = part10.read(source, limits)
    except InvalidInput:
        return []
    records = tokens.root.sequences.get(_index(tokens.root, _RECORDS))
    if records is None:
        return []
    found = {_file_id(tokens, record) for record in records.datasets}
    return sorted(found - {()}, key=b"/".join)


def _index(dataset: Dataset, key: int) -> int:
    try:
        return dataset.keys.index(key)
    except ValueError:
        return -1


def _file_id(tokens: Tokens, record: Dataset) -> Reference:
    if _value(tokens, record, _IN_USE) == _INACTIVE:
        return ()
    # A slash is no character of a file ID, but is met between components.
    value = _value(tokens, record, _FILE_ID).replace(b"/", b"\\")
    parts = (part.strip(b" \0") for part in value.split(b"\\"))
    return tuple(part for part in parts if part)


def _value(tokens: Tokens, record: Dataset, key: int) -> bytes:
    index = _index(record, key)
    if index < 0:
        return b""
    start, stop = record.value_span(index)
    return tokens.buffer[start:stop]


class Medium:
    """The directory that a DICOMDIR lies in; finds what is referenced there.

    Holds the names of one directory at a time, so references are best asked for in their order.
    """

    __slots__ = ("_base", "_fd", "_folded", "_parent", "_real", "_tree")

    def __init__(self, tree: Tree, base: Names) -> None:
        self._tree = tree
        self._base = base
        self._parent: Reference | None = None
        self._real: Names | None = None
        self._fd = -1
        self._folded: Mapping[bytes, bytes] | None = None

    def close(self) -> None:
        """Close the directory at hand."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def find(self, reference: Reference) -> Names | None:
        """Return the true path of a referenced file below the root; None where there is none."""
        if any(part in {b".", b".."} or b"\0" in part for part in reference):
            return None
        real = self._directory(reference[:-1])
        name = self._name(reference[-1]) if real is not None else None
        return None if real is None or name is None else (*real, name)

    def _directory(self, reference: Reference) -> Names | None:
        """Open the directory, and return its true path."""
        if reference != self._parent:
            real: Names | None = self._base
            self._enter((), real)
            for depth, part in enumerate(reference, 1):
                name = self._name(part)
                real = None if real is None or name is None else (*real, name)
                self._enter(reference[:depth], real)
        return self._real

    def _enter(self, reference: Reference, real: Names | None) -> None:
        self.close()
        self._parent, self._real, self._folded = reference, real, None
        if real is None:
            return
        try:
            self._fd = self._tree.open(real)
        except (OSError, GatewayError):
            self._real = None

    def _name(self, wanted: bytes) -> bytes | None:
        """Return the name in the directory at hand that is meant."""
        if self._fd < 0:
            return None
        try:
            os.stat(wanted, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            if self._folded is None:
                self._folded = dict(_folded_names(self._fd))
            return self._folded.get(folded(wanted))
        return wanted


def _folded_names(directory: int) -> Iterator[tuple[bytes, bytes]]:
    try:
        fd = open_listing(directory)
    except OSError:
        return
    try:
        with os.scandir(fd) as entries:
            for name in sorted(os.fsencode(entry.name) for entry in entries):
                yield folded(name), name
    finally:
        os.close(fd)
