"""One page of a PDF as it is seen, and the words of its text layer with their places.

Only child processes import this: it opens hostile documents.
"""

import ctypes
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pypdfium2 import raw

from app.pixels.documents import Doubt, Why
from app.pixels.documents.finding import Letter, Letters, letters
from app.pixels.model import Box

#: (rows, columns, 3), uint8, red first.
Raster = NDArray[np.uint8]

POINTS_PER_INCH: Final = 72
_DPI = 150
_MIN_DPI = 72
# A page at 150 dpi is 1240 x 1754; larger ones are rendered with fewer dots per inch.
_MAX_EDGE, _MAX_PIXELS = 5_000, 16_000_000
_MAX_POINTS = 14_400
_MAX_LETTERS = 60_000
# Letters reach beyond the box that their font claims.
_MARGIN, _MIN_MARGIN_PX = 0.2, 1
_FINE = 1000
# What the library gives for a hyphen between two lines of one word.
_JOINTS: Final = {0x02: "-", 0xFFFE: "-"}


@dataclass(frozen=True, slots=True, repr=False)
class Word:
    """A run of letters without a space.

    Attributes:
        place: in pixels of the page's raster.
        box: the same with a margin, for letters that reach beyond.
    """

    text: str
    place: Box
    box: Box


@dataclass(frozen=True, slots=True, repr=False)
class PageText:
    """The text layer of a page.

    Attributes:
        words: in the order in which they are stored.
        orders: the letters as they are stored, and as they are seen; places are words.
    """

    words: tuple[Word, ...]
    orders: tuple[Letters, ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """The size of a page in points and in pixels."""

    width: float
    height: float
    scale: float


def measures_of(page: pdfium.PdfPage) -> Measures:
    """Return a page's size.

    Raises:
        Doubt: it is too large, or too small to be looked at.
    """
    width, height = page.get_size()
    if not (1 <= width <= _MAX_POINTS and 1 <= height <= _MAX_POINTS):
        raise Doubt(Why.TOO_LARGE)
    scale = min(
        _DPI / POINTS_PER_INCH,
        _MAX_EDGE / max(width, height),
        (_MAX_PIXELS / (width * height)) ** 0.5,
    )
    if scale * POINTS_PER_INCH < _MIN_DPI:
        raise Doubt(Why.TOO_LARGE)
    return Measures(width, height, scale)


def raster_of(page: pdfium.PdfPage, measures: Measures) -> Raster:
    """Render a page without annotations and forms. Source: ISO 32000-1, 8 and 12.5."""
    bitmap = page.render(
        scale=measures.scale, may_draw_forms=False, draw_annots=False, rev_byteorder=True
    )
    pixels = bitmap.to_numpy()
    raster = np.ascontiguousarray(pixels[:, :, :3])
    bitmap.close()
    return raster


def text_of(page: pdfium.PdfPage, size: tuple[int, int]) -> PageText:
    """Return the words of a page's text layer, also of what nobody sees.

    Args:
        page: the page.
        size: columns and rows of its raster.

    Raises:
        Doubt: there is more text than a page can show.
    """
    layer = page.get_textpage()
    try:
        count = layer.count_chars()
        if count > _MAX_LETTERS:
            raise Doubt(Why.TOO_LARGE)
        characters = [_character(layer.raw, index) for index in range(count)]
        boxes = _boxes(page, layer.raw, count, size)
    finally:
        layer.close()
    return _words(characters, boxes, size)


def _character(layer: Any, index: int) -> str:  # noqa: ANN401 - a handle of the library
    code = int(raw.FPDFText_GetUnicode(layer, index))
    if code == 0 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        return "\ufffd"
    return chr(code)


def _boxes(
    page: pdfium.PdfPage,
    layer: Any,  # noqa: ANN401
    count: int,
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Return left, top, right and bottom of each letter in pixels; zeros where it has no place."""
    corners = np.zeros((count, 4))
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    loose = raw.FS_RECTF()
    for index in range(count):
        tight = raw.FPDFText_GetCharBox(layer, index, left, right, bottom, top)
        wide = raw.FPDFText_GetLooseCharBox(layer, index, loose)
        if tight and wide:
            corners[index] = (
                min(left.value, loose.left),
                min(bottom.value, loose.bottom),
                max(right.value, loose.right),
                max(top.value, loose.top),
            )
    return _on_raster(page, corners, size)


def _on_raster(
    page: pdfium.PdfPage, corners: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Turn boxes on the page into boxes in its raster, whatever the page's rotation and crop."""
    origin, along, up = (
        _device_point(page, x, y, size) for x, y in ((0, 0), (_FINE, 0), (0, _FINE))
    )
    x_step, y_step = (along - origin) / _FINE, (up - origin) / _FINE
    first = origin + np.outer(corners[:, 0], x_step) + np.outer(corners[:, 1], y_step)
    second = origin + np.outer(corners[:, 2], x_step) + np.outer(corners[:, 3], y_step)
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])


