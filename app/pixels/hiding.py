"""Whether compressed frames have room for more than the values of their pixels.

In the serving process, so out of headers and plain bytes. Room is a reason to look: a child process
decodes such frames and clears what is beside the values.
"""

from collections.abc import Sequence
from itertools import pairwise
from struct import error, unpack_from
from typing import Final

from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.source import Source
from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs_headers import Header, header_of
from app.pixels.model import Picture
from app.pixels.placing import Pieces, has_unused_bits, stored_mask

_HEADERS: Final = (Codestream.JPEG, Codestream.JPEG_2000)
_HEADER_BYTES: Final = 1 << 12
# What these lose by compression reaches over Bits Stored at times, and means nothing there.
_LOSING: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}"
    for number in (*range(50, 57), *range(59, 65), 81, 91, 93, 203)
)  # fmt: skip
_REPEAT: Final = 128


def has_hidden_room(source: Source, frames: Sequence[Pieces], picture: Picture) -> bool:
    """Say whether encapsulated frames may carry anything beside the values of their pixels.

    True as well where a codestream is larger than the instance says, or cannot be understood.
    """
    kind = codestream_of(picture.transfer_syntax)
    if kind in _HEADERS:
        return not all(_fits(source, pieces, picture) for pieces in frames)
    if not 0 < picture.bits_stored < picture.bits_allocated:
        return False
    if kind is Codestream.NATIVE:
        return has_unused_bits(source, frames, picture)
    if kind is Codestream.RLE:
        return not all(_is_clean_rle(_data(source, pieces), picture) for pieces in frames)
    return kind is not Codestream.VIDEO


def _data(source: Source, pieces: Pieces, most: int | None = None) -> bytes:
    data = b""
    for offset, size in pieces:
        data += source.read(offset, size if most is None else min(size, most - len(data)))
        if most is not None and len(data) >= most:
            break
    return data


def _fits(source: Source, pieces: Pieces, picture: Picture) -> bool:
    """Say whether a codestream has the size and the precision that the instance tells."""
    loses = picture.transfer_syntax in _LOSING
    try:
        header = _header(source, pieces)
        header.agree(picture)
    except MalformedDicom:
        return False
    except UndecidableElement:
        return loses
    return loses or not header.bits or header.bits <= picture.bits_stored


def _header(source: Source, pieces: Pieces) -> Header:
    """Read a codestream's header, which mostly stands in its first bytes."""
    try:
        return header_of(_data(source, pieces, _HEADER_BYTES))
    except MalformedDicom:
        return header_of(_data(source, pieces))


def _is_clean_rle(data: bytes, picture: Picture) -> bool:
    """Say whether no byte of an RLE frame has bits beside Bits Stored.

    Signs may be repeated above the values, in all segments or in none. Source: PS3.5 2026d, G.
    """
    try:
        count, *offsets = unpack_from("<16I", data)
    except error:
        return False
    size, bounds = picture.bits_allocated // 8, [*offsets[:count], len(data)]
    if picture.bits_allocated % 8 or count != size * picture.samples:
        return False
    stored = stored_mask(picture).to_bytes(size, "big")
    parts = [data[start:stop] for start, stop in pairwise(bounds)]
    planes = [
        (stored[number % size], _unpacked(part))
        for number, part in enumerate(parts)
        if stored[number % size] != 0xFF
    ]
    if not any(plane.translate(None, _within(used)) for used, plane in planes):
        return True
    # Values begin at the lowest bit and their sign stands in the first byte: all can be told there.
    is_simple = picture.signed and size * 8 - 8 <= picture.high_bit == picture.bits_stored - 1
    signed = _signs(picture.high_bit % 8)
    return is_simple and not any(plane.translate(None, signed) for _, plane in planes)


def _unpacked(segment: bytes) -> bytearray:
    """Return the bytes that occur in an RLE segment; repeated ones once."""
    seen, position, stop = bytearray(), 0, len(segment)
    while position < stop:
        control = segment[position]
        if control < _REPEAT:
            seen += segment[position + 1 : position + control + 2]
            position += control + 2
        else:
            seen += segment[position + 1 : position + 2] if control > _REPEAT else b""
            position += 2 if control > _REPEAT else 1
    return seen


def _within(used: int) -> bytes:
    return bytes(value for value in range(256) if not value & ~used)


def _signs(place: int) -> bytes:
    """Return bytes in which all bits above the sign repeat it."""
    above = 0xFF >> (place + 1) << (place + 1)
    return bytes(v for v in range(256) if v & above == (above if v >> place & 1 else 0))
