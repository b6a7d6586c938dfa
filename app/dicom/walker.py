"""One pass over the header: where each element lies, how deep, and where Pixel Data begins.

The inner loop of the tokeniser: one ``struct`` unpack per element, no value touched.
"""

import struct

from app.dicom.elements import (
    IMPLICIT_KEYS,
    LONG_VRS,
    PIXEL_TAGS,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    key_tag,
    path_text,
    vr_code,
)
from app.dicom.tokens import Dataset, Items, Limits
from app.errors import GatewayError, LimitExceeded, MalformedDicom

_U64 = struct.Struct("<Q").unpack_from
_U32 = struct.Struct("<I").unpack_from
_PAIR = struct.Struct("<II").unpack_from

ITEM = 0xE000FFFE
_ITEM_END = 0xE00DFFFE
SEQUENCE_END = 0xE0DDFFFE

SHORT, _LONG, _SEQUENCE, _UNKNOWN = 0, 1, 2, 3
KINDS = (
    dict.fromkeys(map(vr_code, SHORT_VRS), SHORT)
    | dict.fromkeys(map(vr_code, LONG_VRS), _LONG)
    | {vr_code("SQ"): _SEQUENCE, vr_code("UN"): _UNKNOWN}
)
_SQ_CODE = vr_code("SQ")
_UN_BITS = vr_code("UN") << 32
_LO_BITS = vr_code("LO") << 32
_UL_BITS = vr_code("UL") << 32
_PIXEL_NUMBERS = frozenset(tag >> 16 | (tag & 0xFFFF) << 16 for tag in PIXEL_TAGS)
_ENDLESS = 1 << 62


class HeaderEndsEarly(Exception):  # a signal, not an error
    """The buffer ends before the header does."""


def _unknown_vr(number: int) -> int:
    """Return the VR bits of an element that implicit VR leaves unnamed and no dictionary knows."""
    if not number >> 16:
        return _UL_BITS  # group length
    if number & 1 and 0x10 <= number >> 16 <= 0xFF:
        return _LO_BITS  # private creator
    return _UN_BITS


def items_in(buffer: bytes, start: int, stop: int, limits: Limits) -> Items | None:
    """Read a value of VR UN as implicit VR items; None if it does not hold such.

    Source: PS3.5 2026d, 6.2.2, note 2.
    """
    if buffer[start : start + 4] != b"\xfe\xff\x00\xe0":
        return None
    holder = Dataset(explicit=False)
    holder.keys.append(_UN_BITS)
    try:
        Walker(buffer, limits).items(holder, 0, start, stop, explicit=False, depth=0)
    except (HeaderEndsEarly, GatewayError, struct.error):
        return None
    return holder.sequences[0]


