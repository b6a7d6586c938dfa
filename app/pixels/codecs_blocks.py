"""JPEG frames masked without decoding them: blocks under a mark become black, no other changes.

Sequential Huffman-coded frames of 8 and 12 bits. Header, quantisation and Huffman codes stay; a
table is only ever lengthened. What cannot be masked so is refused here.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs_headers import Component, Header
from app.pixels.codecs_huffman import (
    END_OF_BLOCK,
    Table,
    Walked,
    bits_of,
    category,
    dc_bits,
    walk,
)
from app.pixels.model import Box

_SOS, _DHT, _DQT, _DRI, _EOI = 0xDA, 0xC4, 0xDB, 0xDD, 0xD9
_NEXT_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_RESTART: Final = re.compile(rb"\xff+([\xd0-\xd7])")
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_MAX_CATEGORY: Final = {8: 11, 12: 15}


@dataclass(frozen=True, slots=True)
class Unit:
    """Size in pixels of what is black as a whole: one block, or more where colour is subsampled."""

    width: int
    height: int


def unit_of(header: Header) -> Unit:
    """Return the frame's unit. Source: ISO/IEC 10918-1, A.2."""
    parts = components_of(header)
    return Unit(8 * max(c.horizontal for c in parts), 8 * max(c.vertical for c in parts))


def components_of(header: Header) -> tuple[Component, ...]:
    """Return the components; the sampling of a single one means nothing."""
    if len(header.components) == 1:
        return (Component(header.components[0].number),)
    return header.components


