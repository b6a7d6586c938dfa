"""Pages that need no reading: nothing but text in common fonts, and ruled lines.

Where nothing can read an image, only such a page can be cleaned by its text layer. A font that the
document brings along may draw other letters than its text layer says; a curve, a pattern or many
short strokes may be letters.
"""

import ctypes
from itertools import pairwise
from typing import Any, Final

import pypdfium2 as pdfium  # type: ignore[import-untyped]
from pypdfium2 import raw

from app.pixels.documents.pdf_pages import Measures, PageText, Raster, raster_of

_MAX_OBJECTS: Final = 20_000
_MAX_SEGMENTS = 16
# Letters are shorter than the strokes of tables.
_MIN_STROKE_POINTS = 24.0
_NEARLY = 0.01
_FILLS_TEXT = 0  # FPDF_TEXTRENDERMODE_FILL


def is_plain(page: pdfium.PdfPage, text: PageText) -> bool:
    """Say whether the text layer tells everything that a page shows; removes nothing."""
    said = {character for word in text.words for character in word.text}
    if not said or "\ufffd" in said or not all(map(str.isprintable, said)):
        return False
    count = raw.FPDFPage_CountObjects(page)
    if not 0 <= count <= _MAX_OBJECTS:
        return False
    return all(_is_plain_object(raw.FPDFPage_GetObject(page, number)) for number in range(count))


def shows_only_rules(
    page: pdfium.PdfPage, measures: Measures, raster: Raster, text: PageText
) -> bool:
    """Say whether a page shows its words where they are said to be, and rules and areas beside.

    Args:
        page: a plain page; its text objects are taken out of it.
        measures: of the page.
        raster: of the page with its text.
        text: of the page.
    """
    count = raw.FPDFPage_CountObjects(page)
    for number in reversed(range(count)):
        drawn = raw.FPDFPage_GetObject(page, number)
        if raw.FPDFPageObj_GetType(drawn) == raw.FPDF_PAGEOBJ_TEXT:
            raw.FPDFPage_RemoveObject(page, drawn)
            raw.FPDFPageObj_Destroy(drawn)
    bare = raster_of(page, measures)
    ink = (raster != bare).any(axis=2)
    for word in text.words:
        ink[word.box.top : word.box.bottom, word.box.left : word.box.right] = False
    return not ink.any() and _is_ruled(bare, measures)


def _is_ruled(raster: Raster, measures: Measures) -> bool:
    """Say whether every patch that differs from what is beside and below it is long.

    In a pattern of letters some edge is short; the edges of rules and areas are not.
    """
    shortest = int(_MIN_STROKE_POINTS * measures.scale) - 2
    across = (raster[1:] != raster[:-1]).any(axis=2)
    down = (raster[:, 1:] != raster[:, :-1]).any(axis=2).T
    return _runs_are_long(across, shortest) and _runs_are_long(down, shortest)


def _runs_are_long(edges: Any, shortest: int) -> bool:  # noqa: ANN401 - an array of booleans
    for row in edges[edges.any(axis=1)]:
        places = row.nonzero()[0]
        breaks = (places[1:] - places[:-1] > 1).nonzero()[0]
        starts = [0, *(breaks + 1)]
        stops = [*(breaks + 1), len(places)]
        lengths = [stop - start for start, stop in zip(starts, stops, strict=True)]
        if any(_MAX_END < length < shortest for length in lengths):
            return False
    return True


# The end of a line is a short edge, too.
_MAX_END = 8


def _is_plain_object(drawn: Any) -> bool:  # noqa: ANN401 - a handle of the library
    kind = raw.FPDFPageObj_GetType(drawn)
    if kind == raw.FPDF_PAGEOBJ_TEXT:
        return _is_plain_text(drawn)
    return kind == raw.FPDF_PAGEOBJ_PATH and _is_rule(drawn)


def _is_plain_text(drawn: Any) -> bool:  # noqa: ANN401
    font = raw.FPDFTextObj_GetFont(drawn)
    if not font or raw.FPDFTextObj_GetTextRenderMode(drawn) != _FILLS_TEXT:
        return False
    return raw.FPDFFont_GetIsEmbedded(font) == 0 and _is_named(font)


def _is_named(font: Any) -> bool:  # noqa: ANN401
    """Say whether a font has a name, which fonts made of drawings have not."""
    return int(raw.FPDFFont_GetBaseFontName(font, None, 0)) > 1


def _is_rule(drawn: Any) -> bool:  # noqa: ANN401
    """Say whether a path consists of a few strokes along the page's edges, one of them long."""
    count = raw.FPDFPath_CountSegments(drawn)
    if not 1 <= count <= _MAX_SEGMENTS:
        return False
    points = []
    for number in range(count):
        segment = raw.FPDFPath_GetPathSegment(drawn, number)
        if raw.FPDFPathSegment_GetType(segment) == raw.FPDF_SEGMENT_BEZIERTO:
            return False
        x, y = ctypes.c_float(), ctypes.c_float()
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        points.append((x.value, y.value))
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    return all(min(abs(x), abs(y)) < _NEARLY for x, y in steps) and _is_long(drawn)


def _is_long(drawn: Any) -> bool:  # noqa: ANN401
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not raw.FPDFPageObj_GetBounds(drawn, left, bottom, right, top):
        return False
    edges = (right.value - left.value, top.value - bottom.value)
    return max(edges) >= _MIN_STROKE_POINTS
