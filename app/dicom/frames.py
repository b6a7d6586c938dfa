"""Encapsulated pixel data without the metadata that hides inside its frames.

One frame is in memory at a time; what stays is referred to in the source, not copied.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.dicom.codestreams import (
    Codestream,
    codestream_of,
    frame_fragments,
    image_kind,
    metadata_edits,
)
from app.dicom.edits import Edit, edited_size
from app.dicom.frame_sizes import FrameSize
from app.dicom.source import Source
from app.dicom.tokens import PixelValue
from app.dicom.video import video_edits
from app.errors import MalformedDicom, UndecidableElement

#: Encapsulated Uncompressed Explicit VR Little Endian. Source: PS3.5 2026d, A.4.11.
ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1.98"
_ITEM = struct.Struct("<II").pack
_ITEM_TAG = 0xE000FFFE
_SEQUENCE_END = _ITEM(0xE0DDFFFE, 0)
_MAX_OFFSET = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the source that goes out as it is."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Lent:
    """A part of another source, which whoever made it keeps open until the result is written."""

    source: Source
    offset: int
    size: int


Segment = bytes | Range | Lent


def size_of(segment: Segment) -> int:
    """Return a segment's length in bytes."""
    return len(segment) if isinstance(segment, bytes) else segment.size


def view_of(segment: Segment, source: Source, start: int, size: int) -> bytes | memoryview:
    """Return ``size`` bytes of a segment from ``start``; ``source`` is what ranges refer to."""
    if isinstance(segment, bytes):
        return segment[start : start + size]
    lender = segment.source if isinstance(segment, Lent) else source
    return lender.view(segment.offset + start, size)


def read_into(segment: Segment, source: Source, start: int, target: memoryview) -> None:
    """Fill ``target`` with bytes of a segment from ``start``."""
    if isinstance(segment, bytes):
        target[:] = segment[start : start + len(target)]
        return
    lender = segment.source if isinstance(segment, Lent) else source
    lender.read_into(segment.offset + start, target)


