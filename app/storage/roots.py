"""The directories below which studies may lie, and the way into them.

Everything is opened component by component, relative to a directory that is open already and
never through a link, so that nothing can be exchanged between the check and the opening.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from app.errors import SourceNotAllowed, StorageUnavailable, SymbolicLink
from app.storage.lending import Handle

Names = tuple[bytes, ...]
MAX_DEPTH: Final = 100
"""Deepest directory that is entered; the components of one path at most."""

# O_PATH: a directory on the way need not be readable, and nothing is touched by opening it.
_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Components of a path with links, those of the links included: each step opens the way anew.
_MAX_STEPS: Final = 256


def encode(name: str) -> bytes:
    """Return a name as the file system has it.

    Raises:
        SourceNotAllowed: no file can have this name.
    """
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SourceNotAllowed from None
    if b"\0" in raw:
        raise SourceNotAllowed
    return raw


def decode(raw: bytes) -> str:
    """Return a file system's name as text; bytes that are not UTF-8 as surrogate escapes."""
    return raw.decode("utf-8", "surrogateescape")


def components(path: str) -> Names:
    """Split a path; empty components and single dots mean nothing.

    Raises:
        SourceNotAllowed: it goes upwards, or is too deep.
    """
    names = tuple(part for part in encode(path).split(b"/") if part not in {b"", b"."})
    if b".." in names or len(names) > MAX_DEPTH:
        raise SourceNotAllowed
    return names


