"""Reads the pages of a document as images are read, and judges each line.

Text that is read stays in this process.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import numpy as np

from app.deid.rules.identifiers import Identifier
from app.pixels.documents import Doubt, Why
from app.pixels.documents.finding import Finder, identifying, letters
from app.pixels.documents.pdf import Line, Reader
from app.pixels.documents.pdf_pages import Raster
from app.pixels.matching import Matcher
from app.pixels.matching_model import Known, Reading

if TYPE_CHECKING:
    from app.pixels.reading_engine import Line as Seen

# A page with more of it than this is no sheet of paper with text: faint letters are looked for too.
_PAINTED: Final = 0.15
_WHITE: Final = 250
_LOCAL_CONTRAST, _GRID = 3.0, (8, 8)
# Steps so small that a reader does not see them; how wide letters may be; how many are a letter.
_FAINT, _GROUND_PX, _FAINT_PIXELS, _AMPLIFIED = 24, 31, 40, 20


def reader_for(
    identifiers: Iterable[Identifier], finder: Finder, is_over: Callable[[], bool]
) -> Reader | None:
    """Return a reader of pages; None where nothing here can read images.

    Args:
        identifiers: the instance's values.
        finder: made for the same values.
        is_over: whether the time is up.
    """
    if find_spec("rapidocr") is None:
        return None
    judge = _Judge([Known.from_json({"kind": i.kind, "text": i.text}) for i in identifiers], finder)

    def read(raster: Raster) -> Sequence[Line]:
        return [judge.line(seen) for seen in _seen(raster, is_over)]

    return read


def _seen(raster: Raster, is_over: Callable[[], bool]) -> list["Seen"]:
    """Return every line of text on a page.

    Raises:
        Doubt: the time was up before.
    """
    # Imported here: the models take a second to load.
    from app.pixels.reading_engine import engine  # noqa: PLC0415
    from app.pixels.reading_lines import read_lines  # noqa: PLC0415

    lines = read_lines(engine(), _views(raster), is_over=is_over)
    if lines is None:
        raise Doubt(Why.TOO_SLOW)
    return lines


def _views(raster: Raster) -> list[Raster]:
    """Return a page as it is, and where it shows more than text, with local contrast too.

    What is hardly seen, such as white on nearly white, is shown in a view of its own.
    """
    import cv2  # noqa: PLC0415

    views = [raster]
    if (raster < _WHITE).any(axis=2).mean() >= _PAINTED:
        contrast = cv2.createCLAHE(_LOCAL_CONTRAST, _GRID)
        local = [contrast.apply(np.ascontiguousarray(raster[:, :, c])) for c in range(3)]
        views.append(np.stack(local, axis=-1))
    ground = cv2.medianBlur(raster, _GROUND_PX)
    steps = raster.astype(np.int16) - ground
    apart = np.abs(steps).max(axis=2)
    beside = cv2.dilate((apart > _FAINT).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if np.count_nonzero((apart > 0) & ~beside) >= _FAINT_PIXELS:
        steps[beside] = 0
        views.append(np.clip(255 - np.abs(steps) * _AMPLIFIED, 0, 255).astype(np.uint8))
    return views


class _Judge(Matcher):
    """Says of each line whether it names a value of the instance, and whether it is harmless."""

    def __init__(self, known: Iterable[Known], finder: Finder) -> None:
        super().__init__(known)
        self._finder = finder

    def line(self, seen: "Seen") -> Line:
        """Judge one line; of several readings each counts."""
        from app.pixels.reading_lines import bounds  # noqa: PLC0415

        width, height = seen.size
        best = [(seen.text, seen.score), *([seen.mirrored] if seen.mirrored else [])]
        texts = [text for text, _ in (*best, *seen.variants)]
        readings = [Reading(text, score, seen.found, width, height) for text, score in best]
        return Line(
            box=bounds(seen),
            text=seen.text,
            is_identifying=any(map(self._names_somebody, texts)),
            is_harmless=not any(map(self.match, readings)),
        )

    def _names_somebody(self, text: str) -> bool:
        if self._named(text) is not None:
            return True
        return bool(identifying(self._finder, [letters((c, 0) for c in text)]))