@dataclass(frozen=True, slots=True)
class CleanFrames:
    """Encapsulated pixel data, ready to be written behind the element's header.

    Attributes:
        segments: the items and the sequence delimiter; None where all can stay as it is.
        offsets, lengths: values of the Extended Offset Table and its lengths, little endian.
    """

    segments: list[Segment] | None
    offsets: bytes
    lengths: bytes

    def offset_tables(self, offsets: bytes, lengths: bytes) -> dict[int, bytes]:
        """Return what to write instead of the given Extended Offset Table; empty if it holds.

        Source: PS3.3 2026d, C.7.6.3.1.8; a frame's length may leave out its padding.
        """
        count = len(self.lengths) // 8
        given = struct.unpack(f"<{len(lengths) // 8}Q", lengths[: len(lengths) // 8 * 8])
        real = struct.unpack(f"<{count}Q", self.lengths)
        fits = len(lengths) == len(self.lengths) and all(
            low <= high <= low + 1 for low, high in zip(given, real, strict=True)
        )
        if self.segments is None and offsets == self.offsets and fits:
            return {}
        return {0x7FE00001: self.offsets, 0x7FE00002: self.lengths}


def clean_frames(
    source: Source,
    pixels: PixelValue,
    transfer_syntax: str,
    *,
    frame_count: int,
    frame_size: FrameSize,
) -> CleanFrames | None:
    """Strip what is no pixel from encapsulated frames; None where there are no frames.

    Source: PS3.5 2026d, A.4 (encapsulation, Basic Offset Table).

    Raises:
        MalformedDicom, UndecidableElement: a frame is not understood.
    """
    if len(pixels.fragments) < 2:
        if any(size for _, size in pixels.fragments):
            raise MalformedDicom("There is an offset table, but no frame")
        return None
    table = pixels.fragments[0]
    offsets = _offset_table(source, table)
    frames = _streams(source, pixels, transfer_syntax, frame_count)
    changed = False
    segments: list[Segment] = []
    starts, lengths = [], []
    position = 0
    for parts in frames:
        held = sum(size for _, size in parts)
        edits = _edits(source, parts, transfer_syntax, frame_size)
        starts.append(position)
        if edits:
            changed = True
            size = edited_size(held, edits)
            segments.append(_ITEM(_ITEM_TAG, size))
            segments += _edited(parts, edits, held)
            position += 8 + size
            lengths.append(size)
        else:
            begin, end = parts[0][0] - 8, parts[-1][0] + parts[-1][1]
            segments.append(Range(begin, end - begin))
            position += end - begin
            lengths.append(held)
    # An offset table that is none carries something else: it is written anew as well.
    changed = changed or bool(table[1] % 4) or offsets not in ((), tuple(starts))
    has_table = bool(offsets) and starts[-1] <= _MAX_OFFSET
    basic = struct.pack(f"<{len(starts)}I", *starts) if has_table else b""
    items = [_ITEM(_ITEM_TAG, len(basic)) + basic, *_merged(segments), _SEQUENCE_END]
    return CleanFrames(
        segments=items if changed else None,
        offsets=struct.pack(f"<{len(starts)}Q", *starts),
        lengths=struct.pack(f"<{len(lengths)}Q", *lengths),
    )


def _streams(
    source: Source, pixels: PixelValue, transfer_syntax: str, frame_count: int
) -> list[list[tuple[int, int]]]:
    """Return the fragments of each frame; a video is one stream, however many pictures it has."""
    if codestream_of(transfer_syntax) is Codestream.VIDEO:
        return [list(pixels.fragments[1:])]
    return divide(source, pixels, transfer_syntax, frame_count=frame_count)


def lent_frames(source: Source, lengths: Sequence[int], *, has_table: bool = True) -> CleanFrames:
    """Return encapsulated pixel data whose frames lie one behind the other in another source.

    Args:
        source: where they lie, from its beginning.
        lengths: of each frame in bytes, even.
        has_table: whether a Basic Offset Table is written, where its numbers suffice.
    """
    frames: list[Segment] = []
    starts, position, offset = [], 0, 0
    for size in lengths:
        frames += [_ITEM(_ITEM_TAG, size), Lent(source, offset, size)]
        starts.append(position)
        position += 8 + size
        offset += size
    fits = has_table and (not starts or starts[-1] <= _MAX_OFFSET)
    basic = struct.pack(f"<{len(starts)}I", *starts) if fits else b""
    return CleanFrames(
        segments=[_ITEM(_ITEM_TAG, len(basic)) + basic, *frames, _SEQUENCE_END],
        offsets=struct.pack(f"<{len(starts)}Q", *starts),
        lengths=struct.pack(f"<{len(starts)}Q", *lengths),
    )


def divide(
    source: Source, pixels: PixelValue, transfer_syntax: str, *, frame_count: int
) -> list[list[tuple[int, int]]]:
    """Say where the fragments of each encapsulated frame lie: offset and size of their content.

    There may be more frames than ``frame_count``, which does not always fit. Frames that only an
    Extended Offset Table separates are one fragment each (PS3.3 2026d, C.7.6.3.1.8).

    Raises:
        MalformedDicom: the fragments cannot be divided, or should not be there at all.
    """
    is_native = codestream_of(transfer_syntax) is Codestream.NATIVE
    if is_native and transfer_syntax != ENCAPSULATED_NATIVE:
        raise MalformedDicom("The pixel data is encapsulated, which its transfer syntax is not")
    if len(pixels.fragments) < 2:
        return []
    table, fragments = pixels.fragments[0], pixels.fragments[1:]
    # Pixels may look like the beginning of any format.
    kinds = source if not is_native else None
    frames = _divide(kinds, fragments, _offset_table(source, table), frame_count)
    return [[fragments[number] for number in frame] for frame in frames]


def _edits(
    source: Source,
    parts: Sequence[tuple[int, int]],
    transfer_syntax: str,
    frame_size: FrameSize,
) -> list[Edit]:
    kind = codestream_of(transfer_syntax)
    if kind is Codestream.VIDEO:
        return _video_edits(source, parts, transfer_syntax)
    if kind is Codestream.NATIVE:
        return _native_edits(source, parts, frame_size)
    data = b"".join(source.read(*part) for part in parts)
    return metadata_edits(data, transfer_syntax, frame_size)


def _native_edits(
    source: Source, parts: Sequence[tuple[int, int]], frame_size: FrameSize
) -> list[Edit]:
    """Return what cuts a frame behind its last pixel; nothing else of it is read."""
    held = sum(size for _, size in parts)
    pixels = frame_size.native_bytes(held)
    padding = bytes(pixels % 2)
    ranges = _ranges(parts, pixels, min(held, pixels + 2))
    behind = b"".join(source.read(one.offset, one.size) for one in ranges)
    return [] if behind == padding else [Edit(pixels, held, padding)]


def _video_edits(
    source: Source, parts: Sequence[tuple[int, int]], transfer_syntax: str
) -> list[Edit]:
    """Return the edits of a stream that is read piece by piece, since it may be large.

    Raises:
        UndecidableElement: it is too long for the one item that it would become.
    """
    size = sum(length for _, length in parts)

    def read(start: int, length: int) -> bytes:
        ranges = _ranges(parts, start, min(start + length, size))
        return b"".join(source.read(one.offset, one.size) for one in ranges)

    edits = video_edits(read, size, transfer_syntax)
    if edits and size > _MAX_OFFSET:
        raise UndecidableElement("A video is too long to be changed")
    return edits


def _offset_table(source: Source, table: tuple[int, int]) -> tuple[int, ...]:
    offset, size = table
    return struct.unpack(f"<{size // 4}I", source.read(offset, size // 4 * 4))


def _divide(
    source: Source | None,
    fragments: Sequence[tuple[int, int]],
    offsets: Sequence[int],
    frame_count: int,
) -> list[range]:
    def kind_of(index: int) -> Codestream:
        offset, size = fragments[index]
        return image_kind(source.read(offset, min(size, 12))) if source else Codestream.UNKNOWN

    first = kind_of(0)

    # Inside of a frame of one format, two bytes may look like the beginning of another by chance.
    def begins_frame(index: int) -> bool:
        return first is not Codestream.UNKNOWN and kind_of(index) is first

    def images() -> int:
        return sum(map(begins_frame, range(len(fragments))))

    # Number of Frames does not always fit: what begins an image is a frame, and none is lost.
    if frame_count == 1 and len(fragments) > 1 and (count := images()) > 1:
        return frame_fragments(fragments, (), count, begins_frame)
    try:
        return frame_fragments(fragments, offsets, frame_count, begins_frame)
    except MalformedDicom:
        return frame_fragments(fragments, (), images(), begins_frame)


def _edited(
    parts: Sequence[tuple[int, int]], edits: Sequence[Edit], size: int
) -> Iterator[Segment]:
    """Yield what stays of a frame as ranges of the source, with the replacements between."""
    position = 0
    for edit in edits:
        yield from _ranges(parts, position, edit.start)
        if edit.replacement:
            yield edit.replacement
        position = edit.end
    yield from _ranges(parts, position, size)


def _ranges(parts: Sequence[tuple[int, int]], start: int, stop: int) -> Iterator[Range]:
    """Yield where ``frame[start:stop]`` lies in the source."""
    base = 0
    for offset, size in parts:
        low, high = max(start, base), min(stop, base + size)
        if low < high:
            yield Range(offset + low - base, high - low)
        base += size


def _merged(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the segments with neighbouring ranges joined."""
    pending: Range | None = None
    for segment in segments:
        if pending and isinstance(segment, Range) and _touch(pending, segment):
            pending = Range(pending.offset, pending.size + segment.size)
            continue
        if pending:
            yield pending
        pending = segment if isinstance(segment, Range) else None
        if pending is None:
            yield segment
    if pending:
        yield pending


def _touch(first: Range, second: Range) -> bool:
    return first.offset + first.size == second.offset
