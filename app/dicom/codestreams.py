"""Compressed frames: what of them is metadata, and how to strip it without re-encoding.

Pure functions over the bytes of one frame. The answer is a list of edits, so that unchanged pixel
bytes are never copied here; entropy-coded data stay as they are and decode to the same values.
Which frames are read and where the result goes is not decided here.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from app.errors import LimitExceeded, MalformedDicom, UndecidableElement

Frame = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``frame[start:end]``; ``replacement`` may be longer, shorter or empty."""

    start: int
    end: int
    replacement: bytes = b""


class Codestream(StrEnum):
    """Kinds of frames, by what has to be understood to find their metadata."""

    NATIVE = "native"
    JPEG = "jpeg"
    JPEG_2000 = "jpeg-2000"
    JPEG_XL = "jpeg-xl"
    RLE = "rle"
    DEFLATE = "deflate"
    VIDEO = "video"
    UNKNOWN = "unknown"


def _kinds() -> dict[str, Codestream]:
    jpeg = "1.2.840.10008.1.2.4."
    kinds = dict.fromkeys((f"{jpeg}{number}" for number in (*range(50, 67), 70)), Codestream.JPEG)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in (80, 81)), Codestream.JPEG)
    numbers = (90, 91, 92, 93, 201, 202, 203)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in numbers), Codestream.JPEG_2000)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in (110, 111, 112)), Codestream.JPEG_XL)
    for number in range(100, 109):
        kinds[f"{jpeg}{number}"] = kinds[f"{jpeg}{number}.1"] = Codestream.VIDEO
    kinds["1.2.840.10008.1.2.5"] = Codestream.RLE
    kinds["1.2.840.10008.1.2.8.1"] = Codestream.DEFLATE
    native = ("", ".1", ".2", ".1.98", ".1.99")
    return kinds | dict.fromkeys((f"1.2.840.10008.1.2{arc}" for arc in native), Codestream.NATIVE)


_KINDS = _kinds()


def codestream_of(transfer_syntax_uid: str) -> Codestream:
    """Name the kind of frames that a transfer syntax holds. Source: PS3.5 2026d, A.4."""
    return _KINDS.get(transfer_syntax_uid, Codestream.UNKNOWN)


def metadata_edits(
    frame: Frame, transfer_syntax_uid: str, *, segment_bytes: int | None = None
) -> list[Edit]:
    """Find everything in one frame that is not needed to decode its pixels.

    The edits are in order and do not overlap; the edited frame has an even length and decodes to
    the same pixel values. An empty list means that the frame can stay as it is. What the decoder
    needs (JFIF, Adobe's and the JPEG-LS colour transform) stays in its minimal form. The content
    decides between the image formats, since frames are met under a neighbour's transfer syntax.

    Args:
        frame: the whole frame, its fragments joined.
        transfer_syntax_uid: of the SOP Instance.
        segment_bytes: for RLE, the decoded size of one segment (rows * columns, an eighth of it
            for one bit a pixel); without it what follows a segment's data stays.

    Raises:
        MalformedDicom: the frame contradicts its format, or ends too early.
        UndecidableElement: the format is not understood, or its metadata cannot be told apart
            from what the pixels need.
    """
    kind = codestream_of(transfer_syntax_uid)
    if kind is Codestream.NATIVE:
        return []
    if kind is Codestream.RLE:
        return _rle_edits(frame, segment_bytes)
    if kind is Codestream.DEFLATE:
        return _deflate_edits(frame)
    if kind in {Codestream.VIDEO, Codestream.UNKNOWN}:
        raise UndecidableElement("Metadata inside this kind of compressed frame cannot be found")
    return _image_edits(frame)


def edited_size(size: int, edits: Sequence[Edit]) -> int:
    """Compute the length of the edited frame in bytes."""
    return size + sum(len(edit.replacement) - (edit.end - edit.start) for edit in edits)


