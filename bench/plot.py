"""Line plots as SVG, written by hand: two logarithmic axes, a few series, no dependency."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 720
_HEIGHT: Final = 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 40, 55
# Told apart by those who see no colours as well: every series has a dash of its own.
_STYLES: Final = (
    ("#1b6ca8", "none"),
    ("#c0392b", "7 4"),
    ("#2e7d32", "2 3"),
    ("#6a1b9a", "9 3 2 3"),
)
_INK: Final = "#333"
_GRID: Final = "#ddd"


@dataclass(frozen=True, slots=True)
class Series:
    """One line: points with both coordinates above 0."""

    name: str
    points: Sequence[tuple[float, float]]
    has_marks: bool = True


def log_log(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """Return a plot as SVG text."""
    axes = _Axes(
        _decades([x for one in series for x, _ in one.points]),
        _decades([y for one in series for _, y in one.points]),
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 22, title, size=15),
        *axes.grid(),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_name, anchor="middle"),
        f'<g transform="translate(18 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)">'
        f"{_text(0, 0, y_name, anchor='middle')}</g>",
    ]
    for number, one in enumerate(series):
        parts += _line(axes, one, number)
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a value lies: exponents of ten from least to most on each axis."""

    x: tuple[int, int]
    y: tuple[int, int]

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        x, y = (math.log10(value) for value in point)
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * (right - _LEFT), bottom - up * (bottom - _TOP)

    def grid(self) -> list[str]:
        lines = []
        for exponent in range(self.x[0], self.x[1] + 1):
            x, bottom = self.place((10.0**exponent, 10.0 ** self.y[0]))
            lines += [
                _stroke(x, bottom, x, _TOP),
                _text(x, bottom + 18, _power(exponent), "middle"),
            ]
        for exponent in range(self.y[0], self.y[1] + 1):
            left, y = self.place((10.0 ** self.x[0], 10.0**exponent))
            lines += [
                _stroke(left, y, _WIDTH - _RIGHT, y),
                _text(left - 8, y + 4, _power(exponent), "end"),
            ]
        return lines


def _line(axes: _Axes, series: Series, number: int) -> list[str]:
    colour, dash = _STYLES[number % len(_STYLES)]
    places = [axes.place(point) for point in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    y = _TOP + 14 + 22 * number
    x = _WIDTH - _RIGHT + 14
    style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
    parts = [
        f'<polyline points="{path}" {style}/>',
        f'<polyline points="{x},{y - 4} {x + 26},{y - 4}" {style}/>',
        _text(x + 32, y, series.name),
    ]
    if series.has_marks:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    return parts


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _power(exponent: int) -> str:
    return f"{10.0**exponent:,.0f}" if exponent >= 0 else f"{10.0**exponent:g}"


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{_GRID}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{_INK}">{escape(text)}</text>'
    )
