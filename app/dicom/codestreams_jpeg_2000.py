"""Metadata inside codestreams of JPEG 2000 and High-Throughput JPEG 2000.

Source: ISO/IEC 15444-1, annex A; ISO/IEC 15444-2, annex A; ISO/IEC 15444-15.
"""

import re

from app.dicom.edits import U16, U32, Edit, Frame, finish, read_number, segment_end
from app.errors import MalformedDicom

JPEG_2000_START = b"\xff\x4f\xff\x51"
_SOT, _SOD, _EOC, _J2K_COM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_J2K_SEGMENTS = frozenset(
    {*range(0xFF50, 0xFF54), *range(0xFF55, 0xFF5A), *range(0xFF5C, 0xFF62), 0xFF63}
    | set(range(0xFF72, 0xFF7A))
)
_EOC_BYTES = re.compile(rb"\xff\xd9")


def jpeg_2000_edits(frame: Frame, start: int, stop: int, edits: list[Edit]) -> list[Edit]:
    """Add the edits of the codestream in ``frame[start:stop]`` to what stands before it."""
    position = start + 2
    while (marker := read_number(U16, frame, position)) != _SOT:
        end = _j2k_segment_end(frame, position, marker, stop)
        if marker == _J2K_COM:
            edits.append(Edit(position, end))
        position = end
    while marker == _SOT:
        position = _tile_part(frame, position, stop, edits)
        marker = read_number(U16, frame, position)
    if marker != _EOC or position + 2 > stop:
        raise MalformedDicom("A JPEG 2000 codestream has no end marker")
    return finish(edits, position + 2, frame)


def _j2k_segment_end(frame: Frame, position: int, marker: int, stop: int) -> int:
    if marker != _J2K_COM and marker not in _J2K_SEGMENTS:
        raise MalformedDicom("A JPEG 2000 codestream has an unknown marker")
    return segment_end(frame, position, stop)


def _tile_part(frame: Frame, start: int, stop: int, edits: list[Edit]) -> int:
    """Blank the comments in one tile-part's header in place, so that no length changes."""
    if segment_end(frame, start, stop) != start + 12:
        raise MalformedDicom("A JPEG 2000 tile-part has a wrong header")
    position = start + 12
    while (marker := read_number(U16, frame, position)) != _SOD:
        end = _j2k_segment_end(frame, position, marker, stop)
        blank = bytes(end - position - 4)
        if marker == _J2K_COM and bytes(frame[position + 4 : end]) != blank:
            edits.append(Edit(position + 4, end, blank))
        position = end
    end = start + read_number(U32, frame, start + 6)
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
