"""Overlays that stay when graphics are cleaned: whole, without surplus, and nobody's name in them.

A region (type R) marks pixels. In a graphics overlay (type G) anything may be written: it stays
only where somebody looked into it. Source: PS3.15 2026d, E.3.3; PS3.3 2026d, C.9.2.
"""

from dataclasses import dataclass

from app.deid.private import View
from app.dicom.elements import CHARSET_VRS
from app.dicom.tokens import Dataset

_FIRST_GROUP, _LAST_GROUP = 0x6000, 0x601E
_ROWS, _COLUMNS, _FRAMES, _TYPE, _BITS, _DATA = 0x0010, 0x0011, 0x0015, 0x0040, 0x0100, 0x3000
_REGION, _GRAPHICS = b"R", b"G"
#: Types of overlays that may stay.
TYPES = frozenset({_REGION, _GRAPHICS})


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay with one bit per pixel and not a byte more than that.

    Attributes:
        group: such as 0x6000.
        start, stop: of its bits in the buffer.
        is_region: whether its type is R.
    """

    group: int
    rows: int
    columns: int
    frames: int
    start: int
    stop: int
    is_region: bool


def is_overlay(tag: int) -> bool:
    """Say whether a tag belongs to an overlay group."""
    group = tag >> 16
    return _FIRST_GROUP <= group <= _LAST_GROUP and not group & 1


def whole_overlays(dataset: Dataset, view: View) -> tuple[Overlay, ...]:
    """Return the overlays of a data set that say what they are and hold nothing behind their bits.

    Args:
        dataset: one data set; those inside of its sequences are not looked at.
        view: the instance.
    """
    groups: dict[int, dict[int, tuple[int, int]]] = {}
    for index, key in enumerate(dataset.keys):
        group = key & 0xFFFF
        if _FIRST_GROUP <= group <= _LAST_GROUP and not group & 1:
            groups.setdefault(group, {})[key >> 16 & 0xFFFF] = dataset.value_span(index)
    found = (_overlay(group, spans, view.buffer) for group, spans in sorted(groups.items()))
    return tuple(overlay for overlay in found if overlay is not None)


def staying(dataset: Dataset, view: View) -> tuple[int, ...]:
    """Return the groups of the overlays that stay: those looked at, or regions if nobody looks."""
    looked_at = view.looked_at
    return tuple(
        overlay.group
        for overlay in whole_overlays(dataset, view)
        if (overlay.is_region if looked_at is None else overlay.group in looked_at)
    )


def _overlay(group: int, spans: dict[int, tuple[int, int]], buffer: bytes) -> Overlay | None:
    values = {element: buffer[start:stop] for element, (start, stop) in spans.items()}
    kind = values.get(_TYPE, b"").strip(b"\0 ")
    frames = values.get(_FRAMES, b"1").strip(b"\0 ")
    if kind not in TYPES or _DATA not in values or not frames.isdigit():
        return None
    rows, columns = _number(values.get(_ROWS, b"")), _number(values.get(_COLUMNS, b""))
    bits = rows * columns * int(frames[:9])
    size = -(-bits // 8)
    is_whole = bits > 0 and len(values[_DATA]) == size + size % 2
    if not is_whole or _number(values.get(_BITS, b"\1\0")) != 1:
        return None
    start, stop = spans[_DATA]
    return Overlay(group, rows, columns, int(frames[:9]), start, stop, kind == _REGION)


def _number(value: bytes) -> int:
    return int.from_bytes(value[:2], "little")


def is_text(vr: str) -> bool:
    """Say whether an element of an overlay is text, which is cleaned; others are numbers, bits."""
    return vr in CHARSET_VRS
