"""How long samples, coordinates and look-up tables can be by what stands beside them.

What lies behind the last of them is nothing that a reader shows, and can be anything.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_FLOAT_BYTES, _ENTRY_BYTES, _LONGEST_SAMPLE = 4, 2, 8
_MOST_ENTRIES = 65_536
_DIMENSIONS = 3


@dataclass(frozen=True, slots=True)
class _Measured:
    """What says how long a value is: attributes of the same item, and what they mean together."""

    measures: tuple[int, ...]
    size: Callable[[Sequence[bytes], int], int]


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "little")


def _integer(value: bytes) -> int:
    """Return an IS value; 0 where it is none."""
    text = value.strip(b"\0 ")
    return int(text) if text.isdigit() and len(text) <= 12 else 0


def _samples(values: Sequence[bytes], _held: int) -> int:
    channels, samples, bits = map(_number, values)
    return channels * samples * bits // 8


def _entries(values: Sequence[bytes], held: int) -> int:
    """Count the first number of a descriptor; entries of eight bits take one byte or two."""
    count = _number(values[0][:2]) or _MOST_ENTRIES
    bits, whole = _number(values[0][4:6]), count * _ENTRY_BYTES
    return count if bits == 8 and held < whole else whole


def _spectra(values: Sequence[bytes], _held: int) -> int:
    """Count points of all spectra, which are complex numbers or not."""
    frames, kind, *others = values
    parts = 2 if kind.strip(b"\0 ") == b"COMPLEX" else 1
    return _integer(frames) * math.prod(map(_number, others)) * parts * _FLOAT_BYTES


def _grid(values: Sequence[bytes], _held: int) -> int:
    edges = [_number(values[0][at : at + 4]) for at in range(0, 4 * _DIMENSIONS, 4)]
    return math.prod(edges) * _DIMENSIONS * _FLOAT_BYTES


def _points(values: Sequence[bytes], _held: int) -> int:
    return _number(values[0]) * _DIMENSIONS * _FLOAT_BYTES


def _vectors(values: Sequence[bytes], _held: int) -> int:
    return math.prod(map(_number, values)) * _FLOAT_BYTES


def _one_sample(_values: Sequence[bytes], _held: int) -> int:
    return _LONGEST_SAMPLE


_MEASURED: Final[dict[int, _Measured]] = {
    # Number of Waveform Channels and Samples, Waveform Bits Allocated. Source: PS3.3 2026d,
    # C.10.9.1.
    0x54001010: _Measured((0x003A0005, 0x003A0010, 0x54001004), _samples),
    # Channel Minimum and Maximum Value, Waveform Padding Value.
    **dict.fromkeys((0x54000110, 0x54000112, 0x5400100A), _Measured((), _one_sample)),
    # LUT Data and palettes with their descriptors. Source: PS3.3 2026d, C.11.1.1, C.7.6.3.1.5
    # and C.7.9.
    0x00283006: _Measured((0x00283002,), _entries),
    **{0x00281201 + n: _Measured((0x00281101 + n,), _entries) for n in range(4)},
    0x00281408: _Measured((0x00281407,), _entries),
    # Number of Frames, Data Representation, Rows, Columns, Data Point Rows and Columns.
    # Source: PS3.3 2026d, C.8.14.4.1.
    0x56000020: _Measured(
        (0x00280008, 0x00289108, 0x00280010, 0x00280011, 0x00289001, 0x00289002), _spectra
    ),
    # Grid Dimensions; Number of Surface Points; Number of Vectors, Vector Dimensionality.
    # Source: PS3.3 2026d, C.20.3.1 and C.27.2.
    0x00640009: _Measured((0x00640007,), _grid),
    0x00660016: _Measured((0x00660015,), _points),
    0x00660021: _Measured((0x0066001E, 0x0066001F), _vectors),
}
#: Attribute → those of the same item that say how long its value is.
MEASURES: Final = {tag: one.measures for tag, one in _MEASURED.items()}


def longest(tag: int, measures: Sequence[bytes], held: int) -> int | None:
    """Return how many bytes a value can have at most, padding included.

    Args:
        tag: one of ``MEASURES``.
        measures: values of its measures, little endian.
        held: how many bytes it has.

    Returns:
        ``None`` where they say nothing.
    """
    if not all(measures):
        return None
    size = _MEASURED[tag].size(measures, held)
    return size + size % 2 or None