def frame_fragments(
    fragments: Sequence[tuple[int, int]],
    offset_table: Sequence[int],
    frame_count: int,
    begins_frame: Callable[[int], bool],
) -> list[range]:
    """Say which fragments make up each frame. Source: PS3.5 2026d, A.4.

    Args:
        fragments: offset of the content and length of each fragment, without the offset table.
        offset_table: the Basic Offset Table's values; empty where there is none.
        frame_count: Number of Frames.
        begins_frame: whether a fragment, by index, starts with its format's first marker; asked
            only where there is neither one fragment a frame nor an offset table.

    Raises:
        MalformedDicom: the fragments cannot be divided into that many frames.
    """
    if frame_count == 1:
        starts = [0]
    elif len(fragments) == frame_count:
        starts = list(range(frame_count))
    elif offset_table:
        first = fragments[0][0] if fragments else 0
        index = {offset - first: number for number, (offset, _) in enumerate(fragments)}
        starts = [index.get(offset, -1) for offset in offset_table]
    else:
        starts = [number for number in range(len(fragments)) if begins_frame(number)]
    rising = all(low < high for low, high in pairwise(starts))
    if len(starts) != frame_count or starts[:1] != [0] or not fragments or not rising:
        raise MalformedDicom("The fragments do not divide into the frames")
    stops = [*starts[1:], len(fragments)]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


# --- What all image formats share --------------------------------------------------------------

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JPEG_XL_START = b"\xff\x0a"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_U64 = struct.Struct(">Q").unpack_from


def begins_image(start: bytes) -> bool:
    """Say whether these first bytes (12 are enough) begin a frame of a known image format."""
    marks = (_JPEG_START, _JPEG_2000_START, _JPEG_XL_START, _JP2_SIGNATURE, _JXL_SIGNATURE)
    return start.startswith(marks)


def _image_edits(frame: Frame) -> list[Edit]:
    start = bytes(frame[:12])
    if start.startswith(_JPEG_START):
        return _JpegWalk(frame).edits()
    if start.startswith(_JPEG_2000_START):
        return _jpeg_2000_edits(frame, 0, len(frame), [])
    if start == _JP2_SIGNATURE:
        return _jp2_edits(frame)
    if start.startswith(_JPEG_XL_START):
        return []
    if start == _JXL_SIGNATURE:
        return _jxl_edits(frame)
    raise MalformedDicom("A compressed frame does not begin like its format")


def _finish(edits: list[Edit], end: int, frame: Frame) -> list[Edit]:
    """Drop what follows the codestream's end and make the length even with one zero byte."""
    pad = b"\x00" * (edited_size(end, edits) & 1)
    rest = len(frame) - end
    if rest != len(pad) or bytes(frame[end:]) != pad:
        edits.append(Edit(end, len(frame), pad))
    return edits


def _number(unpack: Callable[..., tuple[int, ...]], frame: Frame, position: int) -> int:
    try:
        return unpack(frame, position)[0]
    except struct.error:
        raise MalformedDicom("A compressed frame ends too early") from None


def _segment_end(frame: Frame, marker: int, stop: int) -> int:
    """Find the end of the marker segment whose marker begins at ``marker``."""
    length = _number(_U16, frame, marker + 2)
    end = marker + 2 + length
    if length < 2 or end > stop:
        raise MalformedDicom("A marker segment of a compressed frame has a wrong length")
    return end


# --- JPEG and JPEG-LS --------------------------------------------------------------------------
# Source: ISO/IEC 10918-1, annex B; ISO/IEC 14495-1, annex C.

_SOI, _EOI, _SOS, _COM, _SOF_LS = 0xD8, 0xD9, 0xDA, 0xFE, 0xF7
_APP_FIRST, _APP_LAST = 0xE0, 0xEF
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_NEEDED = frozenset(range(0xC0, 0xD0)) - {0xC8} | {_SOS, *range(0xDB, 0xE0), _SOF_LS, 0xF8, 0xF9}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# In entropy-coded data FF is stuffed: with a zero byte, or in JPEG-LS with a zero bit.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER_IN_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_JFIF_DEFAULT = b"\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_MAX_DENSITY = 4800


