"""Boxes around codestreams: what of JP2 and JPEG XL containers is metadata."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.dicom.codestreams_jpeg_2000 import JPEG_2000_START, jpeg_2000_edits
from app.dicom.edits import U32, U64, Edit, Frame, finish, read_number
from app.errors import MalformedDicom, UndecidableElement


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    content: int
    end: int


def _boxes(frame: Frame, position: int, stop: int) -> Iterator[_Box]:
    """Walk boxes; fewer than eight bytes at the end are no box and are left over."""
    while stop - position >= 8:
        length, content = read_number(U32, frame, position), position + 8
        kind = bytes(frame[position + 4 : position + 8])
        if length == 1:
            length, content = read_number(U64, frame, position + 8), position + 16
        end = position + length if length else stop
        if not content <= end <= stop:
            raise MalformedDicom("A box around a compressed frame has a wrong length")
        yield _Box(kind, position, content, end)
        position = end


def jp2_edits(frame: Frame) -> list[Edit]:
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
    if bytes(frame[box.content : box.content + 4]) != JPEG_2000_START:
        raise MalformedDicom("A compressed frame does not begin like its format")
    return jpeg_2000_edits(frame, box.content, box.end, [Edit(0, box.content)])


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


def jxl_edits(frame: Frame) -> list[Edit]:
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
    return finish(edits, end, frame)
