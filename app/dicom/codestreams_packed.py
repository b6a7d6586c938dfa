"""What stands beside the pixels in frames that are packed only: RLE and deflate."""

import struct
import zlib
from itertools import pairwise

from app.dicom.edits import Edit, Frame, finish
from app.dicom.frame_sizes import FrameSize
from app.errors import LimitExceeded, MalformedDicom

_RLE_HEADER = struct.Struct("<16I")
_NOTHING = 0x80  # a control byte that yields no pixel; runs of pixels as they are have lower ones
_RLE_NOTHING = bytes((_NOTHING,))
_MOST_REPEATED = 255  # repeats a byte once
_MAX_INFLATED = 1 << 32
_PIECE = 1 << 14  # inflates to 17 MB at most


def rle_edits(frame: Frame, size: FrameSize) -> list[Edit]:
    """Check the offsets, blank the header's unused part and the gaps. Source: PS3.5 2026d, G."""
    if len(frame) < 64:
        raise MalformedDicom("An RLE frame is too short")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    bounds = [*offsets[:count], len(frame)]
    rising = all(low < high for low, high in pairwise(bounds))
    if not 1 <= count <= 15 or bounds[0] != 64 or not rising:
        raise MalformedDicom("An RLE frame has wrong segment offsets")
    edits = [Edit(4 + 4 * count, 64, bytes(60 - 4 * count))] if any(offsets[count:]) else []
    unpacked = size.segment_bytes
    if count != size.segments:
        raise MalformedDicom("An RLE frame has other segments than its pixels have bytes")
    end = 64
    for start, stop in pairwise(bounds):
        segment = bytes(frame[start:stop])
        packed, shortened = _end_of_segment(segment, start, unpacked)
        edits += shortened
        end = start + packed
        gap = segment[end - start :]
        if stop < len(frame) and gap != b"\x00" and gap.strip(_RLE_NOTHING):
            edits.append(Edit(end, stop, _RLE_NOTHING * len(gap)))
    return finish(edits, end, frame)


def _end_of_segment(segment: bytes, start: int, unpacked: int) -> tuple[int, list[Edit]]:
    """Find where the last pixel of the segment at ``start`` is, and let its run end there.

    About 0.1 µs for each run.
    """
    position = run = control = 0
    try:
        while unpacked > 0:
            run, control = position, segment[position]
            if control < _NOTHING:
                position += control + 2
                unpacked -= control + 1
            elif control > _NOTHING:
                position += 2
                unpacked -= 257 - control
            else:
                position += 1
    except IndexError:
        position = len(segment) + 1
    if position > len(segment):
        raise MalformedDicom("An RLE segment ends too early")
    if not unpacked:
        return position, []
    if control < _NOTHING:
        position += unpacked
        control += unpacked
    else:
        control -= unpacked
    # One byte is no repetition.
    control = 0 if control > _MOST_REPEATED else control
    return position, [Edit(start + run, start + run + 1, bytes((control,)))]


def deflate_edits(frame: Frame, size: FrameSize) -> list[Edit]:
    """Find the end of the deflated stream by inflating it in pieces. Source: PS3.5 2026d, A.4.

    What it inflates to is the pixels and nothing else.
    """
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
    whole = size.native_bytes(inflated)
    if inflated - whole > whole % 2:
        raise MalformedDicom("A deflated frame holds more than its pixels")
    return finish([], read - len(inflate.unused_data), frame)
