"""Where the objects of a batch lie when they are checked: read only, and nothing is trusted.

The names that are listed are plain (``manifest_reader`` takes no others); those that are found can
be anything.
"""

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum
from io import FileIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final, Protocol, Self, cast

from app.batches.manifest import MANIFEST_NAME
from app.batches.manifest_reader import Listed
from app.errors import DestinationRefused, StorageUnavailable, UnreadableFile

if TYPE_CHECKING:
    from app.storage.destinations import Destination

MAX_DEPTH: Final = 32
"""Directories below each other; deeper ones are not looked into and count as unexpected."""
_PREFIX_BYTES: Final = 132
_PAGE: Final = 1024
_BLOCK_BYTES: Final = 1 << 20
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_OTHER_KIND: Final = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})
_OUR_FAULT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Fault(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing"
    WRONG_SIZE = "wrong-size"
    WRONG_HASH = "wrong-hash"
    UNREADABLE = "unreadable"  # no rights, a link, a device, a damaged disk
    UNEXPECTED = "unexpected"  # it is there, and the manifest does not list it


@dataclass(frozen=True, slots=True)
class Finding:
    """One object with which something is wrong; the name is for the caller alone."""

    fault: Fault
    file: str


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that lies there.

    Attributes:
        fault: what it is if the manifest does not list it; None where its content decides.
    """

    name: str
    fault: Fault | None = None


class Shelf(Protocol):
    """A place with one manifest and what it lists. Several calls run at the same time.

    Attributes:
        name: last part of its path or address.

    All methods raise StorageUnavailable where the place does not answer.
    """

    @property
    def name(self) -> str:
        """Last part of its path or address."""

    async def open_manifest(self) -> IO[bytes] | None:
        """Open the manifest, seekable; None where there is none."""

    async def check(self, listed: Sequence[Listed]) -> Sequence[Finding]:
        """Compare objects with what is listed of them."""

    def found(self) -> AsyncIterator[Found]:
        """Go through everything that lies there."""

    async def is_dicom(self, name: str) -> bool:
        """Say whether something that is not listed is, or may be, a DICOM object."""


class DirectoryShelf:
    """A directory; links in it are not followed, only regular files are opened.

    Raises:
        OSError: it is no directory, or cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.name = directory.resolve().name  # which no link is in the way of any more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    async def open_manifest(self) -> IO[bytes] | None:
        """Open the manifest."""
        try:
            return _open_regular(MANIFEST_NAME, self._fd)
        except OSError as error:
            if error.errno in _GONE | _OTHER_KIND:
                return None
            raise StorageUnavailable("The manifest cannot be opened") from None

    async def check(self, listed: Sequence[Listed]) -> Sequence[Finding]:
        """Compare files with what is listed of them, in a thread."""
        return await asyncio.to_thread(self._check, listed)

    async def found(self) -> AsyncIterator[Found]:
        """Walk through the directory; memory is bounded by its depth."""
        entries = self._walk("", 0)
        try:
            while page := await asyncio.to_thread(lambda: list(islice(entries, _PAGE))):
                for entry in page:
                    yield entry
        except OSError:
            raise StorageUnavailable("The directory cannot be listed") from None
        finally:
            with suppress(ValueError):  # a thread that nobody waits for any more is in it
                entries.close()

    async def is_dicom(self, name: str) -> bool:
        """Look at name and first bytes; what cannot be read might be one."""
        try:
            with _open_regular(str(self._path / name)) as file:
                return _is_part10(name, file.read(_PREFIX_BYTES))
        except OSError as error:
            _raise_if_ours(error)
            return True

    def _check(self, listed: Sequence[Listed]) -> Sequence[Finding]:
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        with _Directories(self._fd) as directories:
            faults = [_fault_of(one, directories, buffer) for one in listed]
        return _findings(listed, faults)

    def _walk(self, prefix: str, depth: int) -> Generator[Found, None, None]:
        try:
            entries = os.scandir(self._path / prefix)
        except OSError as error:
            _raise_if_ours(error)
            yield Found(prefix.rstrip("/"), Fault.UNREADABLE)
            return
        with entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_file(follow_symlinks=False):
                    yield Found(name)
                elif entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
                    yield from self._walk(f"{name}/", depth + 1)
                else:
                    yield Found(name, Fault.UNEXPECTED)


class StoreShelf:
    """A prefix of an object store.

    Args:
        destination: whose names begin below the prefix.
        name: last part of the prefix.
    """

    def __init__(self, destination: "Destination", name: str) -> None:
        self._destination = destination
        self.name = name

    async def open_manifest(self) -> IO[bytes] | None:
        """Fetch the manifest into a nameless file."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(TemporaryFile())
                async for piece in self._destination.stream(MANIFEST_NAME):
                    await asyncio.to_thread(file.write, piece)
                file.seek(0)
            except UnreadableFile:
                return None
            except OSError:
                raise StorageUnavailable("There is no room to fetch the manifest") from None
            stack.pop_all()  # the caller closes it
            return file

    async def check(self, listed: Sequence[Listed]) -> Sequence[Finding]:
        """Compare objects with what is listed of them."""
        return _findings(listed, [await self._fault_of(one) for one in listed])

    async def found(self) -> AsyncIterator[Found]:
        """List the prefix."""
        async for name, _ in self._destination.names(""):
            yield Found(name)

    async def is_dicom(self, name: str) -> bool:
        """Look at name and first bytes."""
        first = b""
        try:
            async with self._pieces(name) as pieces:
                async for piece in pieces:
                    first += piece
                    if len(first) >= _PREFIX_BYTES:
                        break
        except (UnreadableFile, DestinationRefused):
            return True
        return _is_part10(name, first[:_PREFIX_BYTES])

    def _pieces(self, name: str) -> aclosing[AsyncGenerator[bytes, None]]:
        """Stream an object that may not be read to its end."""
        return aclosing(cast("AsyncGenerator[bytes, None]", self._destination.stream(name)))

    async def _fault_of(self, listed: Listed) -> Fault | None:
        size, digest = 0, hashlib.sha256()
        try:
            async with self._pieces(listed.file) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > listed.size:
                        return Fault.WRONG_SIZE
                    await asyncio.to_thread(digest.update, piece)
        except UnreadableFile:
            return Fault.MISSING
        except DestinationRefused:
            return Fault.UNREADABLE
        if size != listed.size:
            return Fault.WRONG_SIZE
        return None if digest.hexdigest() == listed.sha256 else Fault.WRONG_HASH


class _Directories:
    """Opens files below a directory component by component; keeps the last directory open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._last = ""
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def open(self, file: str) -> FileIO:
        directory, _, name = file.rpartition("/")
        if directory != self._last:
            self._forget()
            self._fd = self._descend(directory.split("/"))
            self._last = directory
        return _open_regular(name, self._fd)

    def _descend(self, names: Sequence[str]) -> int:
        fd = os.dup(self._root)
        for name in names:
            above = fd
            try:
                fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=above)
            finally:
                os.close(above)
        return fd

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._last, self._fd = "", -1