def grown(box: Box, unit: Unit) -> Box:
    """Return the box, grown to whole units."""
    return Box(
        box.left // unit.width * unit.width,
        box.top // unit.height * unit.height,
        -(-box.right // unit.width) * unit.width,
        -(-box.bottom // unit.height) * unit.height,
    )


@dataclass(slots=True)
class _Tables:
    """What the segments before a scan have defined."""

    huffman: dict[int, Table] = field(default_factory=dict)
    quantisation: dict[int, int] = field(default_factory=dict)
    restart: int = 0

    def read(self, marker: int, segment: bytes) -> None:
        """Take in one segment."""
        body = segment[4:]
        if marker == _DRI:
            (self.restart,) = struct.unpack_from(">H", body)
        elif marker == _DQT:
            while body:
                wide = body[0] >> 4
                self.quantisation[body[0] & 15] = struct.unpack_from(
                    ">H" if wide else "B", body, 1
                )[0]
                body = body[1 + (128 if wide else 64) :]
        elif marker == _DHT:
            while body:
                counts = tuple(body[1:17])
                size = sum(counts)
                self.huffman[body[0]] = Table(counts, body[17 : 17 + size])
                body = body[17 + size :]


def mask_blocks(
    data: bytes, header: Header, boxes: Sequence[Box], *, levels: Sequence[int]
) -> bytes:
    """Return a frame whose units under the boxes are black.

    Args:
        data: the frame.
        header: its header.
        boxes: in pixels, inside of the image.
        levels: what each component's samples become there.

    Raises:
        UndecidableElement: frames of this kind cannot be masked so.
        MalformedDicom: the frame is damaged.
    """
    if header.marker not in _SEQUENTIAL or header.bits not in _MAX_CATEGORY:
        raise UndecidableElement("A JPEG frame of this process cannot be masked in its blocks")
    try:
        return b"".join(_masked(data, header, boxes, levels))
    except (struct.error, IndexError, KeyError):
        raise MalformedDicom("A compressed frame is damaged") from None


def _masked(
    data: bytes, header: Header, boxes: Sequence[Box], levels: Sequence[int]
) -> Iterator[bytes]:
    tables = _Tables()
    yield data[:2]
    position, numbers = 2, [component.number for component in header.components]
    seen: set[int] = set()
    while data[position + 1] != _EOI:
        marker = data[position + 1]
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        segment = data[position:end]
        if data[position] != 0xFF or end > len(data):
            raise MalformedDicom("A marker segment of a compressed frame has a wrong length")
        tables.read(marker, segment)
        if marker == _SOS:
            scan = _Scan(segment, header, numbers, tables)
            match = _NEXT_MARKER.search(data, end)
            if match is None:
                raise MalformedDicom("A compressed frame has no end marker")
            yield from scan.masked(data[end : match.start()], boxes, levels)
            seen.update(scan.indices)
            end = match.end() - 2
        else:
            yield segment
        position = end
    if len(seen) != len(numbers):
        raise MalformedDicom("A compressed frame does not hold all of its components")
    yield data[position : position + 2]


@dataclass(slots=True, repr=False)
class _Interval:
    """One restart interval: its bytes, its blocks, and the DC differences that it gets."""

    data: bytes
    walked: Walked
    hidden: NDArray[np.bool_]
    slots: NDArray[np.int64]
    differences: NDArray[np.int64]


class _Scan:
    """One scan.

    Args:
        segment: its header.
        header: the frame's.
        numbers: ids of the frame's components.
        tables: what is defined before it.
    """

    def __init__(
        self, segment: bytes, header: Header, numbers: Sequence[int], tables: _Tables
    ) -> None:
        count = segment[4]
        pairs = [(segment[5 + 2 * n], segment[6 + 2 * n]) for n in range(count)]
        # A sequential scan has all coefficients, whatever its header says of that.
        self.segment, self.header, self.tables = segment, header, tables
        self.indices = [numbers.index(number) for number, _ in pairs if number in numbers]
        if len(self.indices) != count or not count:
            raise MalformedDicom("A scan of a compressed frame names no component")
        self.places = [(choice >> 4, 0x10 | choice & 15) for _, choice in pairs]
        self.codes = [(tables.huffman[dc], tables.huffman[ac]) for dc, ac in self.places]
        self.parts = [components_of(header)[index] for index in self.indices]

    def masked(self, data: bytes, boxes: Sequence[Box], levels: Sequence[int]) -> Iterator[bytes]:
        """Yield the scan, with lengthened tables before it where black needs more codes."""
        black = [self._black(index, levels[index]) for index in self.indices]
        intervals = list(self._intervals(data, boxes, black))
        longer = self._longer(intervals)
        if longer:
            body = b"".join(table.encoded(place) for place, table in sorted(longer.items()))
            yield b"\xff\xc4" + struct.pack(">H", len(body) + 2) + body
        yield self.segment
        codes = [
            (longer.get(dc, first).codes(), longer.get(ac, second).codes())
            for (dc, ac), (first, second) in zip(self.places, self.codes, strict=True)
        ]
        for number, interval in enumerate(intervals):
            if number:
                yield bytes((0xFF, 0xD0 + (number - 1) % 8))
            yield _written(interval, codes)

    def _black(self, index: int, level: int) -> int:
        """Return the DC value of a block that is as dark as a level, or darker or brighter."""
        step = self.tables.quantisation[self._table_of(index)]
        if step < 1:
            raise MalformedDicom("A quantisation table of a compressed frame is damaged")
        middle = 1 << (self.header.bits - 1)
        wanted = (level - middle) * 8
        size = -(-abs(wanted) // step)
        return size if wanted > 0 else -size

    def _table_of(self, index: int) -> int:
        return self.header.components[index].quantisation

    def _order(self) -> tuple[list[int], int, int]:
        """Return the component of each block of a unit, and units in a row and in a column."""
        everything = components_of(self.header)
        widest = max(part.horizontal for part in everything)
        highest = max(part.vertical for part in everything)
        rows, columns = self.header.rows, self.header.columns
        if len(self.parts) == 1:
            (part,) = self.parts
            across = -(-columns * part.horizontal // widest)
            down = -(-rows * part.vertical // highest)
            return [0], -(-across // 8), -(-down // 8)
        order = [
            slot
            for slot, part in enumerate(self.parts)
            for _ in range(part.horizontal * part.vertical)
        ]
        return order, -(-columns // (8 * widest)), -(-rows // (8 * highest))

    def _hidden(self, boxes: Sequence[Box], across: int, down: int) -> NDArray[np.bool_]:
        """Return for each unit of the scan, in its order, whether it is under a box."""
        unit = unit_of(self.header)
        width, height = unit.width, unit.height
        if len(self.parts) == 1:
            width, height = width // self.parts[0].horizontal, height // self.parts[0].vertical
        hidden = np.zeros((down, across), np.bool_)
        for box in boxes:
            whole = grown(box, unit)
            hidden[
                whole.top // height : -(-whole.bottom // height),
                whole.left // width : -(-whole.right // width),
            ] = True
        return hidden.reshape(-1)

    def _intervals(
        self, data: bytes, boxes: Sequence[Box], black: Sequence[int]
    ) -> Iterator[_Interval]:
        order, across, down = self._order()
        hidden = self._hidden(boxes, across, down)
        each = self.tables.restart or across * down
        parts = _RESTART.split(data)[::2]
        if len(parts) != -(-across * down // each):
            raise MalformedDicom("A compressed frame has other restart intervals than it says")
        for number, part in enumerate(parts):
            units = hidden[number * each : (number + 1) * each]
            plain = part.replace(b"\xff\x00", b"\xff")
            walked = walk(plain, self.codes, order, len(units))
            slots = np.resize(np.array(order), len(units) * len(order))
            blocks = np.repeat(units, len(order))
            yield _Interval(
                plain, walked, blocks, slots, _redone(walked.differences, slots, blocks, black)
            )

    def _longer(self, intervals: Sequence[_Interval]) -> dict[int, Table]:
        """Return the tables that lack a code, with it."""
        longer: dict[int, Table] = {}
        for slot, ((dc, ac), (first, second)) in enumerate(
            zip(self.places, self.codes, strict=True)
        ):
            needed: set[int] = set()
            for interval in intervals:
                mine = interval.differences[(interval.slots == slot) & _touched(interval)]
                needed |= {category(int(value)) for value in np.unique(mine)}
            if needed and max(needed) > _MAX_CATEGORY[self.header.bits]:
                raise UndecidableElement("A JPEG frame has values that no block can follow")
            found = {
                dc: longer.get(dc, first).extended(sorted(needed)),
                ac: longer.get(ac, second).extended([END_OF_BLOCK]),
            }
            longer |= {place: one for place, one in found.items() if one not in (first, second)}
        return longer


def _redone(
    differences: NDArray[np.int64],
    slots: NDArray[np.int64],
    hidden: NDArray[np.bool_],
    black: Sequence[int],
) -> NDArray[np.int64]:
    """Return the DC differences with black in hidden blocks and all others as bright as before."""
    redone = differences.copy()
    for slot, dark in enumerate(black):
        mine = slots == slot
        levels = np.cumsum(differences[mine])
        levels[hidden[mine]] = dark
        redone[mine] = np.diff(levels, prepend=0)
    return redone


def _touched(interval: _Interval) -> NDArray[np.bool_]:
    touched: NDArray[np.bool_] = interval.hidden | (
        interval.differences != interval.walked.differences
    )
    return touched


def _written(interval: _Interval, codes: Sequence[tuple[dict[int, Any], dict[int, Any]]]) -> bytes:
    """Return an interval's entropy-coded bytes: bits as they were but for touched blocks."""
    walked = interval.walked
    bits = np.unpackbits(np.frombuffer(interval.data, np.uint8))
    ends = np.append(walked.starts[1:], walked.stop)
    pieces: list[NDArray[np.uint8]] = []
    position = 0
    made: dict[tuple[int, int, bool], NDArray[np.uint8]] = {}
    for block in np.flatnonzero(_touched(interval)).tolist():
        slot, is_hidden = int(interval.slots[block]), bool(interval.hidden[block])
        difference = int(interval.differences[block])
        key = (slot, difference, is_hidden)
        if key not in made:
            made[key] = _block_bits(difference, codes[slot], is_hidden=is_hidden)
        pieces += [bits[position : walked.starts[block]], made[key]]
        position = int(ends[block] if is_hidden else walked.values[block])
    pieces.append(bits[position : walked.stop])
    whole = np.concatenate(pieces)
    padded = np.concatenate([whole, np.ones(-whole.size % 8, np.uint8)])
    return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\x00")


def _block_bits(
    difference: int, codes: tuple[dict[int, Any], dict[int, Any]], *, is_hidden: bool
) -> NDArray[np.uint8]:
    first = dc_bits(difference, codes[0])
    if not is_hidden:
        return first
    return np.concatenate([first, bits_of(*codes[1][END_OF_BLOCK])])
