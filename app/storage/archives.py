"""A ZIP archive as a study source: its members are read in place and never unpacked by name.

``zipfile`` reads the table of contents, within bounds; the members are read here, because each
must be exactly as long as the table says, and from several threads at once.
"""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, Self

from app.dicom.source import MemorySource, Source, write_all
from app.dicom.tokens import Limits
from app.errors import (
    AmbiguousName,
    ArchiveTooLarge,
    GatewayError,
    InvalidArchive,
    MissingReferencedFile,
    NotARegularFile,
    SourceNotAllowed,
    StorageUnavailable,
    SymbolicLink,
    TooLarge,
    UnreadableFile,
)
from app.storage.found import Found
from app.storage.lending import Handle, LentFile
from app.storage.media import REFERENCE, folded, is_dicomdir, references
from app.storage.nameless import open_nameless
from app.storage.roots import decode, encode

_BEHIND: Final = REFERENCE.decode()
# Parts a name that cannot be used from the member's number; makes it one of its own.
_NUMBER: Final = "///"
# Name, extra fields and comment of a member, with its fixed 46 bytes, on the average at most.
_ENTRY_BYTES: Final = 512
_ENTRY: Final = b"PK\1\2"
_HEADER: Final = b"PK\3\4"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_UTF8: Final = 0x800
# Encrypted, compressed patched data, strongly encrypted, masked.
_SECRET: Final = 0x1 | 0x20 | 0x40 | 0x2000
# A drive, a backslash, and components that are empty or go elsewhere: no relative path anywhere.
_UNSAFE: Final = re.compile(r"\A[A-Za-z]:|\\|(?:\A|/)\.{0,2}(?:/|\Z)")
_SLACK: Final = 4096
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveBounds:
    """Bounds on one archive.

    Args:
        max_files: members.
        max_bytes: of all members together, unpacked.
        max_file_bytes: of one member, unpacked.
        memory_bytes: members up to this size are unpacked in memory, others into a file.
        limits: on a DICOMDIR.
    """

    max_files: int = 100_000
    max_bytes: int = 16 << 30
    max_file_bytes: int = 4 << 30
    memory_bytes: int = 8 << 20
    limits: Limits = field(default_factory=Limits)


class Member(NamedTuple):
    """Where a member lies and what it must be.

    Attributes:
        name: as it is listed.
        start: of its local header.
        stop: where the next member or the table of contents begins.
    """

    name: str
    start: int
    stop: int
    packed: int
    size: int
    crc: int
    is_deflated: bool
    error: type[GatewayError] | None


class Contents:
    """The table of contents of one archive, by name and in their order; never changes.

    Attributes:
        order: names of the members; behind that of a DICOMDIR stands one that ends in ``//``.
        paths: members by their folded paths; empty where there is no DICOMDIR to ask for them.

    Raises:
        InvalidArchive: it is no ZIP archive, damaged, or its members overlap.
        ArchiveTooLarge: it holds more than the bounds allow.
    """

    __slots__ = ("members", "order", "paths")

    def __init__(self, fd: int, bounds: ArchiveBounds) -> None:
        infos, table = _table(fd, bounds)
        if sum(info.file_size for info in infos) > bounds.max_bytes:
            raise ArchiveTooLarge("The archive unpacks to more bytes than the bound allows")
        self.members = {
            member.name: member for member in _members(infos, _stops(infos, table), bounds)
        }
        media = [name + _BEHIND for name in self.members if is_dicomdir(_last(name))]
        self.order = sorted([*self.members, *media])
        self.paths = frozenset(map(_folded_path, self.members)) if media else frozenset()


def _table(fd: int, bounds: ArchiveBounds) -> tuple[list[zipfile.ZipInfo], int]:
    """Read the entries of the table of contents and where it begins."""
    try:
        with _Bounded(fd, bounds) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (
        *(zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error),
        *(ValueError, OverflowError, EOFError),
    ):
        raise InvalidArchive from None
    except OSError:
        raise StorageUnavailable("The archive cannot be read") from None


