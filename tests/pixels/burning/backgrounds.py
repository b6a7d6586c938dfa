"""What an image shows besides text: (rows, columns) from 0 to 1, the same for the same seed.

Some of it looks like text to a machine: rulers, colour bars, ticks, noise.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rng = np.random.Generator
Plane = NDArray[np.float64]
Shape = tuple[int, int]


def black(shape: Shape, _rng: Rng) -> Plane:
    """Return nothing at all."""
    return np.zeros(shape)


def white(shape: Shape, _rng: Rng) -> Plane:
    """Return a scanned sheet's white."""
    return np.full(shape, 0.96)


def gradient(shape: Shape, rng: Rng) -> Plane:
    """Return a slope in any direction."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    angle = rng.random() * 2 * np.pi
    slope = np.cos(angle) * rows / shape[0] + np.sin(angle) * columns / shape[1]
    return 0.85 * (slope - slope.min()) / np.ptp(slope)


def speckle(shape: Shape, rng: Rng) -> Plane:
    """Return coherent noise as of ultrasound."""
    return np.clip(rng.rayleigh(0.16, shape) * (0.4 + smooth(shape, rng)), 0, 0.9)


def smooth(shape: Shape, rng: Rng, *, grain: int = 9) -> Plane:
    """Return large soft blotches between 0 and 1."""
    small = Image.fromarray(rng.random((grain, grain)).astype(np.float32))
    large = small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large, dtype=np.float64), 0, 1)


def ultrasound(shape: Shape, rng: Rng) -> Plane:
    """Return a sector with speckle and a ruler on black: what most burned-in names stand beside."""
    plane = np.where(sector(shape), speckle(shape, rng), 0)
    left = shape[1] - 12
    top, bottom = shape[0] // 6, shape[0] * 5 // 6
    for number, row in enumerate(range(top, bottom, 8)):
        plane[row, left - (6 if number % 5 == 0 else 2) : left] = 0.8
    bar = np.linspace(1, 0, shape[0] // 4)[:, None]
    plane[top : top + len(bar), 6:14] = bar
    return plane


def sector(shape: Shape) -> NDArray[np.bool_]:
    """Return where the sector of ``ultrasound`` lies."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    down, aside = rows - shape[0] * 0.08, columns - shape[1] / 2
    depth = np.hypot(down, aside)
    inside = (np.abs(aside) < down * 0.9) & (depth > shape[0] * 0.1) & (depth < shape[0] * 0.8)
    return np.asarray(inside)


def section(shape: Shape, rng: Rng) -> Plane:
    """Return a slice as of CT: an ellipse with organs and bones in air, with noise."""
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    body = (rows / 0.62) ** 2 + (columns / 0.82) ** 2
    plane = np.where(body < 1, 0.34 + 0.06 * smooth(shape, rng), 0.02)
    for _ in range(5):
        y, x, size = rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5), rng.uniform(0.05, 0.2)
        plane[(rows - y) ** 2 + (columns - x) ** 2 < size**2] = rng.uniform(0.28, 0.75)
    plane[(body > 0.82) & (body < 0.9)] = 0.3
    return np.clip(plane + rng.normal(0, 0.012, shape), 0, 1)


def radiograph(shape: Shape, rng: Rng) -> Plane:
    """Return a projection as of CR: soft shadows, ribs, collimated edges."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    ribs = 0.12 * (np.sin(rows / shape[0] * 40 + ((columns / shape[1] - 0.5) * 3) ** 2) > 0.4)
    plane = 0.25 + 0.45 * smooth(shape, rng, grain=5) + ribs * smooth(shape, rng)
    edge = max(shape[0] // 14, 2)
    plane[:edge], plane[-edge:], plane[:, :edge], plane[:, -edge:] = 0.01, 0.01, 0.01, 0.01
    return np.clip(plane + rng.normal(0, 0.01, shape), 0, 1)


BACKGROUNDS: Mapping[str, Callable[[Shape, Rng], Plane]] = MappingProxyType(
    {
        "black": black,
        "white": white,
        "gradient": gradient,
        "speckle": speckle,
        "ultrasound": ultrasound,
        "section": section,
        "radiograph": radiograph,
    }
)
