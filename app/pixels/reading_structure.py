"""Rows of letter-like shapes of one exact value: text that the recogniser may not know as such.

Independent of the models and cheap. Devices write letters in one colour; tissue has no colour that
makes up several shapes of one height on one line. Only the child processes for reading import this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pixels.model import Box

# Letters of 5 to 48 pixels; a row has at least so many.
_LEAST, _MOST, _ROW = 5, 48, 6
_VALUES: Final = 6
_SHARE = 0.04
_FEW = 60
_MAX_SHAPES = 1500
_APART = 4  # a value farther than that from others has none to be compared with
_GROUND, _NEAR = 25, 0.55


@dataclass(frozen=True, slots=True)
class _Shape:
    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


def rows(values: NDArray[Any]) -> list[Box]:
    """Return boxes around rows of letter-like shapes.

    Args:
        values: one frame, (rows, columns) or (rows, columns, 3), as stored.
    """
    codes = _codes(values)
    light = np.asarray(values, np.float32)
    if light.ndim == 3:
        light = np.ascontiguousarray(light.mean(axis=2))
    found: list[Box] = []
    for value in _spikes(codes):
        found += _rows_of(_near(light, codes == value))
    return found


def _near(light: NDArray[np.float32], is_exact: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return where pixels are nearer to a value than to what is around: edges of letters too."""
    value = float(light[is_exact][0])
    ground = cv2.blur(light, (_GROUND, _GROUND))
    touched = cv2.dilate(is_exact.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    is_near = np.abs(light - value) <= _NEAR * np.abs(ground - value)
    return np.asarray(is_near & touched, np.uint8)


def _codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return one number per pixel, the same for the same value or colour."""
    if values.ndim == 2:
        return np.asarray(values, np.int64)
    codes = np.zeros(values.shape[:2], np.int64)
    for sample in range(min(values.shape[2], 3)):
        codes = codes << 16 | (values[:, :, sample].astype(np.int64) & 0xFFFF)
    return codes


def _spikes(codes: NDArray[np.int64]) -> Sequence[int]:
    """Return values that occur far more often than their neighbours and fill no large part."""
    found, counts = np.unique(codes, return_counts=True)
    padded = np.pad(np.minimum(counts, 1 << 15), 2).astype(np.uint16).reshape(1, -1)
    usual = cv2.medianBlur(padded, 5).ravel()[2:-2]
    gaps = np.diff(found, prepend=found[0] - _APART, append=found[-1] + _APART)
    usual = np.where(np.minimum(gaps[:-1], gaps[1:]) >= _APART, 0, usual)
    is_spike = (counts >= _FEW) & (counts <= _SHARE * codes.size) & (counts > 4 * usual)
    chosen = np.flatnonzero(is_spike)
    chosen = chosen[np.argsort(-counts[chosen])][:_VALUES]
    return [int(value) for value in found[chosen]]


def _rows_of(mask: NDArray[np.uint8]) -> Iterator[Box]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    shapes = [_Shape(*map(int, one[:4])) for one in stats[1:] if _is_letter(*map(int, one[2:5]))]
    if len(shapes) > _MAX_SHAPES:
        return
    shapes.sort(key=lambda shape: shape.left)
    while shapes:
        row = _row(shapes)
        if _is_text(row):
            yield Box(
                min(s.left for s in row),
                min(s.top for s in row),
                max(s.right for s in row),
                max(s.bottom for s in row),
            )
        taken = set(map(id, row))
        shapes = [shape for shape in shapes if id(shape) not in taken]


def _is_letter(width: int, height: int, area: int) -> bool:
    if not (_LEAST <= height <= _MOST and width <= 1.8 * height):
        return False
    return 0.15 <= area / (width * height) <= 0.95 or width <= 0.35 * height


def _row(shapes: Sequence[_Shape]) -> list[_Shape]:
    """Return the first shape and those that follow it to the right like letters."""
    row = [shapes[0]]
    for shape in shapes[1:]:
        last = row[-1]
        tall = max(last.height, shape.height)
        if shape.left - last.right > 1.2 * tall:
            if shape.left - last.right > 1.2 * _MOST:
                break
            continue
        common = min(last.bottom, shape.bottom) - max(last.top, shape.top)
        if shape.left >= last.right - 1 and common >= 0.6 * min(last.height, shape.height):
            row.append(shape)
    return row


def _is_text(row: Sequence[_Shape]) -> bool:
    """Say whether shapes stand on one line, have letters' heights, and are not all alike."""
    if len(row) < _ROW:
        return False
    bottoms = np.array([shape.bottom for shape in row])
    heights = np.array([shape.height for shape in row])
    on_line = np.abs(bottoms - np.median(bottoms)) <= 1
    is_even = np.abs(heights - np.median(heights)) <= 1
    different = {(shape.width, shape.height) for shape in row}
    thin = np.mean([shape.width <= 2 for shape in row])
    return bool(
        on_line.mean() >= 0.8 and is_even.mean() >= 0.7 and len(different) >= 3 and thin < 0.6
    )
