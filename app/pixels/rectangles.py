"""Rectangles of mask rules: in pixels or percent, from any edge of the image. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.errors import InvalidRules
from app.pixels.model import Box

#: Largest number of pixels along an edge.
MAX_PIXELS: Final = 1_000_000
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%")
_EDGES: Final = (("left", "right", "width"), ("top", "bottom", "height"))
FIELDS: Final = frozenset({"whole", *_EDGES[0], *_EDGES[1]})


@dataclass(frozen=True, slots=True)
class Length:
    """A number of pixels, or thousandths of a percent of the image's edge."""

    pixels: int | None = None
    thousandths: int = 0

    def floor(self, edge: int) -> int:
        """Return whole pixels, rounded down."""
        return self.pixels if self.pixels is not None else edge * self.thousandths // 100_000

    def ceiling(self, edge: int) -> int:
        """Return whole pixels, rounded up."""
        return self.pixels if self.pixels is not None else -(-edge * self.thousandths // 100_000)

    def content(self) -> int | str:
        """Return it as it is written."""
        if self.pixels is not None:
            return self.pixels
        return f"{self.thousandths / 1000:.3f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch along one axis: distance from the near and the far edge, and extent; two of three.

    Percentages are rounded so that the stretch only grows.
    """

    near: Length | None = None
    far: Length | None = None
    extent: Length | None = None

    def between(self, edge: int) -> tuple[int, int]:
        """Return the first pixel and the one behind the last, cut at the image's edges."""
        if self.extent is None:
            start = self.near.floor(edge) if self.near else 0
            stop = edge - self.far.floor(edge) if self.far else edge
        elif self.far is not None:
            stop = edge - self.far.floor(edge)
            start = edge - self.far.ceiling(edge) - self.extent.ceiling(edge)
        else:
            start = self.near.floor(edge) if self.near else 0
            stop = (self.near.ceiling(edge) if self.near else 0) + self.extent.ceiling(edge)
        return max(start, 0), min(stop, edge)


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle of a mask rule; the whole image if both stretches are empty."""

    across: Span = Span()
    down: Span = Span()

    def box(self, columns: int, rows: int) -> Box:
        """Return the pixels in an image of this size; without area if they lie outside of it."""
        left, right = self.across.between(columns)
        top, bottom = self.down.between(rows)
        if left >= right or top >= bottom:
            return Box(0, 0, 0, 0)
        return Box(left, top, right, bottom)

    def content(self) -> dict[str, Any]:
        """Return it as it is written in a rules file."""
        written: dict[str, Any] = {}
        for names, span in zip(_EDGES, (self.across, self.down), strict=True):
            lengths = (span.near, span.far, span.extent)
            pairs = zip(names, lengths, strict=True)
            written |= {name: one.content() for name, one in pairs if one is not None}
        return written or {"whole": True}


def of_box(box: Box) -> Rectangle:
    """Return a rectangle of exactly these pixels."""
    return Rectangle(
        Span(near=Length(box.left), extent=Length(box.right - box.left)),
        Span(near=Length(box.top), extent=Length(box.bottom - box.top)),
    )


def read_rectangle(value: object, place: str) -> Rectangle:
    """Read one rectangle of a rule.

    Raises:
        InvalidRules: with the place.
    """
    if not isinstance(value, Mapping) or not value or set(value) - FIELDS:
        raise InvalidRules(f"{place} has some of {', '.join(sorted(FIELDS))}")
    if "whole" in value:
        if value["whole"] is not True or len(value) > 1:
            raise InvalidRules(f"{place}: whole is true, and stands alone")
        return Rectangle()
    across, down = (_span(value, names, place) for names in _EDGES)
    return Rectangle(across, down)


def _span(value: Mapping[str, object], names: tuple[str, str, str], place: str) -> Span:
    near, far, extent = (
        _length(value[name], f"{place}.{name}") if name in value else None for name in names
    )
    if near is not None and far is not None and extent is not None:
        raise InvalidRules(f"{place} has two of {', '.join(names)} at most")
    if extent is not None and (extent.pixels == 0 or extent == Length(None, 0)):
        raise InvalidRules(f"{place}.{names[2]} is more than 0")
    return Span(near, far, extent)


def _length(value: object, place: str) -> Length:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PIXELS:
        return Length(value)
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is not None and float(match[1]) <= 100:
        return Length(None, round(float(match[1]) * 1000))
    raise InvalidRules(f"{place} is a number of pixels from 0, or 0% to 100% in quotes")
