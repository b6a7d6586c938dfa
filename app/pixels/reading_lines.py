"""All lines of text of one frame, from all views of it, each read as well as can be.

Only the child processes for reading import this.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from app.pixels.model import Box
from app.pixels.reading_engine import Engine, Image, Line, Polygon, cut
from app.pixels.reading_views import Tile, quarters, tiles

_SAME = 0.5
_SURE = 0.9
_WEAK = 0.75
# Mirrored text is hardly read as surely as that.
_NOT_MIRRORED = 0.97


def read_lines(
    engine: Engine,
    images: Sequence[Image],
    *,
    is_over: Callable[[], bool],
    least_edge: int | None = None,
) -> list[Line] | None:
    """Find and read the lines of one frame.

    Args:
        engine: the models.
        images: views of the frame, of the same size.
        is_over: whether the time is up.
        least_edge: the shorter edge of the whole frame, where the images are a part of it.

    Returns:
        None where the time was up before everything was looked at.
    """
    found: list[tuple[Line, int]] = []
    for number, image in enumerate(images):
        edge = least_edge or min(image.shape[:2])
        waiting = list(tiles(image, edge, is_first=number == 0))
        while waiting:
            if is_over():
                return None
            tile = waiting.pop()
            lines = [_in_image(line, tile) for line in engine.find(tile.pixels)]
            if number == 0 and any(map(_is_outline, lines)):
                waiting += quarters(image, tile)
            for line in lines:
                _add(found, line, number)
    return _read(engine, images, found)


def _in_image(line: Line, tile: Tile) -> Line:
    offset = np.array([tile.left, tile.top], np.float32)
    return replace(line, corners=line.corners / tile.times + offset)


# An organ or the edge of a beam that was taken for a letter swallows the lines inside of it.
_OUTLINE = 90


def _is_outline(line: Line) -> bool:
    box = bounds(line)
    return min(box.right - box.left, box.bottom - box.top) > _OUTLINE


def widened(engine: Engine, image: Image, lines: Sequence[Line]) -> list[Line]:
    """Read lines once more with what stands before and behind them: the finder cuts words off."""
    wide = [
        replace(line, corners=_wider(line.corners), variants=(), mirrored=None) for line in lines
    ]
    readings = engine.read([cut(image, line.corners) for line in wide])
    return [
        replace(line, text=text, score=score)
        for line, (text, score) in zip(wide, readings, strict=True)
    ]


_WIDER = 2.5


def _wider(corners: Polygon) -> Polygon:
    """Return a line's corners moved apart along the text."""
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    long, short = float(np.linalg.norm(right)), float(np.linalg.norm(down))
    if short >= 1.5 * long:
        step = down / max(short, 1.0) * long * _WIDER
        return np.stack(
            [corners[0] - step, corners[1] - step, corners[2] + step, corners[3] + step]
        )
    step = right / max(long, 1.0) * short * _WIDER
    return np.stack([corners[0] - step, corners[1] + step, corners[2] + step, corners[3] - step])


def bounds(line: Line) -> Box:
    """Return the smallest box around a line."""
    left, top = np.floor(line.corners.min(axis=0))
    right, bottom = np.ceil(line.corners.max(axis=0))
    return Box(int(left), int(top), int(right), int(bottom))


def _add(found: list[tuple[Line, int]], line: Line, view: int) -> None:
    """Keep a line, unless it was found before: then the surer of both."""
    box = bounds(line)
    for place, (other, _) in enumerate(found):
        if overlap(box, bounds(other)) > _SAME:
            if line.found > other.found + 0.1:
                found[place] = (line, view)
            return
    found.append((line, view))


def overlap(one: Box, other: Box) -> float:
    """Return the share that two boxes have in common of what both cover."""
    common = Box(
        max(one.left, other.left),
        max(one.top, other.top),
        min(one.right, other.right),
        min(one.bottom, other.bottom),
    )
    width, height = common.right - common.left, common.bottom - common.top
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one.area + other.area - width * height)


def _read(engine: Engine, images: Sequence[Image], found: list[tuple[Line, int]]) -> list[Line]:
    """Read lines in the view that found them; those that stay unclear in the others and turned."""
    crops = [cut(images[view], line.corners) for line, view in found]
    lines = [
        _with(line, [reading]) for (line, _), reading in zip(found, engine.read(crops), strict=True)
    ]
    unsure = [i for i, line in enumerate(lines) if line.score < _SURE]
    further: list[tuple[int, Image]] = []
    for i in unsure:
        view = found[i][1]
        further += [
            (i, cut(image, lines[i].corners)) for n, image in enumerate(images) if n != view
        ]
        if lines[i].score < _WEAK:
            further.append((i, np.ascontiguousarray(np.rot90(crops[i], 2))))
    for (i, _), reading in zip(further, engine.read([c for _, c in further]), strict=True):
        lines[i] = _with(lines[i], [reading])
    return _mirrored(engine, lines, crops)


def _mirrored(engine: Engine, lines: list[Line], crops: Sequence[Image]) -> list[Line]:
    """Return lines with what a mirror shows of them, where that is read more surely."""
    unsure = [i for i, line in enumerate(lines) if line.score < _NOT_MIRRORED]
    turned = [np.ascontiguousarray(crops[i][:, ::-1]) for i in unsure]
    for i, (text, score) in zip(unsure, engine.read(turned), strict=True):
        if score > lines[i].score:
            lines[i] = replace(lines[i], mirrored=(text, score))
    return lines


def _with(line: Line, readings: list[tuple[str, float]]) -> Line:
    """Return a line with what it may say, the surest first."""
    known = [(line.text, line.score)] if line.score else []
    ordered = sorted([*known, *line.variants, *readings], key=lambda one: -one[1])
    return replace(line, text=ordered[0][0], score=ordered[0][1], variants=tuple(ordered[1:]))
