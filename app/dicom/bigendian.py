"""Explicit VR big endian data sets, rewritten as explicit VR little endian.

The retired transfer syntax is taken in so that old archives pass; it is never written.
Source: PS3.5 2006, A.3 (retired since 2006b).
"""

import array
import struct

from app.dicom.elements import LONG_VRS, UNDEFINED_LENGTH, VRS, path_text
from app.dicom.tokens import Dataset, Limits
from app.dicom.walker import HeaderEndsEarly, Walker
from app.errors import LimitExceeded, MalformedDicom, Truncated

# Bytes per value of the VRs whose byte order matters. UN is unknown by definition: left as it is.
_WIDTHS = (
    dict.fromkeys(("AT", "OW", "SS", "US"), "H")
    | dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I")
    | dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q")
)
_BITS_ALLOCATED, _PIXEL_DATA = 0x00280100, 0x7FE00010
_CELL_VRS = {32: "OL", 64: "OV"}
_HEADER = struct.Struct(">HH2s").unpack_from
_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_TAG = struct.Struct(">HHI").unpack_from
_OUT_LONG = struct.Struct("<HH2sHI").pack
_OUT_SHORT = struct.Struct("<HH2sH").pack
_OUT_ITEM = struct.Struct("<HHI").pack
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def to_little_endian(data: bytes, *, max_depth: int, max_elements: int) -> bytes:
    """Return the same data set in explicit VR little endian; items get defined lengths.

    Items of an unknown VR stay as they are, for they are little endian already.

    Raises:
        Truncated, MalformedDicom, LimitExceeded: as the tokeniser does.
    """
    converter = _Converter(data, max_depth, max_elements)
    try:
        return converter.dataset(0, len(data), 0)[0]
    except struct.error:
        raise Truncated from None


class _Converter:
    __slots__ = ("bits_allocated", "budget", "data", "max_depth")

    def __init__(self, data: bytes, max_depth: int, budget: int) -> None:
        self.data = data
        self.max_depth = max_depth
        self.budget = budget
        self.bits_allocated = 0

    def dataset(self, position: int, end: int | None, depth: int) -> tuple[bytes, int]:
        """Return the converted elements up to ``end`` (None: the item delimiter) and the place."""
        parts: list[bytes] = []
        while end is None or position < end:
            self._count()
            if not depth and self._is_padding(position):
                break
            group, element, raw_vr = _HEADER(self.data, position)
            tag = group << 16 | element
            if tag == _ITEM_END and end is None:
                return b"".join(parts), position + 8
            vr = raw_vr.decode("latin-1")
            if vr not in VRS:
                raise MalformedDicom("An element has no valid VR", path=path_text((), tag))
            if vr in LONG_VRS:
                length, value = _U32(self.data, position + 8)[0], position + 12
            else:
                length, value = _U16(self.data, position + 6)[0], position + 8
            content, position = self._value(tag, vr, value, length, depth)
            if vr in LONG_VRS:
                is_open = vr == "UN" and length == UNDEFINED_LENGTH
                size = UNDEFINED_LENGTH if is_open else len(content)
                parts.append(_OUT_LONG(group, element, raw_vr, 0, size))
            else:
                parts.append(_OUT_SHORT(group, element, raw_vr, len(content)))
            parts.append(content)
        if end is not None and position > end:
            raise Truncated
        return b"".join(parts), position

    def _value(self, tag: int, vr: str, value: int, length: int, depth: int) -> tuple[bytes, int]:
        if vr == "UN" and length == UNDEFINED_LENGTH:
            return self._unknown(tag, value, depth)
        if vr == "SQ":
            return self._items(value, None if length == UNDEFINED_LENGTH else value + length, depth)
        if length == UNDEFINED_LENGTH:
            raise MalformedDicom("An undefined length stands on a value", path=path_text((), tag))
        raw = self.data[value : value + length]
        if len(raw) < length:
            raise Truncated
        if tag == _BITS_ALLOCATED and not depth and length == 2:
            self.bits_allocated = _U16(raw)[0]
        if tag == _PIXEL_DATA and vr == "OW" and not depth:
            # Pixel cells wider than a word were written whole, most significant byte first.
            return _swapped(raw, _CELL_VRS.get(self.bits_allocated, vr)), value + length
        return _swapped(raw, vr), value + length

    def _unknown(self, tag: int, value: int, depth: int) -> tuple[bytes, int]:
        """Return items of an unknown VR as they are: implicit VR little endian everywhere.

        Source: PS3.5 2026d, 6.2.2.
        """
        limits = Limits(max_elements=self.budget, max_depth=self.max_depth)
        walker = Walker(self.data, limits)
        holder = Dataset(explicit=False)
        holder.keys.append(tag)
        try:
            stop = walker.items(holder, _swapped_tag(tag), value, None, explicit=False, depth=depth)
        except HeaderEndsEarly:
            raise Truncated from None
        self.budget = walker.budget
        return self.data[value:stop], stop

    def _items(self, position: int, end: int | None, depth: int) -> tuple[bytes, int]:
        if depth >= self.max_depth:
            raise LimitExceeded("Sequences are nested deeper than the bound")
        parts: list[bytes] = []
        while end is None or position < end:
            self._count()
            group, element, length = _TAG(self.data, position)
            tag = group << 16 | element
            if tag == _SEQUENCE_END and end is None:
                return b"".join(parts), position + 8
            if tag != _ITEM:
                raise MalformedDicom("A sequence holds something that is no item")
            stop = None if length == UNDEFINED_LENGTH else position + 8 + length
            content, position = self.dataset(position + 8, stop, depth + 1)
            parts += (_OUT_ITEM(0xFFFE, 0xE000, len(content)), content)
            if end is not None and position > end:
                raise MalformedDicom("An item is longer than its sequence")
        return b"".join(parts), position

    def _is_padding(self, position: int) -> bool:
        """Say whether nothing but padding follows, as the tokeniser does."""
        following = self.data[position : position + 8]
        if len(following) < 8:
            return not following.strip(b"\0 \r\n")
        return not any(following) and not self.data[position:].strip(b"\0")

    def _count(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise LimitExceeded("There are more elements than the bound allows")


def _swapped_tag(tag: int) -> int:
    """Return a tag as the number that its little endian bytes are."""
    return tag >> 16 | (tag & 0xFFFF) << 16


def _swapped(raw: bytes, vr: str) -> bytes:
    code = _WIDTHS.get(vr)
    if code is None or len(raw) % array.array(code).itemsize:
        return raw
    values = array.array(code, raw)
    values.byteswap()
    return values.tobytes()
