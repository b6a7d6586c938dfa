"""Burns lines of text into frames and keeps the exact ink of every letter as the answer key."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.pixels.model import Box
from tests.pixels.burning.fonts import Face
from tests.pixels.burning.words import Text

Rng = np.random.Generator
Colour = tuple[float, float, float]
Frame = NDArray[np.float64]  # (rows, columns, samples), 0 to 1
_MARGIN = 4
_TRIES = 80


@dataclass(frozen=True, slots=True)
class Style:
    """How a line looks.

    Attributes:
        ground: colour of a box behind the text; None for none.
        smooth: whether edges of letters have shades.
    """

    face: Face
    size: int
    colour: Colour
    ground: Colour | None = None
    smooth: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One character in the image.

    Attributes:
        ink: how much of each pixel of the box it covers, 0 to 1.
        is_identifying: whether it belongs to what must not be seen.
    """

    character: str
    box: Box
    ink: NDArray[np.float64]
    is_identifying: bool


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """One line in the image: the answer key.

    Attributes:
        frames: first and last frame that show it, from 0, both included.
    """

    text: Text
    style: Style
    letters: tuple[Letter, ...]
    frames: tuple[int, int] = (0, 0)

    @property
    def box(self) -> Box:
        """The smallest box that holds its ink."""
        boxes = [letter.box for letter in self.letters]
        return Box(
            min(box.left for box in boxes),
            min(box.top for box in boxes),
            max(box.right for box in boxes),
            max(box.bottom for box in boxes),
        )

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return every pixel that the ink touches."""
        mask = np.zeros(shape, dtype=np.bool_)
        for letter in self.letters:
            box = letter.box
            mask[box.top : box.bottom, box.left : box.right] |= letter.ink > 0
        return mask


def set_line(text: Text, style: Style, left: int, top: int) -> Line:
    """Set the letters of a line in type, its cell beginning at a place."""
    side = style.size // 2
    letters: list[Letter] = []
    for number, character in enumerate(text.text):
        for sign in style.face.spelling(character):
            ink, advance = style.face.glyph(sign, style.size, smooth=style.smooth)
            letter = _letter(sign, ink, (left - side, top), text.identifies(number))
            if letter is not None:
                letters.append(letter)
            left += advance
    return Line(text, style, tuple(letters))


def _letter(sign: str, ink: Frame, place: tuple[int, int], is_identifying: bool) -> Letter | None:
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    if not len(rows):
        return None  # a space
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    x, y = place
    box = Box(int(x + left), int(y + top), int(x + right), int(y + bottom))
    return Letter(sign, box, ink[top:bottom, left:right], is_identifying)


def burn(frame: Frame, line: Line) -> None:
    """Draw a line over a frame."""
    if line.style.ground is not None:
        box = line.box
        rows, columns = (
            slice(max(box.top - 2, 0), box.bottom + 2),
            slice(max(box.left - 2, 0), box.right + 2),
        )
        frame[rows, columns] = line.style.ground[: frame.shape[2]]
    colour = np.array(line.style.colour[: frame.shape[2]])
    for letter in line.letters:
        box = letter.box
        part = frame[box.top : box.bottom, box.left : box.right]
        ink = letter.ink[:, :, None]
        part[:] = part * (1 - ink) + colour * ink


@dataclass(slots=True)
class Sheet:
    """Finds places for lines, none over another.

    Attributes:
        shape: rows and columns.
    """

    shape: tuple[int, int]
    _taken: list[Box] = field(default_factory=list)

    def place(self, text: Text, style: Style, rng: Rng) -> Line | None:
        """Set a line at a free place: mostly in the banners at the top and at the bottom.

        Returns:
            None where there is no room for it.
        """
        trial = set_line(text, style, 0, 0)
        if not trial.letters:
            return None
        box = trial.box
        width, height = box.right - box.left, box.bottom - box.top
        room_x, room_y = self.shape[1] - width, self.shape[0] - height
        if room_x < 0 or room_y < 0:
            return None
        for _ in range(_TRIES):
            x, y = _spot(room_x, room_y, height, rng)
            spot = Box(x, y, x + width, y + height)
            if not any(_touch(spot, other) for other in self._taken):
                self._taken.append(spot)
                return _moved(trial, x - box.left, y - box.top)
        return None


def _spot(room_x: int, room_y: int, height: int, rng: Rng) -> tuple[int, int]:
    if rng.random() < 0.8:  # a banner: on one of three rows at the top or at the bottom
        row = int(rng.integers(3)) * (height + 2 * _MARGIN) + int(rng.integers(3))
        y = min(row, room_y) if rng.random() < 0.7 else max(room_y - row, 0)
        x = int(rng.integers(3)) if rng.random() < 0.4 else int(rng.integers(room_x + 1))
        return min(x, room_x), y
    return int(rng.integers(room_x + 1)), int(rng.integers(room_y + 1))


def _touch(one: Box, other: Box) -> bool:
    aside = one.left > other.right + 2 * _MARGIN or other.left > one.right + 2 * _MARGIN
    below = one.top > other.bottom + _MARGIN or other.top > one.bottom + _MARGIN
    return not aside and not below


def _moved(line: Line, x: int, y: int) -> Line:
    letters = tuple(replace(one, box=_shifted(one.box, x, y)) for one in line.letters)
    return replace(line, letters=letters)


def _shifted(box: Box, x: int, y: int) -> Box:
    return Box(box.left + x, box.top + y, box.right + x, box.bottom + y)


def shown_in(lines: Sequence[Line], frame: int) -> list[Line]:
    """Return the lines that one frame shows."""
    return [line for line in lines if line.frames[0] <= frame <= line.frames[1]]