class _JpegWalk:
    """Walks the marker segments of one frame and collects edits."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.position = 2
        self.is_ls = False
        self.found: list[Edit] = []

    def edits(self) -> list[Edit]:
        """Walk from SOI to EOI."""
        pattern, scanned = _MARKER, False
        while True:
            match = pattern.search(self.frame, self.position)
            if match is None:
                raise MalformedDicom("A compressed frame has no end marker")
            start = match.start()
            if pattern is _MARKER and start > self.position:
                self.found.append(Edit(self.position, start))
            marker = self.frame[start + 1]
            if marker == _EOI and scanned:
                return _finish(self.found, start + 2, self.frame)
            self._segment(start, marker)
            pattern = self._scan_pattern() if marker == _SOS else _MARKER
            scanned = scanned or marker == _SOS

    def _scan_pattern(self) -> re.Pattern[bytes]:
        return _MARKER_IN_LS_SCAN if self.is_ls else _MARKER_IN_SCAN

    def _segment(self, start: int, marker: int) -> None:
        if marker in _NO_LENGTH:
            self.position = start + 2
            return
        is_metadata = marker == _COM or _APP_FIRST <= marker <= _APP_LAST
        if not is_metadata and marker not in _NEEDED:
            raise MalformedDicom("A compressed frame has an unknown marker")
        self.position = _segment_end(self.frame, start, len(self.frame))
        self.is_ls = self.is_ls or marker == _SOF_LS
        if is_metadata:
            present = bytes(self.frame[start : min(self.position, start + 24)])
            canonical = _canonical_segment(present, self.position - start)
            if canonical != present or len(canonical) != self.position - start:
                self.found.append(Edit(start, self.position, canonical))


def _canonical_segment(segment: bytes, size: int) -> bytes:
    """Give what a decoder needs of an APPn or COM segment: nothing, for most.

    JFIF and Adobe's segment decide the colour space, "mrfx" the colour transform of JPEG-LS.
    """
    marker, body = segment[1], segment[4:]
    if marker == 0xE0 and body.startswith(b"JFIF\x00") and size >= 18:
        return _canonical_jfif(body)
    if marker == 0xEE and body.startswith(b"Adobe") and size >= 16:
        transform = body[11] if body[11] <= 2 else 1
        return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes((transform,))
    if marker == 0xE8 and body.startswith(b"mrfx") and size >= 9:
        return b"\xff\xe8\x00\x07mrfx" + body[4:5]
    return b""


def _canonical_jfif(body: bytes) -> bytes:
    """Drop the thumbnail; a version or density that no encoder writes gives way to defaults."""
    version, units = body[5:7], body[7]
    densities = _U16(body, 8)[0], _U16(body, 10)[0]
    is_usual = version in {b"\x01\x00", b"\x01\x01", b"\x01\x02"} and units <= 2
    if is_usual and max(densities) <= _MAX_DENSITY:
        return _JFIF + body[5:12] + b"\x00\x00"
    return _JFIF + _JFIF_DEFAULT


# --- JPEG 2000 and High-Throughput JPEG 2000 ---------------------------------------------------
# Source: ISO/IEC 15444-1, annexes A and I; ISO/IEC 15444-2, annex A; ISO/IEC 15444-15.

_SOT, _SOD, _EOC, _J2K_COM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_J2K_SEGMENTS = frozenset(
    {*range(0xFF50, 0xFF54), *range(0xFF55, 0xFF5A), *range(0xFF5C, 0xFF62), 0xFF63}
    | set(range(0xFF72, 0xFF7A))
)
_EOC_BYTES = re.compile(rb"\xff\xd9")


def _jpeg_2000_edits(frame: Frame, start: int, stop: int, edits: list[Edit]) -> list[Edit]:
    position = start + 2
    while (marker := _number(_U16, frame, position)) != _SOT:
        end = _j2k_segment_end(frame, position, marker, stop)
        if marker == _J2K_COM:
            edits.append(Edit(position, end))
        position = end
    while marker == _SOT:
        position = _tile_part(frame, position, stop, edits)
        marker = _number(_U16, frame, position)
    if marker != _EOC or position + 2 > stop:
        raise MalformedDicom("A JPEG 2000 codestream has no end marker")
    return _finish(edits, position + 2, frame)


def _j2k_segment_end(frame: Frame, position: int, marker: int, stop: int) -> int:
    if marker != _J2K_COM and marker not in _J2K_SEGMENTS:
        raise MalformedDicom("A JPEG 2000 codestream has an unknown marker")
    return _segment_end(frame, position, stop)


def _tile_part(frame: Frame, start: int, stop: int, edits: list[Edit]) -> int:
    """Blank the comments in one tile-part's header in place, so that no length changes."""
    if _segment_end(frame, start, stop) != start + 12:
        raise MalformedDicom("A JPEG 2000 tile-part has a wrong header")
    position = start + 12
    while (marker := _number(_U16, frame, position)) != _SOD:
        end = _j2k_segment_end(frame, position, marker, stop)
        blank = bytes(end - position - 4)
        if marker == _J2K_COM and bytes(frame[position + 4 : end]) != blank:
            edits.append(Edit(position + 4, end, blank))
        position = end
    end = start + _number(_U32, frame, start + 6)
    if end == start:
        end = _end_of_last_tile_part(frame, position + 2)
    if not position + 2 <= end <= stop:
        raise MalformedDicom("A JPEG 2000 tile-part has a wrong length")
    return end


