"""Boxes around codestreams: what of JP2 and JPEG XL containers is metadata."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.dicom.codestreams_jpeg_2000 import JPEG_2000_START, jpeg_2000_edits
from app.dicom.codestreams_jpeg_xl import end_of_codestream
from app.dicom.edits import U32, U64, Edit, Frame, finish, read_number
from app.errors import MalformedDicom, UndecidableElement

_MAX_BOX = 0xFFFF_FFF0


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


_JXL_WHOLE, _JXL_PART, _JXL_LEVEL, _JXL_TYPE = b"jxlc", b"jxlp", b"jxll", b"ftyp"
_JXL_FIXED = {_JXL_TYPE: b"jxl \0\0\0\0jxl ", b"JXL ": b"\r\n\x87\n"}
_PART_NUMBER, _LAST_PART = 4, 1 << 31


def jxl_edits(frame: Frame) -> list[Edit]:
    """Keep only the boxes that carry the codestream. Source: ISO/IEC 18181-2, clause 9.

    Raises:
        MalformedDicom: there is no codestream, or more than one.
    """
    edits: list[Edit] = []
    end, carriers = 0, []
    for box in _boxes(frame, 0, len(frame)):
        end = box.end
        if box.kind in {_JXL_WHOLE, _JXL_PART}:
            carriers.append(box)
        else:
            edits += _jxl_other(frame, box)
    edits += _jxl_codestream(frame, carriers)
    return finish(sorted(edits, key=lambda edit: edit.start), end, frame)


def bare_jxl_edits(frame: Frame) -> list[Edit]:
    """Cut a codestream without boxes behind its end, where that is known."""
    end = end_of_codestream(frame, 0, len(frame))
    return [] if end is None else finish([], end, frame)


def _jxl_codestream(frame: Frame, boxes: list[_Box]) -> list[Edit]:
    """Let the last box end with the codestream, which is in one box or in numbered parts."""
    kinds = [box.kind for box in boxes]
    if kinds == [_JXL_WHOLE]:
        before = 0
    elif kinds and set(kinds) == {_JXL_PART}:
        before = _PART_NUMBER
        numbers = [read_number(U32, frame, box.content) for box in boxes]
        if numbers != [*range(len(boxes) - 1), len(boxes) - 1 | _LAST_PART]:
            raise MalformedDicom("A JPEG XL frame does not hold one codestream")
    else:
        raise MalformedDicom("A JPEG XL frame does not hold one codestream")
    held = b"".join(bytes(frame[box.content + before : box.end]) for box in boxes)
    end, last = end_of_codestream(held, 0, len(held)), boxes[-1]
    surplus = 0 if end is None else len(held) - end
    size = last.end - last.start - surplus
    if surplus > last.end - last.content - before or size > _MAX_BOX:
        raise MalformedDicom("A JPEG XL frame does not hold one codestream")
    if not surplus:
        return []
    header = struct.pack(">I4s", size - (last.content - last.start - 8), last.kind)
    return [Edit(last.start, last.content, header), Edit(last.end - surplus, last.end)]


def _jxl_other(frame: Frame, box: _Box) -> list[Edit]:
    """Leave what a decoder needs of a box without codestream: nothing, for most."""
    needed = _JXL_FIXED.get(box.kind, b"")
    if box.kind == _JXL_LEVEL:
        needed = bytes(frame[box.content : min(box.content + 1, box.end)])
    made = struct.pack(">I4s", 8 + len(needed), box.kind) + needed if needed else b""
    is_same = bytes(frame[box.start : min(box.end, box.start + len(made) + 1)]) == made
    return [] if made and is_same else [Edit(box.start, box.end, made)]
