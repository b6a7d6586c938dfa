"""Which codes show as black, and bits that hold no value. Arrays of one frame; no reading."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import UndecidableElement
from app.pixels.codecs import Frame
from app.pixels.model import Box, Palette, Picture
from app.pixels.rendering import palette_table, stored

Values = NDArray[Any]
# ITU-R BT.601, for the darkest entry of a palette.
_LUMINANCE: Final = np.array((0.299, 0.587, 0.114))


def black(photometric: str, picture: Picture) -> tuple[int, ...]:
    """Return the value of each sample that shows as black, or as dark as the image gets.

    Source: PS3.3 2026d, C.7.6.3.1.2.

    Raises:
        UndecidableElement: it is not known what the values mean.
    """
    bits = picture.bits_stored
    lowest = -(1 << (bits - 1)) if picture.signed else 0
    highest = lowest + (1 << bits) - 1
    if photometric == "PALETTE COLOR" and picture.palette is not None:
        return (_darkest(picture.palette, lowest, highest),)
    if photometric in {"YBR_PARTIAL_422", "YBR_PARTIAL_420"}:
        return (16, 128, 128)
    known = {
        ("MONOCHROME1", 1): (highest,),
        ("MONOCHROME2", 1): (lowest,),
        ("RGB", 3): (0, 0, 0),
        ("YBR_FULL", 3): (0, 1 << (bits - 1), 1 << (bits - 1)),
        ("YBR_FULL_422", 3): (0, 1 << (bits - 1), 1 << (bits - 1)),
    }
    if (photometric, picture.samples) not in known:
        raise UndecidableElement("It is not known which values of this image are black")
    return known[photometric, picture.samples]


def _darkest(palette: Palette, lowest: int, highest: int) -> int:
    """Return the value whose entry is the darkest; values outside meet the first or last."""
    values = np.arange(palette.entries) + palette.first
    usable = (values >= lowest) & (values <= highest)
    light = palette_table(palette) @ _LUMINANCE
    if not usable.any():
        raise UndecidableElement("No value of this image meets an entry of its palette")
    return int(values[usable][light[usable].argmin()])


def used_entries(frame: Frame, picture: Picture, used: NDArray[np.bool_] | None) -> None:
    """Note which entries of the palette a frame's values meet."""
    if picture.palette is not None and used is not None:
        index = stored(frame, picture).astype(np.int64) - picture.palette.first
        used[np.clip(index, 0, picture.palette.entries - 1)] = True


def ranges(used: NDArray[np.bool_]) -> list[list[int]]:
    """Return the entries as first and last of each range."""
    edges = np.diff(np.concatenate([[False], used, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [[int(a), int(b) - 1] for a, b in zip(starts, stops, strict=True)]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value lies in a code.

    Attributes:
        width: bits of a code.
        stored: those that hold the value; ``above`` those over its highest.
        lowest: the first of them.
        highest: the last of them, the sign of signed values.
        is_signed: whether the value is.
    """

    width: int
    stored: int
    above: int
    lowest: int
    highest: int
    is_signed: bool


def layout_of(frame: Frame, picture: Picture) -> Layout:
    """Return the layout; in codestreams values begin at the lowest bit."""
    width, bits = frame.bits, min(picture.bits_stored, frame.bits)
    lowest = 0 if frame.header else max(min(picture.high_bit + 1, width) - bits, 0)
    everything, stored_bits = (1 << width) - 1, ((1 << bits) - 1) << lowest
    return Layout(
        width=width,
        stored=stored_bits,
        above=everything >> (lowest + bits) << (lowest + bits),
        lowest=lowest,
        highest=lowest + bits - 1,
        is_signed=picture.signed,
    )


def tidied(frame: Frame, layout: Layout) -> tuple[Frame, bool]:
    """Clear what lies beside the values; say whether the sign is repeated above them.

    Returns the same frame where there is nothing to clear.
    """
    unused = ((1 << layout.width) - 1) ^ layout.stored
    if not unused:
        return frame, True
    codes = _unsigned(frame.values, layout.width)
    beside = codes & unused
    if not layout.is_signed:
        return (frame, False) if not beside.any() else (_with(frame, codes ^ beside, layout), False)
    repeated = (codes >> layout.highest & 1) * layout.above
    if np.array_equal(beside, repeated):
        return frame, True
    if not beside.any():
        return frame, False
    return _with(frame, codes ^ beside | repeated, layout), True


def _unsigned(values: Values, width: int) -> Values:
    if values.dtype.kind == "u":
        return values
    return values.view(f"u{values.dtype.itemsize}") & ((1 << width) - 1)


def _with(frame: Frame, codes: Values, layout: Layout) -> Frame:
    if frame.values.dtype.kind == "u":
        return replace(frame, values=codes.astype(frame.values.dtype, copy=False))
    sign = 1 << (layout.width - 1)
    values = (codes.astype(np.int64) ^ sign) - sign
    return replace(frame, values=values.astype(frame.values.dtype))


def fill(
    frame: Frame, boxes: Sequence[Box], levels: Sequence[int], layout: Layout, *, extended: bool
) -> Frame:
    """Return the frame with boxes overwritten; subsampled colour by whole pairs of pixels."""
    codes = [_code(level, frame, layout, extended=extended) for level in levels]
    values = frame.values if frame.values.flags.writeable else frame.values.copy()
    if frame.is_subsampled:
        codes = [codes[0], *codes]
    for box in boxes:
        left, right = box.left, box.right
        if frame.is_subsampled:
            left, right = left // 2, -(-right // 2)
        values[box.top : box.bottom, left:right] = codes if values.ndim == 3 else codes[0]
    return replace(frame, values=values)


def _code(level: int, frame: Frame, layout: Layout, *, extended: bool) -> int:
    code = level << layout.lowest & layout.stored
    if extended and layout.is_signed and level < 0:
        code |= layout.above
    if frame.values.dtype.kind == "i":
        sign = 1 << (layout.width - 1)
        code = (code ^ sign) - sign
    return code
