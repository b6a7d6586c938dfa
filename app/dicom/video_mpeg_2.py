"""Video streams of MPEG-2: user data, times, and what stands behind headers, blanked in place.

Source: ISO/IEC 13818-2, 6.2.
"""

from collections.abc import Iterator
from typing import Final

from app.dicom.edits import Edit
from app.dicom.video_units import MARK, Reader, behind_the_end, blank, parts_of
from app.errors import MalformedDicom, UndecidableElement

_SLICES: Final = range(0x01, 0xB0)
_PICTURE, _USER_DATA, _SEQUENCE, _EXTENSION = 0x00, 0xB2, 0xB3, 0xB5
_SEQUENCE_END, _GROUP = 0xB7, 0xB8
_CODE_BYTES = 4
_GROUP_BYTES, _SEQUENCE_BYTES, _MATRIX_BYTES = 4, 8, 64
# Bits of a picture header by its coding type, before those of information that nobody reads.
_PICTURE_BITS: Final = {1: 29, 2: 33, 3: 37, 4: 29}
_QUANTISATION, _DISPLAY, _CODING = 3, 2, 8
# Most bytes of the extensions that change how pictures decode; the copyright extension does not.
_EXTENSION_BYTES: Final = {1: 6, 2: 8, 3: 257, 5: 8, 7: 14, 8: 7, 9: 7, 10: 4}


def mpeg_2_edits(read: Reader, size: int) -> Iterator[Edit]:
    """Yield edits in order that change no length.

    Raises:
        MalformedDicom, UndecidableElement: see ``video_edits``.
    """
    for start, stop in parts_of(read, size):
        code = read(start, min(stop - start, _CODE_BYTES))[len(MARK) :]
        if not code:
            raise MalformedDicom("A part of a video stream is empty")
        yield from _part(read, code[0], start + _CODE_BYTES, stop)


def _part(read: Reader, code: int, start: int, stop: int) -> Iterator[Edit]:
    """Judge what follows one start code."""
    if code in _SLICES:
        _refuse_information(read(start, min(2, stop - start)))
        yield from behind_the_end(read, start, stop)
    elif code == _PICTURE:
        yield from _picture(read, start, stop)
    elif code == _GROUP and stop - start >= _GROUP_BYTES:
        group = read(start, _GROUP_BYTES)
        yield from _changed(group, start, _group_without_time(group))
        yield from blank(read, start + _GROUP_BYTES, stop)
    elif code in {_SEQUENCE, _SEQUENCE_END}:
        size = _sequence_bytes(read, start, stop) if code == _SEQUENCE else 0
        yield from behind_the_end(read, start, stop, size)
    elif code == _EXTENSION and (most := _extension_bytes(read, start, stop)):
        yield from behind_the_end(read, start, stop, most)
    elif code in {_EXTENSION, _USER_DATA}:
        yield Edit(start - _CODE_BYTES, stop, bytes(stop - start + _CODE_BYTES))
    elif code != _GROUP:
        raise UndecidableElement("A video stream holds more than pictures")


def _changed(present: bytes, start: int, wanted: bytes) -> Iterator[Edit]:
    if present != wanted:
        yield Edit(start, start + len(present), wanted)


def _group_without_time(group: bytes) -> bytes:
    """Return a group header that begins at zero: the time code may be that of the day."""
    return bytes((0, 0x08, 0, group[3] & 0x60))


def _picture(read: Reader, start: int, stop: int) -> Iterator[Edit]:
    """Keep the bits of a picture header that decoders read."""
    head = read(start, min(stop - start, 5)).ljust(5, b"\0")
    bits = _PICTURE_BITS.get(head[1] >> 3 & 7)
    if bits is None:
        raise MalformedDicom("A header inside of a video is damaged")
    present = min(5, stop - start)
    kept = int.from_bytes(head, "big") >> (40 - bits) << (40 - bits)
    yield from _changed(head[:present], start, kept.to_bytes(5, "big")[:present])
    yield from blank(read, start + present, stop)


def _refuse_information(head: bytes) -> None:
    """Refuse a slice with bytes of information for later standards in its header."""
    bits = int.from_bytes(head.ljust(2, b"\0"), "big")
    if bits & 0x0400 and bits & 0x0002:
        raise UndecidableElement("A slice of a video holds more than its pictures")


def _sequence_bytes(read: Reader, start: int, stop: int) -> int:
    """Count the bytes of a sequence header by the quantisation matrices that it has."""
    most = _SEQUENCE_BYTES + 2 * _MATRIX_BYTES
    body = read(start, min(stop - start, most)).ljust(most, b"\0")
    has_intra = body[_SEQUENCE_BYTES - 1] & 2
    size = _SEQUENCE_BYTES + (_MATRIX_BYTES if has_intra else 0)
    return size + (_MATRIX_BYTES if body[size - 1] & 1 else 0)


def _extension_bytes(read: Reader, start: int, stop: int) -> int | None:
    """Count the bytes that an extension has at most; None for one that is not needed."""
    body = read(start, min(stop - start, _EXTENSION_BYTES[_QUANTISATION])).ljust(5, b"\0")
    kind = body[0] >> 4
    if kind == _DISPLAY and not body[0] & 1:
        return 5
    if kind == _CODING and not body[4] & 0x40:
        return 5
    if kind == _QUANTISATION:
        return _matrices_bytes(body)
    return _EXTENSION_BYTES.get(kind)


def _matrices_bytes(body: bytes) -> int:
    """Count the bytes of an extension with up to four quantisation matrices."""
    bits = 4
    for _ in range(4):
        place, shift = bits // 8, 7 - bits % 8
        has_matrix = place < len(body) and body[place] >> shift & 1
        bits += 1 + (8 * _MATRIX_BYTES if has_matrix else 0)
    return -(-bits // 8)