def _end_of_last_tile_part(frame: Frame, position: int) -> int:
    match = _EOC_BYTES.search(frame, position)
    if match is None:
        raise MalformedDicom("A JPEG 2000 codestream has no end marker")
    return match.start()


# --- Boxes: JP2 and JPEG XL containers ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    content: int
    end: int


def _boxes(frame: Frame, position: int, stop: int) -> Iterator[_Box]:
    """Walk boxes; fewer than eight bytes at the end are no box and are left over."""
    while stop - position >= 8:
        length, content = _number(_U32, frame, position), position + 8
        kind = bytes(frame[position + 4 : position + 8])
        if length == 1:
            length, content = _number(_U64, frame, position + 8), position + 16
        end = position + length if length else stop
        if not content <= end <= stop:
            raise MalformedDicom("A box around a compressed frame has a wrong length")
        yield _Box(kind, position, content, end)
        position = end


def _jp2_edits(frame: Frame) -> list[Edit]:
    """Keep only the contiguous codestream. Source: ISO/IEC 15444-1, annex I."""
    codestreams = []
    for box in _boxes(frame, 0, len(frame)):
        if box.kind == b"jp2h":
            _refuse_channel_mapping(frame, box)
        elif box.kind == b"jp2c":
            codestreams.append(box)
    if len(codestreams) != 1:
        raise UndecidableElement("A JP2 frame does not hold exactly one codestream")
    box = codestreams[0]
    if bytes(frame[box.content : box.content + 4]) != _JPEG_2000_START:
        raise MalformedDicom("A compressed frame does not begin like its format")
    return _jpeg_2000_edits(frame, box.content, box.end, [Edit(0, box.content)])


def _refuse_channel_mapping(frame: Frame, header: _Box) -> None:
    """Refuse a frame whose samples would change their meaning without its boxes."""
    for box in _boxes(frame, header.content, header.end):
        if box.kind in {b"pclr", b"cmap"}:
            raise UndecidableElement("A JP2 frame gets its colours from a palette box")
        if box.kind == b"cdef" and not _is_identity(bytes(frame[box.content : box.end])):
            raise UndecidableElement("A JP2 frame reorders its channels in a box")