class _Bounded(io.FileIO):
    """The archive as zipfile reads it: one read is the table of contents, as long as declared."""

    def __init__(self, fd: int, bounds: ArchiveBounds) -> None:
        super().__init__(fd, closefd=False)
        self._max_files = bounds.max_files

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._max_files * _ENTRY_BYTES + _CHUNK:
            raise ArchiveTooLarge("The archive's table of contents is longer than the bound allows")
        data = super().read(size) or b""
        # Before anything is made of them: an entry takes twenty times its length in memory.
        if data.count(_ENTRY) > self._max_files:
            raise ArchiveTooLarge("The archive holds more files than the bound allows")
        return data


def _stops(infos: Sequence[zipfile.ZipInfo], table: int) -> Sequence[int]:
    """Return where each member must have ended, in the order of the table of contents.

    Members that overlap are how a small archive unpacks to a huge one.
    """
    order = sorted(range(len(infos)), key=lambda index: infos[index].header_offset)
    stops = [table] * len(infos)
    for index, following in pairwise(order):
        stops[index] = infos[following].header_offset
    for info, stop in zip(infos, stops, strict=True):
        if not 0 <= info.header_offset <= stop - _LOCAL.size - info.compress_size:
            raise InvalidArchive("Members of the ZIP archive overlap")
    return stops


def _members(
    infos: Sequence[zipfile.ZipInfo], stops: Sequence[int], bounds: ArchiveBounds
) -> Iterator[Member]:
    """Yield everything but directories; what cannot be listed by its name is numbered."""
    names = [_name(info) for info in infos]
    often = Counter(names)
    for number, (info, name, stop) in enumerate(zip(infos, names, stops, strict=True)):
        if name.endswith("/") and not info.file_size:
            continue
        is_allowed = "\0" not in info.orig_filename and not _UNSAFE.search(name)
        is_named = is_allowed and often[name] == 1
        yield Member(
            name=name if is_named else f"{name}{_NUMBER}{number}",
            start=info.header_offset,
            stop=stop,
            packed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
            error=_fault(info, bounds) if is_named else _unnamed(is_allowed=is_allowed),
        )


def _unnamed(*, is_allowed: bool) -> type[GatewayError]:
    """Say why a member cannot be listed by its name."""
    return AmbiguousName if is_allowed else SourceNotAllowed


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; many systems write UTF-8 without saying so."""
    name = info.filename
    if name.isascii() or info.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _fault(info: zipfile.ZipInfo, bounds: ArchiveBounds) -> type[GatewayError] | None:
    """Say why a member is not read at all."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if kind == stat.S_IFLNK:
        return SymbolicLink
    if kind not in {0, stat.S_IFREG}:
        return NotARegularFile
    if info.flag_bits & _SECRET or not (is_stored or info.compress_type == zipfile.ZIP_DEFLATED):
        return UnreadableFile
    if info.file_size > bounds.max_file_bytes:
        return TooLarge
    # Packing may lengthen a little; much more is there to keep the reader busy for nothing.
    longest = info.file_size if is_stored else 2 * info.file_size + _SLACK
    return UnreadableFile if info.compress_size > longest else None


def _last(name: str) -> bytes:
    return name[name.rfind("/") + 1 :].encode()


def _folded_path(name: str) -> bytes:
    return b"/".join(map(folded, name.encode().split(b"/")))


