"""Ultrasound regions: everything outside of (0018,6011) is to be black. Pure.

Regions may overlap: the standard gives one of two the priority (PS3.3 2026d, C.8.5.5.1.3), and the
union is kept. A region that is empty, turned round or leaves the image makes all of them worthless;
one pixel too far is borne, because devices take the last corner for the first one outside.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from app.pixels.model import Box, Mark, Picture, Rung

# A screen has a handful; a thousand would be an attack on whoever works with the marks.
_MAX_REGIONS: Final = 64


def marks(picture: Picture) -> tuple[Mark, ...] | None:
    """Return marks for all that lies outside of the regions, perhaps none; None without regions.

    Regions of which one is not a rectangle within the image are as good as none.
    """
    if not picture.has_regions or not 0 < len(picture.regions) <= _MAX_REGIONS:
        return None
    if not all(_is_within(box, picture) for box in picture.regions):
        return None
    inside = [box.clipped(picture.columns, picture.rows) for box in picture.regions]
    outside = complement(inside, picture.columns, picture.rows)
    return tuple(Mark(box, Rung.REGIONS) for box in outside)


def _is_within(box: Box, picture: Picture) -> bool:
    is_inside = box.right <= picture.columns + 1 and box.bottom <= picture.rows + 1
    inner = box.clipped(picture.columns, picture.rows)
    return is_inside and box.left == inner.left and box.top == inner.top and inner.area > 0


def complement(boxes: Sequence[Box], columns: int, rows: int) -> tuple[Box, ...]:
    """Return disjoint boxes that cover exactly what the given ones leave of an image."""
    cuts = sorted({0, rows, *(box.top for box in boxes), *(box.bottom for box in boxes)})
    done: list[Box] = []
    open_: dict[tuple[int, int], int] = {}  # a span of columns → the row where it began
    for top, bottom in pairwise(cuts):
        across = [box for box in boxes if box.top <= top and box.bottom >= bottom]
        spans = list(_gaps(across, columns))
        ended = [span for span in open_ if span not in spans]
        done += [Box(left, open_.pop((left, right)), right, top) for left, right in ended]
        for span in spans:
            open_.setdefault(span, top)
    done += [Box(left, top, right, rows) for (left, right), top in open_.items()]
    return tuple(sorted(done, key=lambda box: (box.top, box.left)))


def _gaps(boxes: Sequence[Box], columns: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of columns that no box covers."""
    reached = 0
    for box in sorted(boxes):
        if box.left > reached:
            yield reached, box.left
        reached = max(reached, box.right)
    if reached < columns:
        yield reached, columns
