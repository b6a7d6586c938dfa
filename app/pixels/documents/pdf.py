"""PDF documents, made anew from what their pages show.

A page is rendered, what identifies is painted over in the picture, and a new document is written
that holds nothing but these pictures and, for searching, the words that stay. So nothing of the
old file survives: no metadata, annotation, attachment, script, form, layer, older revision or id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final, Protocol

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from pypdfium2 import raw

from app.deid.rules.identifiers import folded
from app.pixels.documents import Doubt, Why
from app.pixels.documents.finding import Finder, identifying, letters
from app.pixels.documents.pdf_pages import (
    Measures,
    PageText,
    Raster,
    Word,
    measures_of,
    raster_of,
    text_of,
)
from app.pixels.documents.pdf_plain import is_plain, shows_only_rules
from app.pixels.documents.pdf_writing import PdfWriter
from app.pixels.model import Box

_MAGIC = b"%PDF-"
MAX_PAGES: Final = 200
# Painting over a line uncovers nothing, but a reader may see the next one only then.
_ROUNDS = 6
_LEAST_MARGIN_PX, _MARGIN, _AROUND_PX = 2, 0.15, 96
_SAME, _PIECE = 0.75, 3
_QUARTER, _SOME = 0.25, 0.2


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """Text that was read in a picture.

    Attributes:
        is_harmless: whether it consists of words and figures that identify nobody.
    """

    box: Box
    text: str
    is_identifying: bool
    is_harmless: bool


class Reader(Protocol):
    """Reads text in pictures."""

    def __call__(self, raster: Raster) -> Sequence[Line]:
        """Return every line of text; raises Doubt where it cannot be sure of that."""


class Clock(Protocol):
    """Raises Doubt when the time is over."""

    def __call__(self) -> None: ...


@dataclass(slots=True, repr=False)
class Cleaned:
    """A cleaned document and the kinds of what was taken out of it."""

    data: bytes
    pages: int
    findings: set[str] = field(default_factory=set)


def clean_pdf(data: bytes, finder: Finder, reader: Reader | None, clock: Clock) -> Cleaned:
    """Return a new document from what a PDF shows, without what identifies.

    Args:
        data: the document, padding included.
        finder: knows the instance's identifying values.
        reader: reads pictures; None where nothing can.
        clock: is asked between steps.

    Raises:
        Doubt: it cannot be cleaned for sure.
    """
    if not data.startswith(_MAGIC):
        raise Doubt(Why.CONTRADICTORY)
    document = _opened(data)
    try:
        made = _Making(finder, reader, clock)
        for page in _pages(document):
            made.take(page)
        findings = made.findings | _left_out(document)
    finally:
        document.close()
    cleaned = made.writer.document()
    clock()
    _check(cleaned, finder)
    return Cleaned(cleaned, made.pages, findings)


def _opened(data: bytes) -> pdfium.PdfDocument:
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError:
        is_locked = raw.FPDF_GetLastError() in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}
        raise Doubt(Why.ENCRYPTED if is_locked else Why.BROKEN) from None
    if raw.FPDF_GetSecurityHandlerRevision(document) >= 0:
        document.close()
        raise Doubt(Why.ENCRYPTED)
    if not 1 <= len(document) <= MAX_PAGES:
        document.close()
        raise Doubt(Why.TOO_LARGE)
    return document


def _pages(document: pdfium.PdfDocument) -> Iterator[pdfium.PdfPage]:
    for number in range(len(document)):
        try:
            page = document[number]
        except pdfium.PdfiumError:
            raise Doubt(Why.BROKEN) from None
        try:
            yield page
        finally:
            page.close()


class _Making:
    """Takes the pages of a document one by one."""

    def __init__(self, finder: Finder, reader: Reader | None, clock: Clock) -> None:
        self.finder = finder
        self.reader = reader
        self.clock = clock
        self.writer = PdfWriter()
        self.findings: set[str] = set()
        self.pages = 0

    def take(self, page: pdfium.PdfPage) -> None:
        """Render one page, paint over what identifies, and write what is left."""
        self.clock()
        measures = measures_of(page)
        raster = raster_of(page, measures)
        text = text_of(page, (raster.shape[1], raster.shape[0]))
        self.clock()
        if self.reader is None and not self._is_told(page, measures, raster, text):
            raise Doubt(Why.NOT_READ)
        if raw.FPDFPage_GetAnnotCount(page):
            self.findings.add("annotation")
        found = identifying(self.finder, text.orders)
        black = [text.words[number].box for number in sorted(found)]
        _paint(raster, black)
        if black:
            self.findings.add("text")
        if self.reader is not None:
            black += self._read(self.reader, raster, text, found)
        words = [w for n, w in enumerate(text.words) if n not in found and _stays(w, black, raster)]
        self.writer.add(raster, measures, words)
        self.pages += 1

    def _is_told(
        self, page: pdfium.PdfPage, measures: Measures, raster: Raster, text: PageText
    ) -> bool:
        """Say whether the text layer tells everything that the page shows."""
        if _is_flat(raster):
            return True
        return is_plain(page, text) and shows_only_rules(page, measures, raster, text)

    def _read(self, reader: Reader, raster: Raster, text: PageText, found: set[int]) -> list[Box]:
        """Paint over what a reader finds until it finds nothing more; return where.

        After the first look only what is around new paint is read again.
        """
        rows, columns = raster.shape[:2]
        words = [w for n, w in enumerate(text.words) if n not in found and w.place.area]
        black: list[Box] = []
        areas = [Box(0, 0, columns, rows)]
        for _ in range(_ROUNDS):
            doubtful = [
                box for area in areas for box in self._doubtful(reader, raster, area, words)
            ]
            if not doubtful:
                return black
            self.findings.add("picture")
            boxes = [_grown(box).clipped(columns, rows) for box in doubtful]
            _paint(raster, boxes)
            black += boxes
            areas = _together([_grown(box, _AROUND_PX).clipped(columns, rows) for box in boxes])
        raise Doubt(Why.RESIDUE)

    def _doubtful(
        self, reader: Reader, raster: Raster, area: Box, words: Sequence[Word]
    ) -> Iterator[Box]:
        """Yield where in an area a reader finds what has to go.

        Raises:
            Doubt: nothing is read where something is seen; it may be handwriting.
        """
        self.clock()
        part = raster[area.top : area.bottom, area.left : area.right]
        lines = reader(np.ascontiguousarray(part))
        if not lines and not words and area.area == raster[:, :, 0].size and not _is_flat(raster):
            raise Doubt(Why.NOT_READ)
        for line in lines:
            place = _moved(line.box, area)
            if line.is_identifying or not (line.is_harmless or _is_vouched_for(line, place, words)):
                yield place


def _is_vouched_for(line: Line, place: Box, words: Sequence[Word]) -> bool:
    """Say whether the text layer has the same text at the same place.

    The words of the layer were judged already; what only a picture shows was not. A reader sees a
    piece of a line at times.
    """
    said = _core(" ".join(word.text for word in words if _touches(word.place, place)))
    read = _core(line.text)
    if not read:
        return False
    blocks = SequenceMatcher(None, said, read, autojunk=False).get_matching_blocks()
    # Single letters are found in any text.
    common = sum(block.size for block in blocks if block.size >= min(_PIECE, len(read)))
    return common >= _SAME * len(read)


def _core(text: str) -> str:
    return "".join(c for c in folded(letters((c, None) for c in text).text) if c.isalnum())


def _touches(one: Box, other: Box) -> bool:
    """Say whether boxes share a good part of the smaller one."""
    return _shared(one, other) >= _QUARTER * min(one.area, other.area)


def _moved(box: Box, by: Box) -> Box:
    return Box(box.left + by.left, box.top + by.top, box.right + by.left, box.bottom + by.top)


def _together(boxes: Sequence[Box]) -> list[Box]:
    """Return boxes that cover the same, those that overlap put together."""
    found: list[Box] = []
    for box in boxes:
        whole = box
        while apart := [other for other in found if _shared(whole, other)]:
            found = [other for other in found if not _shared(whole, other)]
            every = [whole, *apart]
            whole = Box(
                min(b.left for b in every),
                min(b.top for b in every),
                max(b.right for b in every),
                max(b.bottom for b in every),
            )
        found.append(whole)
    return found


def _shared(one: Box, other: Box) -> int:
    return Box(
        max(one.left, other.left),
        max(one.top, other.top),
        min(one.right, other.right),
        min(one.bottom, other.bottom),
    ).area


def _grown(box: Box, by: int = 0) -> Box:
    """Return a box with a margin; without a given one it follows the height of the letters."""
    by = by or max(
        _LEAST_MARGIN_PX, round(_MARGIN * min(box.right - box.left, box.bottom - box.top))
    )
    return Box(box.left - by, box.top - by, box.right + by, box.bottom + by)


def _paint(raster: Raster, boxes: Sequence[Box]) -> None:
    for box in boxes:
        raster[box.top : box.bottom, box.left : box.right] = 0


def _stays(word: Word, black: Sequence[Box], raster: Raster) -> bool:
    """Say whether a word is seen on the page and lies outside of what was painted over."""
    place, box = word.place, word.box
    if not place.area or any(_shared(place, other) > _SOME * place.area for other in black):
        return False
    seen = raster[box.top : box.bottom, box.left : box.right]
    return not _is_flat(seen)


def _is_flat(raster: Raster) -> bool:
    return bool((raster == raster[0, 0]).all())


def _left_out(document: pdfium.PdfDocument) -> set[str]:
    """Name what a document carries beside its pages; nothing of it goes on."""
    found = set()
    if raw.FPDFDoc_GetAttachmentCount(document) > 0:
        found.add("attachment")
    if raw.FPDFDoc_GetJavaScriptActionCount(document) > 0:
        found.add("script")
    if document.get_formtype():
        found.add("form")
    if any(document.get_metadata_dict(skip_empty=True)):
        found.add("metadata")
    return found


def _check(data: bytes, finder: Finder) -> None:
    """Read the new document as anybody would, and search it.

    Raises:
        Doubt: something identifying is in it.
    """
    document = pdfium.PdfDocument(data)
    try:
        for page in _pages(document):
            measures = measures_of(page)
            columns, rows = (round(s * measures.scale) for s in page.get_size())
            text = text_of(page, (columns, rows))
            if identifying(finder, text.orders):
                raise Doubt(Why.RESIDUE)
    finally:
        document.close()
