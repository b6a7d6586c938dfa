"""Video inside of MP4: boxes that describe it, and units between its pictures, blanked in place.

Source: ISO/IEC 14496-12 (boxes), 14496-15 (carriage of H.264 and H.265).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.dicom.edits import Edit
from app.dicom.video_mp4_sizes import (
    HEAD_BYTES,
    content_bytes,
    h_264_units,
    h_265_units,
    known_brands,
    nothing_in,
)
from app.dicom.video_units import Reader, behind_the_end, is_needed, most_bytes
from app.errors import LimitExceeded, MalformedDicom, UndecidableElement

_U32 = struct.Struct(">I").unpack_from
_U64 = struct.Struct(">Q").unpack_from
_HEAD = 8
_MAX_BOXES = 10_000
_MAX_GAP = 64 << 20
_MAX_TABLE = 64 << 20
_MAX_SAMPLES = 2_000_000

# What becomes of a box: entered, kept, or blanked; any other box is refused.
_ENTERED = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf"))
_KEPT = frozenset(
    (
        *(b"ftyp", b"vmhd", b"stts", b"stss", b"ctts", b"cslg", b"stsc", b"stsz", b"stco"),
        *(b"co64", b"sdtp", b"elst"),
    )
)
# Blanked as well: groups, priorities and parts of samples, which players seek by or do not read.
_BLANKED = frozenset(
    (
        *(b"udta", b"meta", b"uuid", b"free", b"skip", b"wide", b"iods", b"pdin"),
        *(b"sgpd", b"sbgp", b"subs", b"stdp", b"padb", b"prft", b"tapt", b"load"),
    )
)
_TIMED = frozenset((b"mvhd", b"tkhd", b"mdhd"))
_ENTRIES = {b"avc1": b"avcC", b"avc3": b"avcC", b"hvc1": b"hvcC", b"hev1": b"hvcC"}
_MAX_COLOUR = 11
_ENTRY_BOXES = frozenset((b"pasp", b"colr", b"btrt", b"fiel", b"clap"))
_SELF_CONTAINED = b"\0\0\0\1\0\0\0\x0curl \0\0\0\1"
_ENTRY_HEAD = 86
# Bytes of an entry that are reserved, or how its encoder is called: place and size.
_NOTHING_IN_ENTRY = ((8, 6), (16, 16), (50, 32))


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    content: int
    stop: int


def mp4_edits(read: Reader, size: int, *, is_h_265: bool) -> Iterator[Edit]:
    """Yield edits in order that change no length.

    Raises:
        MalformedDicom, UndecidableElement: see ``video_edits``.
    """
    walk = _Walk(read, is_h_265=is_h_265)
    walk.boxes(0, size)
    edits = [*walk.edits, *walk.samples()]
    yield from sorted(edits, key=lambda edit: edit.start)


class _Walk:
    """Goes through the boxes of one file."""

    def __init__(self, read: Reader, *, is_h_265: bool) -> None:
        self.read = read
        self.is_h_265 = is_h_265
        self.edits: list[Edit] = []
        self._media: list[_Box] = []
        self._tables: dict[bytes, _Box] = {}
        self._length_size = 0
        self._count = 0

    def boxes(self, start: int, stop: int) -> None:
        """Judge the boxes in a part of the file."""
        while start < stop:
            if stop - start < _HEAD and not self.read(start, stop - start).strip(b"\0"):
                return  # padding to an even length
            box = self._box(start, stop)
            self._judge(box)
            start = box.stop

    def _box(self, start: int, stop: int) -> _Box:
        self._count += 1
        if self._count > _MAX_BOXES:
            raise LimitExceeded("A video has more boxes than the bound allows")
        head = self.read(start, min(16, stop - start))
        if len(head) < _HEAD:
            raise MalformedDicom("A box of a video ends too early")
        length, content = _U32(head)[0], start + 8
        if length == 1 and len(head) == 16:
            length, content = _U64(head, 8)[0], start + 16
        end = start + length if length else stop
        if not content <= end <= stop:
            raise MalformedDicom("A box of a video has a wrong length")
        return _Box(head[4:8], start, content, end)

    def _judge(self, box: _Box) -> None:
        if box.kind in _ENTERED:
            self.boxes(box.content, box.stop)
        elif box.kind in _BLANKED:
            self._blank(box)
        elif box.kind in _KEPT:
            self._keep(box)
        else:
            self._special(box)

    def _special(self, box: _Box) -> None:
        if box.kind == b"mdat":
            self._media.append(box)
        elif box.kind == b"hdlr":
            self._handler(box)
        elif box.kind == b"stsd":
            self._descriptions(box)
        elif box.kind == b"dref":
            self._references(box)
        elif box.kind in _TIMED:
            self._untime(box)
        else:
            raise UndecidableElement("A video holds something that no rule covers")

    def _keep(self, box: _Box) -> None:
        if self._tables.setdefault(box.kind, box) is not box:
            raise UndecidableElement("A video has more than one track")
        if box.kind == b"ftyp":
            body = self.read(box.content, box.stop - box.content)
            self._put(box.content, known_brands(body))
        self._cut(box)

    def _cut(self, box: _Box) -> None:
        """Blank what stands in a box behind its content."""
        held = box.stop - box.content
        size = content_bytes(box.kind, self.read(box.content, min(held, HEAD_BYTES)))
        if size is not None and size < held:
            self._put(box.content + size, bytes(held - size))

    def _blank(self, box: _Box) -> None:
        """Make a box one of free space, whatever is in it."""
        self._put(box.start + 4, b"free")
        self._put(box.content, bytes(box.stop - box.content))

    def _put(self, start: int, replacement: bytes) -> None:
        if replacement and self.read(start, len(replacement)) != replacement:
            self.edits.append(Edit(start, start + len(replacement), replacement))

    def _handler(self, box: _Box) -> None:
        """Keep that it is video, not how its handler is called; sound may name somebody."""
        body = self.read(box.content, min(box.stop - box.content, 24))
        if body[8:12] != b"vide":
            raise UndecidableElement("A video has sound or other tracks")
        self._put(box.content + 4, bytes(4))
        self._put(box.content + 12, bytes(max(box.stop - box.content - 12, 0)))

    def _references(self, box: _Box) -> None:
        """Take one reference only: that the media data are in the same file."""
        if self.read(box.content, box.stop - box.content)[4:] != _SELF_CONTAINED:
            raise UndecidableElement("A video refers to other files")

    def _untime(self, box: _Box) -> None:
        """Blank when a track was made and changed, and what is reserved; a duration stays."""
        version = self.read(box.content, 1)
        self._put(box.content + 4, bytes(16 if version == b"\1" else 8))
        for start, stop in nothing_in(box.kind, version, box.stop - box.content):
            self._put(box.content + start, bytes(stop - start))

    def _descriptions(self, box: _Box) -> None:
        """Judge the one entry that says how samples are encoded."""
        entry = self._box(box.content + 8, box.stop)
        wanted = _ENTRIES.get(entry.kind)
        if wanted is None or entry.stop != box.stop or (wanted == b"hvcC") != self.is_h_265:
            raise UndecidableElement("A video is encoded in a way that no rule covers")
        for at, size in _NOTHING_IN_ENTRY:
            self._put(entry.start + at, bytes(size))
        start = entry.start + _ENTRY_HEAD
        while start < entry.stop:
            inner = self._box(start, entry.stop)
            self._detail(inner, wanted)
            start = inner.stop

    def _detail(self, box: _Box, wanted: bytes) -> None:
        """Judge one box of the entry; a colour profile has texts, plain numbers have none."""
        is_profile = box.kind == b"colr" and box.stop - box.content > _MAX_COLOUR
        if box.kind == wanted:
            body = self.read(box.content, box.stop - box.content)
            try:
                units, end = h_265_units(body) if self.is_h_265 else h_264_units(body)
                self._length_size = (body[21 if self.is_h_265 else 4] & 3) + 1
                self._parameters(box, body, units)
                self._put(box.content + end, bytes(len(body) - end))
            except IndexError:
                raise MalformedDicom("The configuration of a video ends too early") from None
        elif is_profile or box.kind not in _ENTRY_BOXES:
            self._blank(box)
        else:
            self._cut(box)

    def _parameters(self, box: _Box, body: bytes, units: Sequence[tuple[int, int]]) -> None:
        """Put filler in the place of units beside the parameter sets."""
        for start, stop in units:
            if not is_needed(body[start : start + 1], is_h_265=self.is_h_265):
                self._put(box.content + start, self._filler(stop - start))

    def samples(self) -> Iterator[Edit]:
        """Yield edits in the media data: units that are not needed, and what no sample holds."""
        if not self._length_size or not self._media:
            raise MalformedDicom("A video has no samples")
        spans = sorted(self._spans())
        yield from self._dependencies(len(spans))
        inside = sum(b.content <= start < b.stop for b in self._media for start, _ in spans)
        if inside != len(spans):
            raise MalformedDicom("Samples of a video lie outside of its media data")
        for box in self._media:
            position = box.content
            for start, stop in spans:
                if not box.content <= start < box.stop:
                    continue
                if start < position or stop > box.stop:
                    raise MalformedDicom("Samples of a video overlap")
                yield from self._gap(position, start)
                yield from self._sample(start, stop)
                position = stop
            yield from self._gap(position, box.stop)

    def _dependencies(self, count: int) -> Iterator[Edit]:
        """Blank what stands behind the byte of each sample that says what it depends on."""
        box = self._tables.get(b"sdtp")
        if box is not None:
            yield from self._gap(min(box.content + 4 + count, box.stop), box.stop)

    def _gap(self, start: int, stop: int) -> Iterator[Edit]:
        if stop - start > _MAX_GAP:
            raise LimitExceeded("A video holds more than its samples")
        if stop > start and self.read(start, stop - start).strip(b"\0"):
            yield Edit(start, stop, bytes(stop - start))

    def _sample(self, start: int, stop: int) -> Iterator[Edit]:
        """Yield filler in the place of units that are not needed."""
        data = self.read(start, stop - start)
        position, width = 0, self._length_size
        while position < len(data):
            length = int.from_bytes(data[position : position + width], "big")
            begin, position = position + width, position + width + length
            if not length or position > len(data):
                raise MalformedDicom("A unit of a video has a wrong length")
            if not is_needed(data[begin : begin + 1], is_h_265=self.is_h_265):
                yield Edit(start + begin, start + position, self._filler(length))
                continue
            most = most_bytes(data[begin : begin + 1], is_h_265=self.is_h_265)
            yield from behind_the_end(self.read, start + begin, start + position, most)

    def _filler(self, length: int) -> bytes:
        head = b"\x4c\x01" if self.is_h_265 else b"\x0c"
        rest = max(length - len(head) - 1, 0)
        return (head + b"\xff" * rest + b"\x80")[:length]

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end of every sample. Source: ISO/IEC 14496-12, 8.7."""
        sizes, chunks, runs = self._sizes(), self._chunks(), self._runs()
        number = 0
        for index, offset in enumerate(chunks, start=1):
            position = offset
            for _ in range(_per_chunk(runs, index)):
                if number >= len(sizes):
                    raise MalformedDicom("A video has fewer samples than its tables say")
                yield position, position + sizes[number]
                position += sizes[number]
                number += 1
        if number != len(sizes):
            raise MalformedDicom("A video has more samples than its tables say")

    def _table(self, kind: bytes) -> bytes:
        box = self._tables.get(kind)
        if box is None:
            return b""
        if box.stop - box.content > _MAX_TABLE:
            raise LimitExceeded("A table of a video is larger than the bound allows")
        return self.read(box.content, box.stop - box.content)

    def _sizes(self) -> list[int]:
        table = self._table(b"stsz")
        if len(table) < 12:
            raise MalformedDicom("A video has no table of samples")
        each, count = _U32(table, 4)[0], _U32(table, 8)[0]
        if count > _MAX_SAMPLES:
            raise LimitExceeded("A video has more samples than the bound allows")
        return [each] * count if each else _numbers(table[12:], count, 4)

    def _chunks(self) -> list[int]:
        for kind, width in ((b"stco", 4), (b"co64", 8)):
            table = self._table(kind)
            if table:
                return _numbers(table[8:], _U32(table.ljust(8, b"\0"), 4)[0], width)
        raise MalformedDicom("A video has no table of chunks")

    def _runs(self) -> list[tuple[int, int]]:
        table = self._table(b"stsc")
        count = _U32(table.ljust(8, b"\0"), 4)[0]
        numbers = _numbers(table[8:], count * 3, 4)
        return list(zip(numbers[::3], numbers[1::3], strict=True))


def _per_chunk(runs: list[tuple[int, int]], index: int) -> int:
    """Return how many samples a chunk has, chunks counted from 1."""
    return next((many for first, many in reversed(runs) if first <= index), 0)


def _numbers(table: bytes, count: int, width: int) -> list[int]:
    if len(table) < count * width:
        raise MalformedDicom("A table of a video ends too early")
    return list(struct.unpack_from(f">{count}{'I' if width == 4 else 'Q'}", table))
