"""Overlays that stay when graphics are cleaned: regions, whole and without surplus.

A graphics overlay (type G) is a picture in which anything may be written, and nobody reads it here;
a region (type R) marks pixels. Source: PS3.15 2026d, E.3.3; PS3.3 2026d, C.9.2.
"""

from app.deid.private import View
from app.dicom.elements import CHARSET_VRS
from app.dicom.tokens import Dataset

_FIRST_GROUP, _LAST_GROUP = 0x6000, 0x601E
_ROWS, _COLUMNS, _FRAMES, _TYPE, _BITS, _DATA = 0x0010, 0x0011, 0x0015, 0x0040, 0x0100, 0x3000


def is_overlay(tag: int) -> bool:
    """Say whether a tag belongs to an overlay group."""
    group = tag >> 16
    return _FIRST_GROUP <= group <= _LAST_GROUP and not group & 1


def regions(dataset: Dataset, view: View) -> tuple[int, ...]:
    """Return the overlay groups of a data set that hold a region, and nothing behind its bits."""
    groups: dict[int, dict[int, bytes]] = {}
    for index, key in enumerate(dataset.keys):
        group = key & 0xFFFF
        if _FIRST_GROUP <= group <= _LAST_GROUP and not group & 1:
            start, stop = dataset.value_span(index)
            groups.setdefault(group, {})[key >> 16 & 0xFFFF] = view.buffer[start:stop]
    return tuple(group for group, values in sorted(groups.items()) if _is_region(values))


def _is_region(values: dict[int, bytes]) -> bool:
    if values.get(_TYPE, b"").strip(b"\0 ") != b"R" or _DATA not in values:
        return False
    if _number(values.get(_BITS, b"\1\0")) != 1:
        return False
    frames = values.get(_FRAMES, b"1").strip(b"\0 ")
    if not frames.isdigit():
        return False
    bits = _number(values.get(_ROWS, b"")) * _number(values.get(_COLUMNS, b"")) * int(frames[:9])
    size = -(-bits // 8)
    return bits > 0 and len(values[_DATA]) == size + size % 2


def _number(value: bytes) -> int:
    return int.from_bytes(value[:2], "little")


def is_text(vr: str) -> bool:
    """Say whether an element of a region is text, which is cleaned; others are numbers and bits."""
    return vr in CHARSET_VRS
