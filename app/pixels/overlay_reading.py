"""Which overlays show text that identifies or cannot be read: the bits of groups 6000 to 601E.

The child's side of the kind ``overlays``. What was read stays in this process.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.dicom.source import FileSource
from app.pixels.matching import Matcher
from app.pixels.matching_model import Known
from app.pixels.reading import matched
from app.pixels.reading_engine import engine
from app.pixels.reading_lines import read_lines
from app.pixels.reading_views import coloured

Image = NDArray[np.uint8]
DEFAULT_BUDGET_S: Final = 30.0
# No device has a larger one; what says that it is, lies.
_MOST_PIXELS: Final = 64 << 20


def overlays(task: Mapping[str, Any], fds: list[int]) -> dict[str, Any]:
    """Read all frames of overlays: the child's side of the kind ``overlays``.

    Args:
        task: ``overlays``, for each ``group``, ``rows``, ``columns``, ``frames`` and the
            ``offset`` and ``size`` of its bits; ``identifiers`` as for ``examine``; ``budget_s``.
        fds: the file in which the offsets count.

    Returns:
        ``clean``: groups in which nothing was found; ``found``: for each other group the kinds
        of its text, none where it could not be read in time or is not what it says.
    """
    deadline = time.monotonic() + float(task.get("budget_s", DEFAULT_BUDGET_S))
    matcher = Matcher(Known.from_json(one) for one in task.get("identifiers", ()))
    clean, found = [], {}
    for overlay in task["overlays"]:
        kinds = _kinds(overlay, FileSource(fds[0]), matcher, lambda: time.monotonic() > deadline)
        if kinds == set():
            clean.append(int(overlay["group"]))
        else:
            found[str(overlay["group"])] = sorted(kinds or ())
    engine().forget()
    return {"clean": clean, "found": found}


def _kinds(
    overlay: Mapping[str, Any], source: FileSource, matcher: Matcher, is_over: Callable[[], bool]
) -> set[str] | None:
    """Return the kinds of text in an overlay; None where that cannot be said."""
    rows, columns, frames = (int(overlay[name]) for name in ("rows", "columns", "frames"))
    bits = rows * columns
    if not 0 < bits <= _MOST_PIXELS or int(overlay["size"]) * 8 < bits * frames:
        return None
    kinds: set[str] = set()
    known: set[bytes] = set()
    for image in _images(overlay, source, (rows, columns), frames):
        key = np.packbits(image).tobytes() if len(known) < _MAX_KNOWN else b""
        if key in known:
            continue
        known.add(key)
        lines = read_lines(engine(), _views(image), is_over=is_over)
        if lines is None:
            return None
        kinds |= {one.match.kind for one in matched(lines, matcher, 0, 0)}
    return kinds


_MAX_KNOWN = 64


def _images(
    overlay: Mapping[str, Any], source: FileSource, shape: tuple[int, int], frames: int
) -> Iterator[Image]:
    """Yield frames as white on black; they follow each other without padding.

    Source: PS3.5 2026d, 8.1.2.
    """
    bits = shape[0] * shape[1]
    for number in range(frames):
        first, last = number * bits // 8, -(-(number + 1) * bits // 8)
        data = source.read(int(overlay["offset"]) + first, last - first)
        unpacked = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        begin = number * bits % 8
        yield unpacked[begin : begin + bits].reshape(shape) * np.uint8(255)


def _views(image: Image) -> list[Image]:
    """Return an overlay as it is and with softer edges, which hold dotted letters together."""
    return [coloured(image), coloured(np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8))]
