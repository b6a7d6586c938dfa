"""Huffman-coded JPEG blocks as runs of bits: where each begins, and its DC value.

The coefficients of a block that stays are copied as bits and never interpreted. One look-up for
each bit position is made for all positions at once; what is left to do block by block is to
follow them. Source: ISO/IEC 10918-1, annexes F.2 and C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedDicom, UndecidableElement

_LAST, _ENDS, _INVALID = 64, 100, 200
_MAX_LENGTH: Final = 16
END_OF_BLOCK: Final = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A Huffman table: number of codes of each length from 1, and their symbols in order."""

    counts: tuple[int, ...]
    symbols: bytes

    def codes(self) -> dict[int, tuple[int, int]]:
        """Return symbol → (code, length)."""
        found: dict[int, tuple[int, int]] = {}
        code, index = 0, 0
        for length, count in enumerate(self.counts, start=1):
            for symbol in self.symbols[index : index + count]:
                found.setdefault(symbol, (code, length))
                code += 1
            index += count
            if code > 1 << length or index > len(self.symbols):
                raise MalformedDicom("A Huffman table of a compressed frame is damaged")
            code <<= 1
        return found

    def extended(self, symbols: Sequence[int]) -> "Table":
        """Return the table with more symbols; the codes that it has stay as they are.

        New ones go behind the longest: the code of all ones is never used, so there is room.
        """
        missing = [symbol for symbol in symbols if symbol not in self.symbols]
        if not missing:
            return self
        longest = max((n for n, count in enumerate(self.counts, start=1) if count), default=1)
        codes = [code for code, length in self.codes().values() if length == longest]
        free = (1 << longest) - (max(codes) + 1 if codes else 0)
        length = longest
        while free < len(missing) + 1 and length < _MAX_LENGTH:
            free, length = free * 2, length + 1
        if free < len(missing) + 1 or len(self.symbols) + len(missing) > 256:
            raise UndecidableElement("The Huffman tables of a frame have no room for black blocks")
        counts = list(self.counts)
        counts[length - 1] += len(missing)
        return Table(tuple(counts), self.symbols + bytes(missing))

    def encoded(self, place: int) -> bytes:
        """Return the table as it is written in a DHT segment; ``place`` is class and number."""
        return bytes((place, *self.counts)) + self.symbols


def _spread(table: Table) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return length and symbol of the code that each 16 bits begin with; length 0 for none."""
    lengths = np.zeros(1 << 16, np.uint8)
    symbols = np.zeros(1 << 16, np.uint8)
    for symbol, (code, length) in table.codes().items():
        part = slice(code << (16 - length), (code + 1) << (16 - length))
        lengths[part], symbols[part] = length, symbol
    return lengths, symbols


@lru_cache(maxsize=16)
def ac_steps(table: Table) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how many bits and how many coefficients each 16 bits step forward."""
    lengths, symbols = _spread(table)
    sizes, runs = symbols & 15, symbols >> 4
    steps = np.where(sizes > 0, runs + 1, np.where(runs == 15, 16, _ENDS)).astype(np.uint8)
    steps[lengths == 0] = _INVALID
    return np.maximum(lengths, 1) + sizes, steps