class Tree:
    """An allowed directory, open.

    Args:
        root: the directory; links on the way to it are the configuration's own and are followed.
        refused: directories that are never entered, wherever they are met, nor what has their
            names later: they may be mounted, or exchanged, while this one is open.

    Raises:
        StorageUnavailable: it is not there, or cannot be read.
    """

    __slots__ = ("_refused", "_refused_names", "_root", "_spellings")

    def __init__(self, root: Path, refused: Sequence[Path] = ()) -> None:
        self._refused = frozenset(_places(refused))
        # An absolute link may lead here by either name.
        self._spellings = _spellings(root)
        self._refused_names = frozenset(
            spelling[len(own) :]
            for path in refused
            for spelling in _spellings(path)
            for own in self._spellings
            if len(spelling) > len(own) and spelling[: len(own)] == own
        )
        try:
            self._root: Handle | None = Handle(os.open(root, _STEP & ~os.O_NOFOLLOW))
        except OSError:
            raise StorageUnavailable("A root of the sources is not there") from None

    def close(self) -> None:
        """Let go of the root; directories that were opened from it stay open."""
        self._root = None

    def open(self, names: Names) -> int:
        """Open a directory below the root, to open what is in it; the caller closes it.

        Raises:
            OSError: it is not there, no directory, or a link stands in the way.
            SourceNotAllowed: it is one of those that are never entered.
        """
        if any(names[: len(refused)] == refused for refused in self._refused_names):
            raise SourceNotAllowed
        fd = self._own()
        try:
            for name in names:
                fd = _exchange(fd, os.open(name, _STEP, dir_fd=fd))
                self._check(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _own(self) -> int:
        root = self._root  # stays open while it is referred to, whatever other threads do
        if root is None:
            raise StorageUnavailable("The source is closed")
        return os.dup(root.fd)

    def _check(self, fd: int) -> None:
        if self._refused and _place(os.fstat(fd)) in self._refused:
            raise SourceNotAllowed

    def resolve(self, names: Names) -> Names:
        """Return the same place without links, below the root.

        Raises:
            SymbolicLink: the way leads out, in a circle, or is too long.
            OSError: there is nothing.
        """
        done: list[bytes] = []
        ahead = list(reversed(names))
        for _ in range(_MAX_STEPS):
            if not ahead:
                return tuple(done)
            name = ahead.pop()
            if name == b"..":
                if not done:
                    raise SymbolicLink
                done.pop()
                continue
            target = self._target(tuple(done), name)
            if target is None:
                done.append(name)
                continue
            if target.startswith(b"/"):
                done, further = [], self._below(target)
            else:
                further = _split(target)
            ahead.extend(reversed(further))
        raise SymbolicLink

    def _target(self, parent: Names, name: bytes) -> bytes | None:
        """Return where a link leads; None where there is something that is no link."""
        fd = self.open(parent)
        try:
            if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                return os.readlink(name, dir_fd=fd)
        finally:
            os.close(fd)
        return None

    def _below(self, target: bytes) -> Names:
        names = _split(target)
        for root in self._spellings:
            if names[: len(root)] == root:
                return names[len(root) :]
        raise SymbolicLink


class Roots:
    """The configured directories, by the names that the configuration gives them.

    Args:
        roots: allowed directories.
        refused: directories that are never entered, such as the gateway's own staging area.
        owners: organisations that alone may read a root; a root without any is everybody's. What
            is another organisation's is not entered from a root around it either.
    """

    __slots__ = ("_owners", "_refused", "_roots")

    def __init__(
        self,
        roots: Sequence[Path],
        refused: Sequence[Path] = (),
        *,
        owners: Mapping[Path, Collection[str]] | None = None,
    ) -> None:
        self._roots = {str(root.absolute()): root.absolute() for root in roots}
        self._refused = tuple(refused)
        self._owners = {
            str(root.absolute()): frozenset(names) for root, names in (owners or {}).items()
        }

    def locate(self, directory: str, organization: str | None = None) -> tuple[str, str]:
        """Return the root that a study directory lies below, and its path there without links.

        A relative path is taken below every root of the organisation and must be in exactly one of
        them.

        Raises:
            SourceNotAllowed: it lies outside, goes upwards, leads out through a link, is no
                directory or not there. All are answered alike, so that nobody can find out what
                lies elsewhere; a path that no root is the beginning of is not looked at at all.
        """
        is_absolute = directory.startswith("/")
        found = list(self._found(directory, organization, is_absolute=is_absolute))
        if not found or (len(found) > 1 and not is_absolute):
            raise SourceNotAllowed("This is no directory below a configured root")
        root, place = found[0]
        return root, decode(b"/".join(place)) or "."

    def spellings(
        self, directory: str, organization: str | None = None
    ) -> Sequence[tuple[str, str]]:
        """Return where a study directory may have lain, links left aside; nothing is looked at."""
        with contextlib.suppress(SourceNotAllowed):
            names = components(directory)
            found = self._candidates(names, is_absolute=directory.startswith("/"))
            return [
                (root, decode(b"/".join(below)) or ".")
                for root, below in found
                if self._may_read(root, organization)
            ]
        return []

    def open(self, root: str, organization: str | None = None) -> Tree:
        """Open a configured root for an organisation.

        Raises:
            SourceNotAllowed: it is not configured, here or any more, or is others'.
            StorageUnavailable: it is not there.
        """
        if root not in self._roots or not self._may_read(root, organization):
            raise SourceNotAllowed("The directory's root is not configured here")
        others = (
            self._roots[name] for name in self._roots if not self._may_read(name, organization)
        )
        return Tree(self._roots[root], (*self._refused, *others))

    def _may_read(self, root: str, organization: str | None) -> bool:
        owners = self._owners.get(root)
        return not owners or organization in owners

    def open_given(self, directory: Path) -> Tree:
        """Open a directory that the operator named on the command line, as a root of its own.

        Raises:
            SourceNotAllowed: it is not there.
            StorageUnavailable: it does not answer.
        """
        if not directory.is_dir():
            raise SourceNotAllowed("The directory is not there")
        return Tree(directory, self._refused)

    def _found(
        self, directory: str, organization: str | None, *, is_absolute: bool
    ) -> Iterator[tuple[str, Names]]:
        """Yield the roots that have the directory, and where, the deepest first."""
        if not directory:
            return
        with contextlib.suppress(SourceNotAllowed):
            names = components(directory)
            for root, below in self._candidates(names, is_absolute=is_absolute):
                place = self._place(root, below, organization)
                if place is not None:
                    yield root, place

    def _candidates(self, names: Names, *, is_absolute: bool) -> Iterator[tuple[str, Names]]:
        """Yield roots, the deepest first, with the components that remain below them."""
        for root, path in sorted(self._roots.items(), key=lambda item: -len(item[0])):
            if not is_absolute:
                yield root, names
                continue
            for spelling in dict.fromkeys((_split(root), _split(os.path.realpath(path)))):
                if names[: len(spelling)] == spelling:
                    yield root, names[len(spelling) :]
                    break

    def _place(self, root: str, names: Names, organization: str | None) -> Names | None:
        with contextlib.suppress(OSError, SymbolicLink, SourceNotAllowed, StorageUnavailable):
            tree = self.open(root, organization)
            try:
                place = tree.resolve(names)
                fd = tree.open(place)
                try:
                    os.close(open_listing(fd))
                finally:
                    os.close(fd)
                return place
            finally:
                tree.close()
        return None


def open_listing(directory: int) -> int:
    """Open a directory that Tree.open gave, to list it; the caller closes it.

    Raises:
        OSError: it may not be read.
    """
    return os.open(b".", _LISTING, dir_fd=directory)


def _spellings(path: Path) -> set[Names]:
    """Return a directory's names from the top: the configured ones, and those without links."""
    return {_split(os.fsencode(path.absolute())), _split(os.path.realpath(path))}


def _split(path: str | bytes) -> Names:
    """Split a path of the configuration or of a link; upward steps stay."""
    raw = os.fsencode(path)
    return tuple(part for part in raw.split(b"/") if part not in {b"", b"."})


def _exchange(old: int, new: int) -> int:
    os.close(old)
    return new


def _place(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _places(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    for path in paths:
        with contextlib.suppress(OSError):  # what is not there cannot be entered
            yield _place(path.stat())