def _device_point(
    page: pdfium.PdfPage, x: float, y: float, size: tuple[int, int]
) -> NDArray[np.float64]:
    across, down = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, size[0] * _FINE, size[1] * _FINE, 0, x, y, across, down)
    return np.array([across.value / _FINE, down.value / _FINE])


def _words(
    characters: Sequence[str], boxes: NDArray[np.float64], size: tuple[int, int]
) -> PageText:
    """Put letters together to words."""
    words: list[Word] = []
    stored: list[Letter] = []
    for part in _runs(characters):
        number = len(words)
        text = "".join(characters[part.start : part.stop])
        if text.isspace():
            stored += [("\n" if c in "\r\n\u2028\u2029" else " ", None) for c in text]
            continue
        plain = text.translate(_JOINTS)
        words.append(_word(plain, boxes[part.start : part.stop], size))
        stored += [(character, number) for character in plain]
        if plain != text:
            stored.append(("\n", None))
    orders = [letters(stored), letters(_as_seen(words))]
    if any(map(_is_from_right, words)):
        orders.append(letters(_turned(words)))
    return PageText(tuple(words), tuple(orders))


def _runs(characters: Sequence[str]) -> Iterator[range]:
    """Yield runs of letters, and runs of spaces; a hyphen that ends a line ends a run."""
    start = 0
    for index in range(1, len(characters) + 1):
        ends = index == len(characters) or ord(characters[index - 1]) in _JOINTS
        if ends or characters[index].isspace() != characters[start].isspace():
            yield range(start, index)
            start = index


def _word(text: str, boxes: NDArray[np.float64], size: tuple[int, int]) -> Word:
    real = boxes[(boxes[:, 2] > boxes[:, 0]) | (boxes[:, 3] > boxes[:, 1])]
    if not len(real):
        return Word(text, Box(0, 0, 0, 0), Box(0, 0, 0, 0))
    left, top = (int(np.floor(edge)) for edge in real[:, :2].min(axis=0))
    right, bottom = (int(np.ceil(edge)) for edge in real[:, 2:].max(axis=0))
    by = max(int(_MARGIN * min(bottom - top, right - left)), _MIN_MARGIN_PX)
    around = Box(left - by, top - by, right + by, bottom + by)
    return Word(text, Box(left, top, right, bottom).clipped(*size), around.clipped(*size))


def _as_seen(words: Sequence[Word]) -> Iterator[Letter]:
    """Yield letters line by line from the top, each line from the left."""
    for line in lines_of([word.box for word in words]):
        for number in line:
            yield from ((character, number) for character in words[number].text)
            yield (" ", None)
        yield ("\n", None)


def _is_from_right(word: Word) -> bool:
    return any(unicodedata.bidirectional(character) in {"R", "AL"} for character in word.text)


def _turned(words: Sequence[Word]) -> Iterator[Letter]:
    """Yield the letters of words that run from the right in the other direction, too."""
    for number, word in enumerate(words):
        text = word.text[::-1] if _is_from_right(word) else word.text
        yield from ((character, number) for character in text)
        yield (" ", None)


def lines_of(boxes: Sequence[Box]) -> list[list[int]]:
    """Gather boxes that stand beside each other to lines, from the top and from the left."""
    lines: list[list[int]] = []
    middle = height = 0.0
    for number in sorted(range(len(boxes)), key=lambda n: (boxes[n].top + boxes[n].bottom, n)):
        box = boxes[number]
        if not box.area:
            continue
        centre = (box.top + box.bottom) / 2
        if not lines or centre - middle > height / 2:
            lines.append([])
            middle, height = centre, float(box.bottom - box.top)
        lines[-1].append(number)
    return [sorted(line, key=lambda n: (boxes[n].left, n)) for line in lines]
