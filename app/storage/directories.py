"""A directory of the file system as a study source: recursive, ordered, resumable."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, TypeAlias

from app.dicom.source import Source
from app.dicom.tokens import Limits
from app.errors import (
    GatewayError,
    MissingReferencedFile,
    NotARegularFile,
    SourceNotAllowed,
    StorageUnavailable,
    SymbolicLink,
    UnreadableFile,
)
from app.storage.found import Found
from app.storage.lending import Handle, LentFile, open_regular, refusal
from app.storage.media import REFERENCE, Medium, is_dicomdir, references
from app.storage.roots import MAX_DEPTH, Names, Tree, components, decode, encode, open_listing

Keys: TypeAlias = list[bytes]


class _Place(Handle):
    """A directory that is open; its path below the source ends in a slash, or is empty."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: bytes, fd: int) -> None:
        super().__init__(fd)
        self.prefix = prefix


class DirectorySource:
    """The files below a directory, in the byte order of their paths.

    A listing holds the names in the directories between the top and the one at hand, and two
    file descriptors. What is added while it runs may be met or not.

    Args:
        tree: the root; closed with the source.
        path: the directory below it, as Roots.locate gave it.
        limits: bounds on a DICOMDIR.

    Raises:
        SourceNotAllowed: it is not there any more, or no directory.
        UnreadableFile: it may not be read.
        StorageUnavailable: it does not answer.
    """

    __slots__ = ("_base", "_limits", "_place", "_tree")

    def __init__(self, tree: Tree, path: str, limits: Limits) -> None:
        self._tree = tree
        self._limits = limits
        self._base = components(path)
        try:
            # Where the last file was lent; the next one mostly lies beside it.
            self._place: _Place | None = self._open(b"")
        except (FileNotFoundError, NotADirectoryError):
            raise SourceNotAllowed("The study directory is not there") from None
        except OSError as error:
            raise refusal(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory; see StudySource."""
        self._place = None
        self._tree.close()

    def list(self, after: str = "") -> Iterator[Found]:
        """Yield every file below the directory behind ``after``; see StudySource."""
        behind = encode(after)
        place, keys, error = self._enter(b"", behind)
        if error is not None:
            raise error
        stack = [(b"", keys)]
        while stack:
            prefix, keys = stack[-1]
            if not keys:
                stack.pop()
                continue
            path = prefix + keys.pop()
            if path.endswith(REFERENCE):
                yield from self._missing(path, behind)
            elif not path.endswith(b"/"):
                place = self._at(prefix, place)
                yield self._found(path, place)
            else:
                place, keys, error = self._enter(path, behind)
                stack.append((path, keys))
                if error is not None and path > behind:
                    yield Found(decode(path), 0, error)

    @contextmanager
    def lend(self, name: str) -> Iterator[Source]:
        """Open one file; see StudySource."""
        try:
            fd, size = self._open_file(encode(name))
        except OSError as error:
            raise refusal(error) from None
        try:
            yield LentFile(fd, size)
        finally:
            os.close(fd)

    def _open(self, prefix: bytes) -> _Place:
        """Open a directory of the source by its path, from the top, never through a link."""
        names = tuple(prefix.split(b"/")[:-1])
        if len(self._base) + len(names) > MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, "too deep")
        return _Place(prefix, self._tree.open(self._base + names))

    def _enter(
        self, path: bytes, behind: bytes
    ) -> tuple[_Place | None, Keys, type[GatewayError] | None]:
        """Open a directory and return it, what lies in it, and why it cannot be read."""
        try:
            place = self._open(path)
            return place, _keys(place, behind), None
        except SourceNotAllowed:
            return None, [], None  # one of those that are never entered: no part of the source
        except OSError as error:
            return None, [], _reported(error)

    def _at(self, prefix: bytes, place: _Place | None) -> _Place | None:
        """Return the directory at hand, opened anew where another one came in between."""
        if place is not None and place.prefix == prefix:
            return place
        try:
            return self._open(prefix)
        except (OSError, SourceNotAllowed):
            return None

    def _found(self, path: bytes, place: _Place | None) -> Found:
        """Look at one entry that was no directory when the directory was read."""
        if place is None:
            return Found(decode(path), 0, UnreadableFile)
        try:
            name = path[len(place.prefix) :]
            found = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                _, found = self._follow(path)
        except OSError as error:
            return Found(decode(path), 0, _reported(error))
        except (SymbolicLink, SourceNotAllowed) as error:
            return Found(decode(path), 0, type(error))
        if stat.S_ISREG(found.st_mode):
            return Found(decode(path), found.st_size)
        return Found(decode(path), 0, NotARegularFile)

    def _follow(self, path: bytes) -> tuple[Names, os.stat_result]:
        """Return where a link to a file leads, below the root and free of links, and what is there.

        Raises:
            SymbolicLink: to a directory, nowhere, or out.
        """
        try:
            names = self._tree.resolve(self._base + tuple(path.split(b"/")))
            fd = self._tree.open(names[:-1])
            try:
                found = os.stat(names[-1] if names else b".", dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            raise SymbolicLink from None
        if stat.S_ISDIR(found.st_mode):
            raise SymbolicLink
        return names, found

    def _open_file(self, path: bytes) -> tuple[int, int]:
        if REFERENCE in path:
            return self._open_referenced(path)
        if any(part in {b"", b".", b".."} for part in path.removesuffix(b"/").split(b"/")):
            raise SourceNotAllowed
        if path.endswith(b"/"):
            raise UnreadableFile  # a directory that could not be read when it was listed
        name = path[path.rfind(b"/") + 1 :]
        place = self._place
        if place is None or place.prefix != path[: -len(name)]:
            place = self._place = self._open(path[: -len(name)])
        try:
            return open_regular(name, place.fd)
        except SymbolicLink:
            names, _ = self._follow(path)
            return self._open_at(names)

    def _open_at(self, names: Names) -> tuple[int, int]:
        fd = self._tree.open(names[:-1])
        try:
            return open_regular(names[-1], fd)
        finally:
            os.close(fd)

    def _open_referenced(self, path: bytes) -> tuple[int, int]:
        """Open a file that a DICOMDIR names, should it have come since the listing."""
        dicomdir, _, reference = path.partition(REFERENCE)
        medium = Medium(self._tree, self._base + components(decode(dicomdir))[:-1])
        try:
            names = medium.find(tuple(reference.split(b"/")))
        finally:
            medium.close()
        if names is None:
            raise MissingReferencedFile
        return self._open_at(names)

    def _missing(self, path: bytes, behind: bytes) -> Iterator[Found]:
        """Yield what a DICOMDIR references and is not there; ``path`` ends in REFERENCE."""
        dicomdir = decode(path.removesuffix(REFERENCE))
        try:
            with self.lend(dicomdir) as source:
                wanted = references(source, self._limits)
        except (SymbolicLink, NotARegularFile, UnreadableFile, SourceNotAllowed):
            return  # reported under its own name
        medium = Medium(self._tree, self._base + components(dicomdir)[:-1])
        try:
            for reference in wanted:
                name = path + b"/".join(reference)
                if name > behind and medium.find(reference) is None:
                    yield Found(decode(name), 0, MissingReferencedFile)
        finally:
            medium.close()


def _keys(place: _Place, behind: bytes) -> Keys:
    """Return what lies in a directory behind a path, the last first.

    Directories end in a slash, so that they stand where their files do; behind a DICOMDIR stands
    what it references.
    """
    fd = open_listing(place.fd)
    try:
        with os.scandir(fd) as entries:
            keys = [key for entry in entries for key in _keys_of(entry)]
    finally:
        os.close(fd)
    if not place.prefix > behind:
        keys = [key for key in keys if _is_behind(place.prefix + key, behind)]
    keys.sort(reverse=True)
    return keys


def _keys_of(entry: os.DirEntry[str]) -> Iterator[bytes]:
    name = os.fsencode(entry.name)
    if entry.is_dir(follow_symlinks=False):
        yield name + b"/"
        return
    yield name
    if is_dicomdir(name):
        yield name + REFERENCE


def _is_behind(path: bytes, behind: bytes) -> bool:
    """Whether a path, or for a directory something in it, comes after another."""
    return path > behind or (path.endswith(b"/") and behind.startswith(path))


def _reported(error: OSError) -> type[GatewayError]:
    """Return the error that one entry is reported with.

    Raises:
        StorageUnavailable: it is not the entry's own fault.
    """
    refused = refusal(error)
    if isinstance(refused, StorageUnavailable):
        raise refused from None
    return type(refused)
