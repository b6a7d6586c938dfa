"""One frame in several ways of looking, so that text that one of them misses shows in another.

Text may be faint, tiny, cut off by a window, or as bright as what is around it in one colour. Only
the child processes for reading import this.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.pixels.codecs import Frame
from app.pixels.model import Picture
from app.pixels.rendering import display, stored

Image = NDArray[np.uint8]  # (rows, columns, 3)
# The finder was made for photographs of pages: letters of 8 pixels are small for it.
_LEAST_EDGE, _MOST_TIMES = 736, 3.0
_TILE, _OVERLAP = 1024, 128
_ENLARGED = 1.2
# Above it, one look at the whole image in this size finds letters that are larger than a tile.
_WHOLE = 1600
# A window that shows nearly all values, and not much more, needs no second look without it.
_SPARE, _WIDE = 0.02, 2.0
_LOCAL, _GRID = 3.0, (8, 8)
# The values that stand out most are set apart from all others by so much of the whole range.
_MOST_SPIKES, _LEAST_COUNT, _STEP = 4, 60, 0.12


def views(frame: Frame, picture: Picture) -> list[Image]:
    """Return a frame as people see it, over its full range, and with local contrast."""
    shown = coloured(display(frame, picture))
    found = [shown]
    if frame.values.ndim != 2:
        return [shown, _local(shown)]
    codes = stored(frame, picture)
    if frame.photometric == "PALETTE COLOR":
        found.append(_local(shown))
        if _confuses(codes, shown):
            found.append(coloured(_equalized(codes)))
        return found
    if picture.window is not None and _hides(codes, picture):
        found.append(coloured(_stretched(codes)))
    found.append(coloured(_equalized(codes)) if frame.bits > 8 else _local(found[-1]))
    return found


def _confuses(codes: NDArray[Any], shown: Image) -> bool:
    """Say whether a palette shows different values in one colour, which another one would not."""
    colours = shown.astype(np.int64) @ np.array((1 << 16, 1 << 8, 1))
    return len(np.unique(colours)) < len(np.unique(codes))


def _hides(codes: NDArray[Any], picture: Picture) -> bool:
    """Say whether the window leaves out a part of the values that matters."""
    assert picture.window is not None  # noqa: S101 - asked by the caller
    centre, width = picture.window
    slope, intercept = picture.rescale
    low, high = sorted(slope * float(value) + intercept for value in (codes.min(), codes.max()))
    spare = _SPARE * (high - low)
    is_within = centre - width / 2 <= low + spare and centre + width / 2 >= high - spare
    return not is_within or width > _WIDE * (high - low)


def coloured(image: NDArray[np.uint8]) -> Image:
    """Return grey as three equal colours."""
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _stretched(codes: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(codes.min()), float(codes.max())
    scale = 255 / (high - low) if high > low else 0.0
    return np.asarray(np.rint((codes - low) * scale), np.uint8)


def _equalized(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values by their rank, so that any two that differ look different enough."""
    low, high = int(codes.min()), int(codes.max())
    shift = max((high - low).bit_length() - 16, 0)
    index = (codes - low) >> shift
    counts = np.bincount(index.ravel())
    weights = np.minimum(counts, max(codes.size // 256, 1)).astype(np.float64)
    # Grounds and letters are of one value each; noise elsewhere must not push them together.
    weights[_spikes(counts)] += weights.sum() * _STEP
    ranks = np.cumsum(weights)
    table = np.rint(ranks * (255 / ranks[-1])).astype(np.uint8)
    return np.asarray(table[index], np.uint8)


def _spikes(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the values that occur far more often than those next to them, and the next ones."""
    used = np.flatnonzero(counts)
    often = np.pad(np.minimum(counts[used], 0xFFFF), 2).astype(np.uint16).reshape(1, -1)
    usual = cv2.medianBlur(often, 5).ravel()[2:-2].astype(np.int64)
    spikes = np.flatnonzero((counts[used] >= _LEAST_COUNT) & (counts[used] > 4 * usual))
    most = spikes[np.argsort(-counts[used[spikes]])][:_MOST_SPIKES]
    return np.asarray(used[np.union1d(most, np.minimum(most + 1, len(used) - 1))], np.int64)


def _local(image: Image) -> Image:
    contrast = cv2.createCLAHE(_LOCAL, _GRID)
    return np.stack([contrast.apply(image[:, :, c]) for c in range(3)], axis=-1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Tile:
    """A part of an image as the finder gets it.

    Attributes:
        pixels: the part, scaled.
        times: by how much.
        left, top, right, bottom: where it lies in the image.
        is_quarter: whether it was divided before.
    """

    pixels: Image
    times: float
    left: int
    top: int
    right: int
    bottom: int
    is_quarter: bool = False


def tiles(image: Image, least_edge: int, *, is_first: bool = True) -> Iterator[Tile]:
    """Yield parts of a size that the finder likes.

    Parts overlap, so that a line of the usual height lies whole in one of them.

    Args:
        image: a view of a frame, or of a part of it.
        least_edge: of the whole frame: all parts of it are enlarged alike.
        is_first: whether it is the first view; the others of large frames are looked at smaller.
    """
    rows, columns = image.shape[:2]
    times = min(max(_LEAST_EDGE / max(least_edge, 1), 1.0), _MOST_TIMES)
    if not is_first and least_edge > _WHOLE:
        times = 0.5
    step = max(int(_TILE / times), _OVERLAP)
    for top in _starts(rows, step):
        for left in _starts(columns, step):
            yield _tile(image, times, (left, top), step + _OVERLAP)
    if times > _ENLARGED:
        # What lies close to an edge or a structure melts into it when it is enlarged.
        yield _tile(image, 1.0, (0, 0), max(rows, columns))
    if max(rows, columns) > _WHOLE:
        yield _tile(image, 1280 / max(rows, columns), (0, 0), max(rows, columns))


def quarters(image: Image, tile: Tile) -> Iterator[Tile]:
    """Yield the four parts of a tile, larger; none of one that is a quarter or a whole already."""
    if tile.is_quarter or tile.times < 1:
        return
    step = max(tile.right - tile.left, tile.bottom - tile.top) // 2
    times = min(tile.times * 1.5, _MOST_TIMES)
    for top in (tile.top, tile.top + (tile.bottom - tile.top) // 2):
        for left in (tile.left, tile.left + (tile.right - tile.left) // 2):
            part = _tile(image, times, (left, top), step)
            yield replace(part, is_quarter=True)


def _tile(image: Image, times: float, start: tuple[int, int], size: int) -> Tile:
    left, top = start
    bottom, right = min(top + size, image.shape[0]), min(left + size, image.shape[1])
    return Tile(scaled(image[top:bottom, left:right], times), times, left, top, right, bottom)


def _starts(length: int, step: int) -> range:
    return range(0, max(length - _OVERLAP, 1), step)


def scaled(image: Image, times: float) -> Image:
    """Return an image in another size."""
    if times == 1.0:
        return np.ascontiguousarray(image)
    way = cv2.INTER_CUBIC if times > 1 else cv2.INTER_AREA
    size = (max(round(image.shape[1] * times), 1), max(round(image.shape[0] * times), 1))
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