class Walker:
    """One pass over the header; counts what it meets against the bounds."""

    __slots__ = ("budget", "buffer", "max_depth", "padded", "path")

    def __init__(self, buffer: bytes, limits: Limits) -> None:
        self.buffer = buffer
        self.budget = limits.max_elements
        self.max_depth = limits.max_depth
        # Each open sequence with the items read so far: the number of the item at hand.
        self.path: list[tuple[int, list[Dataset]]] = []
        self.padded = False

    def walk(self, dataset: Dataset, begin: int, end: int | None, *, depth: int) -> int | None:
        """Fill ``dataset`` from ``begin`` to ``end`` (None: to its item delimiter).

        Returns where Pixel Data begins, at depth 0 only.
        """
        try:
            if dataset.explicit:
                return self._explicit(dataset, begin, end, depth)
            return self._implicit(dataset, begin, end, depth)
        except struct.error:
            raise HeaderEndsEarly from None

    def _explicit(  # noqa: C901, PLR0915 - one loop, no call per element
        self, dataset: Dataset, begin: int, end: int | None, depth: int
    ) -> int | None:
        buffer, kinds, u64 = self.buffer, KINDS, _U64
        keys, starts = dataset.keys, dataset.starts
        add_key, add_start = keys.append, starts.append
        position = begin
        # At depth 0 fewer than eight bytes at the end are no element; ``_finish`` judges them.
        limit = _ENDLESS if end is None else end if depth else end - 7
        for _ in range(self.budget):
            if position >= limit:
                break
            word = u64(buffer, position)[0]
            kind = kinds.get(word >> 32 & 0xFFFF)
            if kind == 0:
                add_key(word & 0xFFFFFFFFFFFF)
                add_start(position)
                position += 8 + (word >> 48)
                continue
            number = word & 0xFFFFFFFF
            if kind is None:
                if number == _ITEM_END and end is None:
                    self._close(dataset, position)
                    return None
                if self._is_padding(position, end, depth):
                    break
                raise self._malformed("An element has no valid VR", number)
            length = _U32(buffer, position + 8)[0]
            if number in _PIXEL_NUMBERS and depth == 0:
                self._finish(dataset, position, None)
                return position
            add_key(word & 0xFFFFFFFFFFFF)
            add_start(position)
            if kind == _LONG and length != UNDEFINED_LENGTH:
                position += 12 + length
            else:
                position = self._long(dataset, kind, number, position + 12, length, depth)
        else:
            raise LimitExceeded("There are more elements than the bound allows")
        if position == end:
            dataset.stop = position
        else:
            self._finish(dataset, position, end)
        return None

    def _implicit(  # noqa: C901 - one loop, no call per element
        self, dataset: Dataset, begin: int, end: int | None, depth: int
    ) -> int | None:
        buffer, pair, known = self.buffer, _PAIR, IMPLICIT_KEYS
        add_key, add_start = dataset.keys.append, dataset.starts.append
        position = begin
        # At depth 0 fewer than eight bytes at the end are no element; ``_finish`` judges them.
        limit = _ENDLESS if end is None else end if depth else end - 7
        for _ in range(self.budget):
            if position >= limit:
                break
            number, length = pair(buffer, position)
            key = known.get(number)
            if key is None:
                if number == _ITEM_END and end is None:
                    self._close(dataset, position)
                    return None
                if number & 0xFFFF == 0xFFFE or not number & 0xFFFF:
                    if self._is_padding(position, end, depth):
                        break
                    raise self._malformed("A delimiter stands where an element should", number)
                key = number | _unknown_vr(number)
            elif number in _PIXEL_NUMBERS and depth == 0:
                self._finish(dataset, position, None)
                return position
            add_key(key)
            add_start(position)
            if key >> 32 == _SQ_CODE:
                position = self._long(dataset, _SEQUENCE, number, position + 8, length, depth)
            elif length == UNDEFINED_LENGTH:
                position = self._long(dataset, _UNKNOWN, number, position + 8, length, depth)
            else:
                position += 8 + length
        else:
            raise LimitExceeded("There are more elements than the bound allows")
        self._finish(dataset, position, end)
        return None

    def _long(
        self, dataset: Dataset, kind: int, number: int, value: int, length: int, depth: int
    ) -> int:
        """Return the end of an element that may hold items or have an undefined length."""
        if kind == _LONG:
            return self._fragments(number, value)
        explicit = dataset.explicit and kind == _SEQUENCE
        if length == UNDEFINED_LENGTH:
            return self.items(dataset, number, value, None, explicit=explicit, depth=depth)
        known = IMPLICIT_KEYS.get(number, 0)
        if kind == _UNKNOWN and (known >> 32 != _SQ_CODE or not length):
            return value + length
        # A public sequence that someone wrote as UN is implicit inside (PS3.5 2026d, 6.2.2).
        return self.items(dataset, number, value, value + length, explicit=explicit, depth=depth)

    def items(  # noqa: C901, PLR0915 - one loop
        self,
        dataset: Dataset,
        number: int,
        position: int,
        end: int | None,
        *,
        explicit: bool,
        depth: int,
    ) -> int:
        """Read the items of a sequence; return the first byte behind it."""
        if depth >= self.max_depth:
            raise LimitExceeded(
                "Sequences are nested deeper than the bound", path=path_text(self._place()[:3])
            )
        items = Items(explicit=explicit, delimited=end is None)
        dataset.sequences[len(dataset.keys) - 1] = items
        buffer, path, tag = self.buffer, self.path, key_tag(number)
        self.budget -= len(dataset.keys)
        datasets = items.datasets
        path.append((tag, datasets))
        read = self._explicit if explicit else self._implicit
        while end is None or position < end:
            start, length = _PAIR(buffer, position)
            if start == SEQUENCE_END and (end is None or position + 8 == end):
                position += 8
                end = position
                break
            if start != ITEM:
                raise self._malformed("A sequence holds something that is no item", number)
            item = Dataset(explicit=explicit)
            item.begin = position
            if length == UNDEFINED_LENGTH:
                item.delimited = True
                read(item, position + 8, None, depth + 1)
            else:
                stop = position + 8 + length
                if end is not None and stop > end:
                    raise self._malformed("An item is longer than its sequence", number)
                read(item, position + 8, stop, depth + 1)
                item.after = stop
            self.budget -= 1 + len(item.keys)
            if self.budget <= 0:
                raise LimitExceeded("There are more elements than the bound allows")
            position = item.after
            datasets.append(item)
        path.pop()
        self.budget += len(dataset.keys)
        if position != end:
            raise self._malformed("The items do not fill their sequence", number)
        return position

    def _fragments(self, number: int, position: int) -> int:
        """Return the end of encapsulated data inside the header, such as an icon's."""
        while True:
            start, length = _PAIR(self.buffer, position)
            position += 8
            if start == SEQUENCE_END:
                return position
            self.budget -= 1
            if start != ITEM or length == UNDEFINED_LENGTH or self.budget <= 0:
                raise self._malformed("Encapsulated data is damaged", number)
            position += length

    def _close(self, dataset: Dataset, position: int) -> None:
        dataset.stop = position
        dataset.after = position + 8

    def _finish(self, dataset: Dataset, position: int, end: int | None) -> None:
        if end is not None and position > end:
            # At depth 0 the end is the file's: what is missing was cut off.
            if not self.path:
                raise HeaderEndsEarly
            raise self._malformed("An element is longer than what holds it", dataset.keys[-1])
        if end is not None and position < end and not self.padded:
            if len(self.buffer) < end or self.buffer[position:end].strip(b"\0 \r\n"):
                raise HeaderEndsEarly
            self.padded = True
        dataset.stop = position

    def _is_padding(self, position: int, end: int | None, depth: int) -> bool:
        """Say whether nothing but zeros follows at depth 0: trailing padding, to be dropped."""
        if end is None or depth or self.buffer[position : position + 8].strip(b"\0"):
            return False
        if len(self.buffer) < end:
            raise HeaderEndsEarly
        self.padded = not self.buffer[position:].strip(b"\0")
        return self.padded

    def _malformed(self, reason: str, number: int) -> GatewayError:
        return MalformedDicom(reason, path=path_text(self._place(), key_tag(number & 0xFFFFFFFF)))

    def _place(self) -> list[tuple[int, int]]:
        return [(tag, len(items)) for tag, items in self.path]
