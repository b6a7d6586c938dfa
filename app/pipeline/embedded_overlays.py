"""Overlays that an image keeps in bits of its pixel cells beside the values.

Their attributes go with every other overlay's, so that nothing tells of the bits any more, but who
draws them still reads what is written there. Source: PS3.5 2004, 8.1.2 (retired since).
"""

from app.dicom.clearing import ClearedSource
from app.dicom.frames import Lent, Range
from app.errors import UndecidableElement
from app.pipeline.picturing import picture_of
from app.pipeline.root import RootValues
from app.pixels.hiding import has_hidden_room
from app.pixels.placing import frames_of, stored_mask

_BIT_POSITIONS = tuple(range(0x60000102, 0x60200102, 0x20000))
_DATA = 0x3000 - 0x0102


def overlay_bits(root: RootValues, sop_class: str) -> int:
    """Return the bits of a pixel cell that hold overlays, as a mask; 0 without any.

    An overlay that has Overlay Data of its own, or whose bit is part of the values, has none.
    """
    places = root.places
    tags = [tag for tag in _BIT_POSITIONS if tag in places and tag + _DATA not in places]
    if not tags:
        return 0
    picture = picture_of(root, sop_class)
    if not 0 < picture.bits_stored < picture.bits_allocated or picture.bits_allocated % 8:
        return 0
    beside = ((1 << picture.bits_allocated) - 1) & ~stored_mask(picture)
    bits = 0
    for tag in tags:
        bits |= 1 << min(root.number(tag), picture.bits_allocated)
    return bits & beside


def without_bits(root: RootValues, pixels: Range, bits: int, bits_allocated: int) -> Lent:
    """Return native pixels with the bits of overlays cleared."""
    width = bits_allocated // 8
    kept = ((1 << bits_allocated) - 1 ^ bits).to_bytes(width, "little")
    cleared = ClearedSource(root.tokens.source, pixels.offset, pixels.size, kept)
    return Lent(cleared, 0, pixels.size)


def refuse_in_frames(root: RootValues, sop_class: str) -> None:
    """Refuse encapsulated frames that have room for the overlays that the header tells of.

    Raises:
        UndecidableElement: they have.
    """
    pixels = root.tokens.pixels
    if pixels is None or not overlay_bits(root, sop_class):
        return
    picture = picture_of(root, sop_class)
    frames = frames_of(root.tokens.source, pixels, picture)
    if has_hidden_room(root.tokens.source, frames, picture):
        raise UndecidableElement("Overlays inside compressed pixels need Clean Pixel Data")