def _is_identity(definitions: bytes) -> bool:
    """Say whether a channel definition box names the colours in their natural order."""
    channels = (len(definitions) - 2) // 6
    entries = (struct.unpack_from(">HHH", definitions, 2 + 6 * at) for at in range(channels))
    return all(kind == 0 and index + 1 == colour for index, kind, colour in entries)


_JXL_NEEDED = frozenset({b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp"})


def _jxl_edits(frame: Frame) -> list[Edit]:
    """Keep only the boxes that carry the codestream. Source: ISO/IEC 18181-2, clause 9."""
    edits: list[Edit] = []
    end, carries = 0, False
    for box in _boxes(frame, 0, len(frame)):
        end = box.end
        carries = carries or box.kind in {b"jxlc", b"jxlp"}
        if box.kind not in _JXL_NEEDED:
            edits.append(Edit(box.start, box.end))
    if not carries:
        raise MalformedDicom("A JPEG XL frame holds no codestream")
    return _finish(edits, end, frame)


# --- RLE and deflated frames -------------------------------------------------------------------

_RLE_HEADER = struct.Struct("<16I")
_RLE_NOTHING = b"\x80"  # a control byte that yields no pixel
_MAX_INFLATED = 1 << 32
_PIECE = 1 << 14  # inflates to 17 MB at most


def _rle_edits(frame: Frame, segment_bytes: int | None) -> list[Edit]:
    """Check the offsets, blank the header's unused part and the gaps. Source: PS3.5 2026d, G."""
    if len(frame) < 64:
        raise MalformedDicom("An RLE frame is too short")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    bounds = [*offsets[:count], len(frame)]
    rising = all(low < high for low, high in pairwise(bounds))
    if not 1 <= count <= 15 or bounds[0] != 64 or not rising:
        raise MalformedDicom("An RLE frame has wrong segment offsets")
    edits = [Edit(4 + 4 * count, 64, bytes(60 - 4 * count))] if any(offsets[count:]) else []
    if segment_bytes is None:
        return edits
    end = 64
    for start, stop in pairwise(bounds):
        segment = bytes(frame[start:stop])
        end = start + _packed_size(segment, segment_bytes)
        gap = segment[end - start :]
        if stop < len(frame) and gap != b"\x00" and gap.strip(_RLE_NOTHING):
            edits.append(Edit(end, stop, _RLE_NOTHING * len(gap)))
    return _finish(edits, end, frame)


def _packed_size(segment: bytes, unpacked: int) -> int:
    """Count the packed bytes that unpack to so many; about 0.1 µs for each run."""
    position = 0
    try:
        while unpacked > 0:
            control = segment[position]
            if control < 128:
                position += control + 2
                unpacked -= control + 1
            elif control > 128:
                position += 2
                unpacked -= 257 - control
            else:
                position += 1
    except IndexError:
        position = len(segment) + 1
    if position > len(segment):
        raise MalformedDicom("An RLE segment ends too early")
    return position


def _deflate_edits(frame: Frame) -> list[Edit]:
    """Find the end of the deflated stream by inflating it in pieces. Source: PS3.5 2026d, A.4."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    read = inflated = 0
    try:
        while not inflate.eof and read < len(frame):
            inflated += len(inflate.decompress(frame[read : read + _PIECE]))
            read = min(read + _PIECE, len(frame))
            if inflated > _MAX_INFLATED:
                raise LimitExceeded("A deflated frame is larger than the bound allows")
    except zlib.error:
        raise MalformedDicom("A deflated frame is damaged") from None
    if not inflate.eof:
        raise MalformedDicom("A deflated frame ends too early")
    return _finish([], read - len(inflate.unused_data), frame)
