"""Marker segments of JPEG 2000: where their content ends, and what pointers to packets say.

Source: ISO/IEC 15444-1, A.5, A.6 and A.7; ISO/IEC 15444-15, A.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.dicom.edits import U16, U32
from app.errors import MalformedDicom

SIZ, CAP, COD, COC, RGN, QCD, QCC = 0xFF51, 0xFF50, 0xFF52, 0xFF53, 0xFF5E, 0xFF5C, 0xFF5D
TLM, PRF, PLM, PLT, CPF = 0xFF55, 0xFF56, 0xFF57, 0xFF58, 0xFF59
CRG, COM = 0xFF63, 0xFF64
POC: Final = 0xFF5F
#: Segments of the main header that decide no sample: texts, pointers, profiles, registration.
NEEDLESS: Final = frozenset((COM, PRF, PLM, CPF, CRG))
#: Segments that a header has once for all components, or for each of them.
_OF_ALL, _OF_ONE = frozenset((SIZ, CAP, COD, QCD)), frozenset((COC, QCC, RGN))
_SIZ_BYTES, _MOST_SHORT = 36, 256
_CODING_BYTES, _LEVELS_IN_COD, _MOST_LEVELS = 5, 5, 32
_PRECINCTS = 1
_ENTRY_BYTES: Final = {0: 1, 2: 2}
_CONTINUED, _SEVEN_BITS = 0x80, 0x7F


@dataclass(frozen=True, slots=True)
class Image:
    """What SIZ says: how many components and tiles there are."""

    components: int
    tiles: int

    @property
    def index_bytes(self) -> int:
        """Bytes of a component's number in other segments."""
        return 1 if self.components <= _MOST_SHORT else 2


def image_of(body: bytes) -> Image:
    """Read SIZ.

    Raises:
        MalformedDicom: it is not whole, or there is no tile.
    """
    if len(body) < _SIZ_BYTES:
        raise _wrong()
    right, bottom, _, _, width, height, left, top = (U32(body, 2 + 4 * n)[0] for n in range(8))
    (components,) = U16(body, 34)
    if not (width and height and components and right > left and bottom > top):
        raise _wrong()
    return Image(components, -(-(right - left) // width) * -(-(bottom - top) // height))


def identity(marker: int, body: bytes, image: Image) -> tuple[int, int] | None:
    """Return what a header may have once of this kind; None where there may be more."""
    if marker in _OF_ALL:
        return marker, -1
    if marker in _OF_ONE:
        return marker, int.from_bytes(body[: image.index_bytes], "big")
    return None


def content_bytes(marker: int, body: bytes, image: Image) -> int:
    """Return how many bytes of a segment are content; all where nothing says so.

    Raises:
        MalformedDicom: the segment is too short.
    """
    size = len(body)
    if marker == SIZ:
        size = _SIZ_BYTES + 3 * image.components
    elif marker == CAP:
        size = 4 + 2 * int.from_bytes(body[:4], "big").bit_count()
    elif marker == RGN:
        size = image.index_bytes + 2
    elif marker == POC:
        entry = 5 + 2 * image.index_bytes
        size = len(body) // entry * entry
    elif marker in {COD, COC}:
        first = _first_level(marker, image)
        has_precincts = len(body) > first and body[0 if marker == COD else first - 1] & _PRECINCTS
        size = first + _CODING_BYTES + (body[first] + 1 if has_precincts else 0)
    if len(body) < size:
        raise _wrong()
    return size


def levels_of(marker: int, body: bytes, image: Image) -> int:
    """Return how often COD or COC decompose; 0 for other segments."""
    return min(body[_first_level(marker, image)], _MOST_LEVELS) if marker in {COD, COC} else 0


def _first_level(marker: int, image: Image) -> int:
    return _LEVELS_IN_COD if marker == COD else image.index_bytes + 1


def quantisation_bytes(marker: int, body: bytes, image: Image, levels: int) -> int:
    """Return how many bytes of QCD or QCC are steps of that many decompositions, or fewer."""
    first = 1 + (image.index_bytes if marker == QCC else 0)
    if len(body) < first:
        raise _wrong()
    entry = _ENTRY_BYTES.get(body[first - 1] & 0x1F)
    size = first + (entry * (3 * levels + 1) if entry else 2)
    return min(size, len(body))


def are_lengths(bodies: Sequence[bytes], size: int) -> bool:
    """Say whether PLT segments tell the lengths of packets of so many bytes together."""
    length = total = goes_on = 0
    for byte in b"".join(body[1:] for body in sorted(bodies, key=_number)):
        length = length << 7 | byte & _SEVEN_BITS
        goes_on = byte & _CONTINUED
        if not goes_on:
            total, length = total + length, 0
        if length > size:
            return False
    return total == size and not goes_on


def are_tile_parts(bodies: Sequence[bytes], tile_parts: Sequence[tuple[int, int]]) -> bool:
    """Say whether TLM segments tell the tile and the length of each tile-part and no more."""
    told: list[tuple[int, int]] = []
    for body in sorted(bodies, key=_number):
        kinds = body[1] if len(body) > 1 else 0xFF
        tile_bytes, entry = kinds >> 4 & 3, (kinds >> 4 & 3) + (4 if kinds & 0x40 else 2)
        if kinds & 0x8F or tile_bytes > 2 or (len(body) - 2) % entry:
            return False
        for at in range(2, len(body), entry):
            tile = int.from_bytes(body[at : at + tile_bytes], "big") if tile_bytes else len(told)
            told.append((tile, int.from_bytes(body[at + tile_bytes : at + entry], "big")))
    return told == list(tile_parts)


def blank_comment(size: int) -> bytes:
    """Return a comment without text that takes ``size`` bytes."""
    return COM.to_bytes(2, "big") + (size - 2).to_bytes(2, "big") + bytes(size - 4)


def _number(body: bytes) -> int:
    return body[0] if body else -1


def _wrong() -> MalformedDicom:
    return MalformedDicom("A segment of a JPEG 2000 codestream ends too early")