@lru_cache(maxsize=16)
def dc_steps(table: Table) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how many bits the code and what it announces have, and the category."""
    lengths, symbols = _spread(table)
    symbols = np.minimum(symbols, 15)
    symbols[lengths == 0] = _INVALID
    return lengths, symbols


def windows(data: bytes) -> NDArray[np.uint16]:
    """Return the 16 bits that begin at each bit of the data; ones follow its end."""
    padded = np.frombuffer(data + b"\xff" * 3, np.uint8).astype(np.uint32)
    three = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    found = np.empty((three.size, 8), np.uint16)
    for bit in range(8):
        found[:, bit] = (three >> (8 - bit)) & 0xFFFF
    return found.reshape(-1)


@dataclass(frozen=True, slots=True, repr=False)
class Walked:
    """Where the blocks of one restart interval are, in bits.

    Attributes:
        starts: of each block.
        values: where each block's AC coefficients begin.
        stop: behind the last block.
        differences: DC values, each less the one before it of the same component.
    """

    starts: NDArray[np.int64]
    values: NDArray[np.int64]
    stop: int
    differences: NDArray[np.int64]


def walk(
    data: bytes, tables: Sequence[tuple[Table, Table]], order: Sequence[int], units: int
) -> Walked:
    """Find the blocks of one restart interval.

    Args:
        data: entropy-coded bytes without stuffing.
        tables: DC and AC table of each component of the scan.
        order: component of each block of one unit.
        units: how many there are.

    Raises:
        MalformedDicom: the data are damaged or end too early.
    """
    seen = windows(data)
    made = {pair: _followed(seen, *pair) for pair in dict.fromkeys(tables)}
    followed = [made[pair] for pair in tables]
    places = _places([followed[index] for index in order], units)
    if places[-1] > len(data) * 8:
        raise MalformedDicom("A compressed frame ends too early")
    bounds = np.array(places[:-1], np.int64).reshape(-1, 2)
    differences = np.empty(len(bounds), np.int64)
    for index, (dc, _) in enumerate(tables):
        mine = np.resize(np.array(order) == index, len(bounds))
        differences[mine] = _differences(seen, bounds[mine, 0], dc)
    return Walked(bounds[:, 0], bounds[:, 1], places[-1], differences)


def _followed(seen: NDArray[np.uint16], dc: Table, ac: Table) -> tuple[bytes, bytes, bytes]:
    lengths, categories = dc_steps(dc)
    advance, steps = ac_steps(ac)
    whole = np.where(categories == _INVALID, 0, lengths + categories).astype(np.uint8)
    # An index as wide as a pointer is what numpy looks up without converting it each time.
    index = seen.astype(np.intp)
    return whole.take(index).tobytes(), advance.take(index).tobytes(), steps.take(index).tobytes()


def _places(unit: Sequence[tuple[bytes, bytes, bytes]], units: int) -> list[int]:
    """Return begin and AC begin of each block, and the end; the one loop that takes time."""
    places: list[int] = []
    add = places.append
    position = 0
    try:
        for _ in range(units):
            for whole, advance, steps in unit:
                add(position)
                step = whole[position]
                position += step
                add(position)
                count = 1 if step else _INVALID
                while count < _LAST:
                    count += steps[position]
                    position += advance[position]
                if count != _LAST and not _ENDS < count < _INVALID:
                    raise MalformedDicom("A compressed frame is damaged")
    except IndexError:
        raise MalformedDicom("A compressed frame ends too early") from None
    add(position)
    return places


def _differences(
    seen: NDArray[np.uint16], starts: NDArray[np.int64], dc: Table
) -> NDArray[np.int64]:
    lengths, categories = dc_steps(dc)
    first = seen[starts]
    sizes = categories[first].astype(np.int64)
    extra = seen[np.minimum(starts + lengths[first], len(seen) - 1)].astype(np.int64)
    extra >>= 16 - sizes
    negative = (sizes > 0) & (extra < (1 << np.maximum(sizes - 1, 0)))
    found: NDArray[Any] = np.where(negative, extra - (1 << sizes) + 1, extra)
    return found


def category(difference: int) -> int:
    """Return how many bits a DC difference has."""
    return abs(difference).bit_length()


def dc_bits(difference: int, codes: dict[int, tuple[int, int]]) -> NDArray[np.uint8]:
    """Return the bits that say a DC difference."""
    size = category(difference)
    code, length = codes[size]
    extra = difference if difference >= 0 else difference + (1 << size) - 1
    return bits_of(code << size | extra, length + size)


def bits_of(number: int, length: int) -> NDArray[np.uint8]:
    """Return a number's lowest bits, the highest first."""
    return np.array([number >> place & 1 for place in range(length - 1, -1, -1)], np.uint8)