class ArchiveSource:
    """The members of a ZIP archive, in the order of their names.

    Args:
        file: the archive, open.
        contents: its table of contents.
        spool: private directory for what is too large for memory.
        bounds: those that its table of contents was read with.
    """

    __slots__ = ("_bounds", "_file", "_spool", "contents")

    def __init__(
        self, file: Handle, contents: Contents, *, spool: Path, bounds: ArchiveBounds
    ) -> None:
        self._file: Handle | None = file
        self.contents = contents
        self._spool = spool
        self._bounds = bounds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the archive; see StudySource."""
        self._file = None

    def list(self, after: str = "") -> Iterator[Found]:
        """Yield every member behind ``after``; see StudySource."""
        order = self.contents.order
        medium, behind, _ = after.partition(_BEHIND)
        begin = bisect_left(order, medium + behind) if behind else bisect_right(order, after)
        for index in range(begin, len(order)):
            name = order[index]
            if name.endswith(_BEHIND):
                yield from self._missing(name, after)
            elif name > after:
                member = self.contents.members[name]
                yield Found(name, member.size, member.error)

    @contextmanager
    def lend(self, name: str) -> Iterator[Source]:
        """Unpack one member for the time of a ``with`` block; see StudySource."""
        member = self.contents.members.get(name)
        if member is None:
            raise MissingReferencedFile if _BEHIND in name else UnreadableFile
        if member.error is not None:
            raise member.error
        file = self._file
        if file is None:
            raise StorageUnavailable("The source is closed")
        if member.size <= self._bounds.memory_bytes:
            yield MemorySource(b"".join(unpacked(file.fd, member)))
        elif not member.is_deflated:
            for _ in unpacked(file.fd, member):
                pass  # read once, to see that it is whole
            yield LentFile(file.fd, member.size, beginning(file.fd, member))
        else:
            fd = open_nameless(self._spool)
            try:
                _spool(unpacked(file.fd, member), fd)
                yield LentFile(fd, member.size)
            finally:
                os.close(fd)

    def _missing(self, name: str, after: str) -> Iterator[Found]:
        """Yield what a DICOMDIR references and is not there; ``name`` ends in ``//``."""
        dicomdir = name.removesuffix(_BEHIND)
        try:
            with self.lend(dicomdir) as source:
                wanted = references(source, self._bounds.limits)
        except (SymbolicLink, NotARegularFile, TooLarge, UnreadableFile):
            return  # reported under its own name
        folder = _folded_path(dicomdir[: dicomdir.rfind("/") + 1])
        behind = encode(after)
        for reference in wanted:
            missing = name.encode() + b"/".join(reference)
            is_there = folder + b"/".join(map(folded, reference)) in self.contents.paths
            if missing > behind and not is_there:
                yield Found(decode(missing), 0, MissingReferencedFile)


def beginning(fd: int, member: Member) -> int:
    """Return where a member's packed bytes begin.

    Raises:
        UnreadableFile: its local header is damaged, or it reaches into the next member.
    """
    header = LentFile(fd, member.stop).read(member.start, _LOCAL.size)
    signature, _, _, method, *_, name_bytes, extra_bytes = _LOCAL.unpack(header)
    begin: int = member.start + _LOCAL.size + name_bytes + extra_bytes
    expected = zipfile.ZIP_DEFLATED if member.is_deflated else zipfile.ZIP_STORED
    if signature != _HEADER or method != expected:
        raise UnreadableFile
    if begin + member.packed > member.stop:
        raise UnreadableFile
    return begin


def unpacked(fd: int, member: Member) -> Iterator[bytes]:
    """Yield a member's bytes, never more than its table of contents says.

    Raises:
        UnreadableFile: it is damaged, or not what the table says.
    """
    packed = LentFile(fd, member.packed, beginning(fd, member))
    size = crc = 0
    for part in _inflated(packed) if member.is_deflated else _pieces(packed):
        size += len(part)
        if size > member.size:
            raise UnreadableFile
        crc = zlib.crc32(part, crc)
        yield part
    if size != member.size or crc != member.crc:
        raise UnreadableFile


def _pieces(packed: LentFile) -> Iterator[bytes]:
    for position in range(0, packed.size, _CHUNK):
        yield packed.read(position, min(_CHUNK, packed.size - position))


def _inflated(packed: LentFile) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces = _pieces(packed)
    pending = b""
    while not inflater.eof:
        is_last = not pending and not (pending := next(pieces, b""))
        try:
            part = inflater.decompress(pending, _CHUNK)
        except zlib.error:
            raise UnreadableFile from None
        # Without input the inflater may still hold output that the last call had no room for.
        if is_last and not inflater.eof:
            raise UnreadableFile
        pending = inflater.unconsumed_tail
        if part:
            yield part
    if inflater.unused_data or next(pieces, b""):
        raise UnreadableFile


def _spool(parts: Iterator[bytes], fd: int) -> None:
    for part in parts:
        try:
            write_all(fd, part)
        except OSError:
            raise StorageUnavailable("The spool is full or cannot be written") from None
