"""What goes with a line that must not be seen: letters beside it, and lines that its mask cuts.

The finder cuts names in two and leaves initials out, and half a line that stays behind is read as
anything. Only the child processes for reading import this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pixels.matching_model import DOUBTFUL, Match
from app.pixels.model import Box
from app.pixels.reading_engine import Image, Line
from app.pixels.reading_lines import bounds

Grey = NDArray[np.uint8]
# Around what was found: letters reach out of the box of their line.
_LEAST_PAD, _PAD, _PAD_ALONG = 2, 0.15, 0.9
_LEAST, _MOST = 4, 64  # heights of lines that are followed
_REACH, _GAP, _APART = 16.0, 1.4, 1.0  # in heights of the line
_AROUND = 0.3
_CONTRAST, _NEAR, _STROKE = 32.0, 0.5, 0.7
_SHORT, _TALL, _LONG = 0.25, 1.15, 12.0  # of a letter, or some that touch, in heights of the line
_CUT, _CUT_BESIDE, _ALIKE = 0.12, 0.3, 0.5
_LEGIBLE = 4  # fewer rows or columns of pixels hold no letter


@dataclass(frozen=True, slots=True)
class Found:
    """One line of a frame that must not be seen."""

    box: Box
    match: Match


def whole(found: Sequence[Found], lines: Sequence[Line], images: Sequence[Image]) -> list[Found]:
    """Return what was found with all that goes with it, and a margin around it.

    Args:
        found: as it was found, without a margin.
        lines: all lines of this part of the frame.
        images: views of it.
    """
    done: list[Found] = []
    others = {bounds(line) for line in lines if line.text.strip()} - {one.box for one in found}
    waiting = [(one, False) for one in found]
    while waiting:
        one, is_beside = waiting.pop()
        box = grown(one.box, images)
        done.append(replace(one, box=with_margin(box, is_beside=is_beside)))
        is_sure = one.match.kind != DOUBTFUL
        for other in list(others):
            least = _CUT_BESIDE if is_beside else _CUT
            if is_cut(other, done[-1].box, least) or (is_sure and _is_next_to(other, box)):
                others.remove(other)
                waiting.append((Found(other, one.match), True))
    return done


def with_margin(box: Box, *, is_beside: bool = False) -> Box:
    """Return a box with a margin, a larger one along the text.

    Args:
        box: of a line.
        is_beside: whether it is only masked because of another one: no margin across it, so that
            not line after line is cut.
    """
    across, down = box.right - box.left, box.bottom - box.top
    little = 0 if is_beside else max(_LEAST_PAD, round(_PAD * min(across, down)))
    much = max(_LEAST_PAD, round(_PAD_ALONG * min(across, down)))
    x, y = (much, little) if across >= down else (little, much)
    return Box(box.left - x, box.top - y, box.right + x, box.bottom + y)


def is_cut(line: Box, mask: Box, least: float = _CUT) -> bool:
    """Say whether a mask takes so much of a line that the rest is read as something else.

    Args:
        line: as it was found.
        mask: over another line.
        least: share of the line's height that has to be taken.
    """
    if min(line.right - line.left, line.bottom - line.top) > _MOST:
        return False
    width = min(line.right, mask.right) - max(line.left, mask.left)
    height = min(line.bottom, mask.bottom) - max(line.top, mask.top)
    if width <= 0 or height <= 0 or width * height >= line.area:
        return False
    thick = min(line.right - line.left, line.bottom - line.top)
    return min(width, height) > least * thick


def is_sliver(line: Box, masked: Sequence[Box]) -> bool:
    """Say whether masks leave too little of a line to read anything."""
    open_ = np.ones((line.bottom - line.top, line.right - line.left), np.bool_)
    for box in masked:
        top, left = max(box.top - line.top, 0), max(box.left - line.left, 0)
        open_[top : max(box.bottom - line.top, 0), left : max(box.right - line.left, 0)] = False
    rows, columns = open_.any(axis=1).sum(), open_.any(axis=0).sum()
    return bool(open_.size and not open_.all() and min(rows, columns) < _LEGIBLE)


def _is_next_to(line: Box, found: Box) -> bool:
    """Say whether a line goes on with what was found, within the height of a letter."""
    one, other = line.bottom - line.top, found.bottom - found.top
    if max(one, other) > _MOST or min(one, other) < _ALIKE * max(one, other):
        return False
    common = min(line.bottom, found.bottom) - max(line.top, found.top)
    gap = max(line.left - found.right, found.left - line.right)
    return common > min(one, other) / 2 and gap < _APART * min(one, other)


def grown(box: Box, images: Sequence[Image]) -> Box:
    """Return the box of a line with the letters that stand before and behind it."""
    if box.bottom - box.top > box.right - box.left:
        turned = Box(box.top, box.left, box.bottom, box.right)
        wide = _grown(turned, [image.transpose(1, 0, 2) for image in images])
        return Box(wide.top, wide.left, wide.bottom, wide.right)
    return _grown(box, images)


def _grown(box: Box, images: Sequence[Image]) -> Box:
    rows, columns = images[0].shape[:2]
    inside = box.clipped(columns, rows)
    height = inside.bottom - inside.top
    if not _LEAST <= height <= _MOST or inside.right - inside.left < 2:
        return box
    reach, around = int(_REACH * height), max(round(_AROUND * height), 2)
    strip = Box(
        inside.left - reach, inside.top - around, inside.right + reach, inside.bottom + around
    ).clipped(columns, rows)
    here = Box(
        inside.left - strip.left,
        inside.top - strip.top,
        inside.right - strip.left,
        inside.bottom - strip.top,
    )
    ink = next(filter(None, (_ink(view, here) for view in _greys(images, strip))), None)
    if ink is None:
        return box
    left, right = _ends(_letters(ink.mask, here), here)
    return Box(
        min(box.left, left + strip.left), box.top, max(box.right, right + strip.left), box.bottom
    )


def _greys(images: Sequence[Image], strip: Box) -> Iterator[Grey]:
    """Yield a part of every view, and of the single colours of the first."""
    cut = [image[strip.top : strip.bottom, strip.left : strip.right] for image in images]
    for part in cut:
        yield np.asarray(part.mean(axis=2), np.uint8)
    for colour in range(3):
        yield np.ascontiguousarray(cut[0][:, :, colour])


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Ink:
    mask: NDArray[np.uint8]


def _ink(view: Grey, here: Box) -> _Ink | None:
    """Return where a strip differs like the letters of a line; None where none stand out.

    A line may go from a dark ground to a light one, so letters may be lighter and darker.
    """
    height = here.bottom - here.top
    kernel = np.ones((1, max(round(_STROKE * height), 3)), np.uint8)
    both = [np.asarray(cv2.morphologyEx(view, way, kernel), np.uint8) for way in _WAYS]
    levels = [_level(one[here.top : here.bottom, here.left : here.right]) for one in both]
    if max(levels) < _CONTRAST:
        return None
    line = view[here.top : here.bottom, here.left : here.right]
    low, middle, high = np.percentile(line, (5, 50, 95))
    first = int(high - middle < middle - low)
    mask = np.asarray(both[first] > _NEAR * levels[first], np.uint8)
    if _has_edge(view, here):
        mask |= np.asarray(both[1 - first] > _NEAR * max(levels), np.uint8)
    return _Ink(mask)


_WAYS: Final = (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)


def _level(strokes: Grey) -> float:
    """Return how much the letters of a line differ from what is beside them."""
    level, _ = cv2.threshold(
        np.ascontiguousarray(strokes), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU
    )
    ink = strokes[strokes > level]
    return float(np.median(ink)) if ink.size else 0.0


def _has_edge(view: Grey, here: Box) -> bool:
    """Say whether the ground above a line is another one than that below it."""
    above = view[: max(here.top, 1), here.left : here.right]
    below = view[min(here.bottom, len(view) - 1) :, here.left : here.right]
    return abs(float(np.median(above)) - float(np.median(below))) >= _CONTRAST


def _letters(mask: NDArray[np.uint8], here: Box) -> list[tuple[int, int]]:
    """Return where shapes begin and end that stand in the line and are no taller than it."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    height = here.bottom - here.top
    shapes: NDArray[Any] = stats[1:]
    middle = shapes[:, 1] + shapes[:, 3] / 2
    fits = (
        (shapes[:, 3] >= _SHORT * height)
        & (shapes[:, 3] <= _TALL * height)
        & (shapes[:, 2] <= _LONG * height)
        & (middle > here.top)
        & (middle < here.bottom)
        & (shapes[:, 1] > 0)
        & (shapes[:, 1] + shapes[:, 3] < mask.shape[0])
    )
    return [(int(one[0]), int(one[0] + one[2])) for one in shapes[fits]]


def _ends(letters: Sequence[tuple[int, int]], here: Box) -> tuple[int, int]:
    """Follow letters from both ends of a line as long as no gap is wider than a letter is high."""
    gap: Final = _GAP * (here.bottom - here.top)
    left, right = here.left, here.right
    for start, stop in sorted(letters):
        if right - gap <= start <= right + gap or start <= right < stop:
            right = max(right, stop)
    for start, stop in sorted(letters, key=lambda one: -one[1]):
        if left - gap <= stop <= left + gap or start < left <= stop:
            left = min(left, start)
    return left, right
