"""What changed from one frame to the next: only that is read again.

Only the child processes for reading import this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.codecs import Frame
from app.pixels.model import Box
from app.pixels.reading_growth import Found
from app.pixels.reading_lines import overlap

# What changed is read with what is around it, and lines with a rim.
_CONTEXT: Final = 48
_RIM: Final = 8
_SAME: Final = 0.5


@dataclass(slots=True, repr=False)
class Last:
    """The frame that was read last, what was found in it, and where its lines are."""

    values: NDArray[Any] | None = None
    found: tuple[Found, ...] = ()
    lines: tuple[Box, ...] = ()

    def changed(self, frame: Frame, boxes: Sequence[Box]) -> Box:
        """Return the box outside of which all values are as they were when they were read."""
        values = unmasked(frame, boxes)
        rows, columns = values.shape[:2]
        if self.values is None or self.values.shape != values.shape:
            return Box(0, 0, columns * (1 + frame.is_subsampled), rows)
        differs = values != self.values
        if differs.ndim == 3:
            differs = differs.any(axis=2)
        (down,), (across,) = np.nonzero(differs.any(axis=1)), np.nonzero(differs.any(axis=0))
        if not len(down):
            return Box(0, 0, 0, 0)
        times = 1 + frame.is_subsampled
        part = Box(
            int(across[0]) * times - _CONTEXT,
            int(down[0]) - _CONTEXT,
            (int(across[-1]) + 1) * times + _CONTEXT,
            int(down[-1]) + 1 + _CONTEXT,
        )
        return self._with_whole_lines(part).clipped(columns * times, rows)

    def _with_whole_lines(self, part: Box) -> Box:
        """Return a part that cuts none of the lines that are known: half a line reads as another.

        Lines that a larger part reaches in turn are left: they were read before.
        """
        reached = [line for line in self.lines if touch(line, part)]
        return Box(
            min([part.left, *(line.left - _RIM for line in reached)]),
            min([part.top, *(line.top - _RIM for line in reached)]),
            max([part.right, *(line.right + _RIM for line in reached)]),
            max([part.bottom, *(line.bottom + _RIM for line in reached)]),
        )

    def keep(self, frame: Frame, boxes: Sequence[Box], found: tuple[Found, ...]) -> None:
        """Remember a frame that was read."""
        self.values, self.found = unmasked(frame, boxes), found


def unmasked(frame: Frame, boxes: Sequence[Box]) -> NDArray[Any]:
    """Return a frame's values with nothing where it is masked: no change is seen there."""
    values = frame.values.copy()
    times = 1 + frame.is_subsampled
    for box in boxes:
        inside = box.clipped(values.shape[1] * times, values.shape[0])
        values[inside.top : inside.bottom, inside.left // times : -(-inside.right // times)] = 0
    return values


def standing(found: Sequence[Found], part: Box, fresh: Sequence[Found]) -> Iterator[Found]:
    """Yield what was found before and not looked at again; what reaches out of the part stays."""
    for one in found:
        inside = one.box.clipped(part.right, part.bottom)
        is_inside = inside == one.box and one.box.left >= part.left and one.box.top >= part.top
        if not is_inside and not any(_is_same(one, other) for other in fresh):
            yield one


def _is_same(one: Found, other: Found) -> bool:
    return one.match.kind == other.match.kind and overlap(one.box, other.box) > _SAME


def touch(one: Box, other: Box) -> bool:
    """Say whether two boxes have anything in common."""
    aside = one.left >= other.right or other.left >= one.right
    return not aside and not (one.top >= other.bottom or other.top >= one.bottom)