def _findings(listed: Sequence[Listed], faults: Sequence[Fault | None]) -> Sequence[Finding]:
    pairs = zip(listed, faults, strict=True)
    return [Finding(fault, one.file) for one, fault in pairs if fault is not None]


def _is_part10(name: str, first: bytes) -> bool:
    return name.lower().endswith(".dcm") or first[128:_PREFIX_BYTES] == b"DICM"


def _open_regular(name: str, directory: int | None = None) -> FileIO:
    """Open a regular file, unbuffered.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    file = FileIO(name, opener=lambda path, _: os.open(path, _OPEN, dir_fd=directory))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def _fault_of(listed: Listed, directories: _Directories, buffer: memoryview) -> Fault | None:
    try:
        with directories.open(listed.file) as file:
            if os.fstat(file.fileno()).st_size != listed.size:
                return Fault.WRONG_SIZE
            digest = hashlib.sha256()
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    except OSError as error:
        _raise_if_ours(error)
        return Fault.MISSING if error.errno in _GONE else Fault.UNREADABLE
    return None if digest.hexdigest() == listed.sha256 else Fault.WRONG_HASH


def _raise_if_ours(error: OSError) -> None:
    """Tell what this process lacks from what is wrong with a file."""
    if error.errno in _OUR_FAULT:
        raise StorageUnavailable("Too few file descriptors or too little memory") from None
