"""A new PDF from page images and words: nothing in it was copied from another PDF.

Source: ISO 32000-1, 7.5 (structure), 8.9 (images), 9.3.6 (text rendering mode 3: invisible),
9.7 (composite fonts).
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from app.pixels.documents import MAX_CLEANED_BYTES, Doubt, Why
from app.pixels.documents.pdf_pages import Measures, Raster, Word

_LEVEL = 6
_RGB = 3
# Rows as differences to the row above. Source: ISO 32000-1, 7.4.4.4; ISO/IEC 15948, 9.2.
_UP = 2
# Two fonts without glyphs of their own: text that nobody sees needs none.
# All their letters are half as wide as high, or as wide as high.
_DESCRIPTOR = (
    b"<< /Type /FontDescriptor /FontName /Unseen /Flags 4 /ItalicAngle 0 "
    b"/FontBBox [0 -200 1000 800] /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>"
)
_LATIN: Final = (
    b"<< /Type /Font /Subtype /TrueType /BaseFont /Unseen /Encoding /WinAnsiEncoding "
    b"/FirstChar 32 /LastChar 255 /Widths [%s] /FontDescriptor %s >>"
    % (b" ".join([b"500"] * 224), _DESCRIPTOR.replace(b"/Flags 4", b"/Flags 32"))
)
_WIDE: Final = (
    b"<< /Type /Font /Subtype /Type0 /BaseFont /Unseen /Encoding /Identity-H "
    b"/DescendantFonts [5 0 R] /ToUnicode 6 0 R >>"
)
_WIDE_GLYPHS: Final = (
    b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Unseen /DW 1000 /CIDToGIDMap /Identity "
    b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
    b"/FontDescriptor %s >>" % _DESCRIPTOR
)
_TO_UNICODE: Final = (
    b"/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
    b"/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
    b"/CMapName /Identity-UCS def\n/CMapType 2 def\n"
    b"1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
    b"1 beginbfrange\n<0000> <FFFF> <0000>\nendbfrange\n"
    b"endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
)
_FIRST_PAGE = 7


class PdfWriter:
    """Collects pages, then gives the document; the same pages give the same bytes."""

    def __init__(self) -> None:
        self._out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        self._places: dict[int, int] = {}
        self._pages: list[int] = []

    def add(self, raster: Raster, measures: Measures, words: Iterable[Word]) -> None:
        """Append a page.

        Raises:
            Doubt: the document grows too large.
        """
        page = _FIRST_PAGE + 3 * len(self._pages)
        self._pages.append(page)
        width, height = f"{measures.width:.2f}".encode(), f"{measures.height:.2f}".encode()
        self._object(
            page,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %s %s] /Contents %d 0 R /Resources "
            b"<< /XObject << /Im %d 0 R >> /Font << /L 3 0 R /W 4 0 R >> >> >>"
            % (width, height, page + 1, page + 2),
        )
        drawing = b"q %s 0 0 %s 0 0 cm /Im Do Q\n" % (width, height)
        self._stream(page + 1, b"", drawing + _invisible(words, measures))
        self._image(page + 2, raster)
        if len(self._out) > MAX_CLEANED_BYTES:
            raise Doubt(Why.TOO_LARGE)

    def document(self) -> bytes:
        """Return the whole document; its length is even."""
        kids = b" ".join(b"%d 0 R" % page for page in self._pages)
        self._object(1, b"<< /Type /Catalog /Pages 2 0 R >>")
        self._object(2, b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(self._pages)))
        self._object(3, _LATIN)
        self._object(4, _WIDE)
        self._object(5, _WIDE_GLYPHS)
        self._stream(6, b"", _TO_UNICODE)
        start, count = len(self._out), len(self._places) + 1
        self._out += b"xref\n0 %d\n0000000000 65535 f \n" % count
        for number in range(1, count):
            self._out += b"%010d 00000 n \n" % self._places[number]
        self._out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
            count,
            start,
        )
        self._out += b"\n" * (len(self._out) % 2)
        return bytes(self._out)

    def _object(self, number: int, content: bytes) -> None:
        self._places[number] = len(self._out)
        self._out += b"%d 0 obj\n%s\nendobj\n" % (number, content)

    def _stream(self, number: int, entries: bytes, data: bytes) -> None:
        head = b"<< %s/Length %d >>\nstream\n" % (entries, len(data))
        self._object(number, head + data + b"\nendstream")

    def _image(self, number: int, raster: Raster) -> None:
        """Write an image without loss; a grey page takes a third."""
        samples, space = _samples(raster)
        rows, columns = raster.shape[:2]
        before = np.zeros_like(samples)
        before[1:] = samples[:-1]
        filtered = np.full((rows, samples.shape[1] + 1), _UP, dtype=np.uint8)
        filtered[:, 1:] = samples - before
        colours = samples.shape[1] // columns
        entries = (
            b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /%s "
            b"/BitsPerComponent 8 /Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors %d "
            b"/Columns %d >> " % (columns, rows, space, colours, columns)
        )
        self._stream(number, entries, zlib.compress(filtered.tobytes(), _LEVEL))


def _samples(raster: Raster) -> tuple[Raster, bytes]:
    """Return (rows, columns * colours) and the name of the colour space."""
    rows, columns = raster.shape[:2]
    red = raster[:, :, 0]
    if np.array_equal(red, raster[:, :, 1]) and np.array_equal(red, raster[:, :, 2]):
        return np.ascontiguousarray(red), b"DeviceGray"
    return raster.reshape(rows, columns * _RGB), b"DeviceRGB"


def _invisible(words: Iterable[Word], measures: Measures) -> bytes:
    """Return the drawing of words that nobody sees and a search finds."""
    parts = [b"BT 3 Tr\n"]
    for word in words:
        parts += _shown(word, measures)
    return b"".join([*parts, b"ET"])


def _shown(word: Word, measures: Measures) -> Sequence[bytes]:
    box, scale = word.place, measures.scale
    height = (box.bottom - box.top) / scale
    width = (box.right - box.left) / scale
    latin = _latin(word.text)
    units = max(len(word.text), 1) * height * (0.5 if latin is not None else 1.0)
    stretch = 100 * width / units if units else 100.0
    x, y = box.left / scale, measures.height - box.bottom / scale + 0.2 * height
    font = b"/L" if latin is not None else b"/W"
    text = latin if latin is not None else word.text.encode("utf-16-be", "ignore")
    return (
        b"%s %.2f Tf %.1f Tz 1 0 0 1 %.2f %.2f Tm " % (font, height, stretch, x, y),
        b"(%s) Tj\n" % _escaped(text + (b" " if latin is not None else b"\0 ")),
    )


def _latin(text: str) -> bytes | None:
    try:
        return text.encode("cp1252")
    except UnicodeEncodeError:
        return None


def _escaped(text: bytes) -> bytes:
    """Return a literal string's content. Source: ISO 32000-1, 7.3.4.2."""
    text = text.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return text.replace(b"\r", b"\\r").replace(b"\n", b"\\n")
