"""Parts of video streams that a start code begins, and which units are needed to decode pictures.

Source: ISO/IEC 14496-10, 7.4.1 and table 7-1; ISO/IEC 23008-2, 7.4.2.1 and table 7-1; ISO/IEC
13818-2, 6.2.1.
"""

from collections.abc import Callable, Iterator
from typing import Final

from app.dicom.edits import Edit
from app.errors import MalformedDicom

#: Returns so many bytes of the stream from an offset.
Reader = Callable[[int, int], bytes]
#: What every start code begins with.
MARK: Final = b"\0\0\1"

# Unit types that carry pictures and what is needed to decode them; all others are filler to us.
H_264_NEEDED: Final = frozenset((1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 19, 20))
H_265_NEEDED: Final = frozenset((*range(10), *range(16, 22), *range(32, 38)))
# Delimiters and ends: bytes that such a unit has.
_H_264_BYTES: Final = {9: 2, 10: 1, 11: 1}
_H_265_BYTES: Final = {35: 3, 36: 2, 37: 2}
_PIECE = 1 << 20
_END = b"\0\0\0"


def is_needed(unit: bytes, *, is_h_265: bool) -> bool:
    """Say whether a unit, by its first byte, is needed to decode pictures."""
    return _kind(unit, is_h_265=is_h_265) in (H_265_NEEDED if is_h_265 else H_264_NEEDED)


def most_bytes(unit: bytes, *, is_h_265: bool) -> int | None:
    """Return how many bytes a unit can have, by its first byte; None where nothing says so."""
    sizes = _H_265_BYTES if is_h_265 else _H_264_BYTES
    return sizes.get(_kind(unit, is_h_265=is_h_265))


def _kind(unit: bytes, *, is_h_265: bool) -> int:
    return unit[0] >> 1 & 0x3F if is_h_265 else unit[0] & 0x1F


def parts_of(read: Reader, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what each start code begins, the start code included."""
    before = -1
    for mark in _marks(read, size):
        if before >= 0:
            yield before, mark
        elif read(0, mark).strip(b"\0"):
            raise MalformedDicom("A video stream does not begin with a start code")
        before = mark
    if before >= 0:
        yield before, size


def _marks(read: Reader, size: int) -> Iterator[int]:
    """Yield where each start code begins, reading a piece at a time."""
    position = 0
    while position < size:
        piece = read(position, min(_PIECE, size - position))
        at = piece.find(MARK)
        while at >= 0:
            yield position + at
            at = piece.find(MARK, at + len(MARK))
        if position + len(piece) >= size:
            return
        position += len(piece) - (len(MARK) - 1)


def blank(read: Reader, start: int, stop: int) -> Iterator[Edit]:
    """Yield what makes a part zeros, a piece at a time."""
    for at in range(start, stop, _PIECE):
        size = min(_PIECE, stop - at)
        if read(at, size).strip(b"\0"):
            yield Edit(at, at + size, bytes(size))


def behind_the_end(read: Reader, start: int, stop: int, most: int | None = None) -> Iterator[Edit]:
    """Yield what makes zeros of all that stands in a part behind its end.

    Three zero bytes end a part, since nothing coded has them inside.

    Args:
        read: the stream.
        start: of the part, behind its start code.
        stop: of the part.
        most: how many bytes it can have at most.
    """
    end = stop if most is None else min(start + most, stop)
    position = start
    while position < end:
        piece = read(position, min(_PIECE, end - position))
        at = piece.find(_END)
        if at >= 0:
            end = position + at
            break
        if position + len(piece) >= end:
            break
        position += len(piece) - (len(_END) - 1)
    yield from blank(read, end, stop)
