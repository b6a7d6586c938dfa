"""What child processes are asked about one object's pixels, and how far their answers are believed.

They read and write frames and overlays. What is asked for, and what follows, is decided elsewhere.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from app.errors import InvalidRequest, PixelWorkFailed
from app.pipeline.pixel_files import KeptFile, lent
from app.pipeline.results import Context
from app.pipeline.side_work import Masked, PixelParts, Request
from app.pixels.ladder import Examination
from app.pixels.model import Decision, Mark, Picture
from app.pixels.wire import picture_to_json

# A reader stops by itself before it is stopped.
_BUDGET_SHARE: Final = 0.8
# So many pixels have the time of one object; what has more has more time, up to a bound.
_PIXELS_IN_TIME: Final = 3_000_000
_LONGEST: Final = 10
# What frames can mean after they were encoded anew; nothing where that is what they meant.
_PHOTOMETRICS: Final = frozenset({"", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})


class PixelTasks:
    """The tasks about one object's pixels.

    Args:
        request: what the instance needs.
        parts: its child processes.
        fd: from which they read the object.
    """

    def __init__(self, request: Request, parts: PixelParts, fd: int) -> None:
        self._request = request
        self._parts = parts
        self._fd = fd
        self._allowed_s = _allowed_s(request.picture, parts)

    async def examined(self, marks: Sequence[Mark]) -> Examination | None:
        """Read the image with its marks black; None where it could not be read."""
        readers = self._parts.readers
        if readers is None or self._request.frames is None:
            return None
        task = self._task("examine", marks) | {
            "identifiers": self._identifiers(),
            "budget_s": self._allowed_s * _BUDGET_SHARE,
        }
        try:
            answer = await readers.ask(task, [self._fd], self._allowed_s)
            return Examination.from_json(answer)
        except (PixelWorkFailed, KeyError, TypeError, ValueError):
            return None

    async def masked(self, marks: Sequence[Mark], lossy: str, size: int) -> Masked:
        """Return frames with the marks overwritten.

        Args:
            marks: none where only what stands beside the values of pixels goes.
            lossy: what the profile says of frames that were encoded with loss.
            size: of the object.

        Raises:
            PixelWorkFailed: they could not be written.
        """
        if self._request.frames is None:
            raise PixelWorkFailed("frames-not-found")
        task = self._task("mask", marks) | {"lossy": lossy}
        written = KeptFile(await asyncio.to_thread(self._parts.scratch, size), 0)
        answer = await self._parts.workers.ask(task, [self._fd, written.fd], self._allowed_s)
        return _read_masked(answer, written, len(self._request.frames))

    async def clean_overlays(self) -> frozenset[int]:
        """Return the groups of overlays in which nothing identifying was read."""
        readers, asked = self._parts.readers, self._request.overlays
        if readers is None or not asked:
            return frozenset()
        task = {
            "kind": "overlays",
            "overlays": [
                {
                    "group": one.group,
                    "rows": one.rows,
                    "columns": one.columns,
                    "frames": one.frames,
                    "offset": one.start,
                    "size": one.stop - one.start,
                }
                for one in asked
            ],
            "identifiers": self._identifiers(),
            "budget_s": self._allowed_s * _BUDGET_SHARE,
        }
        try:
            answer = await readers.ask(task, [self._fd], self._allowed_s)
            return frozenset(map(int, answer["clean"])) & {one.group for one in asked}
        except (PixelWorkFailed, KeyError, TypeError, ValueError):
            return frozenset()

    def _task(self, kind: str, marks: Sequence[Mark]) -> dict[str, Any]:
        picture = self._request.picture
        assert picture is not None  # noqa: S101 - asked by the caller
        return {
            "kind": kind,
            "picture": picture_to_json(picture),
            "frames": [list(map(list, pieces)) for pieces in self._request.frames or ()],
            "marks": [asdict(mark) for mark in marks],
        }

    def _identifiers(self) -> list[dict[str, str]]:
        return [{"kind": str(one.kind), "text": one.text} for one in self._request.identifiers]


async def drawn(
    request: Request, context: Context, decision: Decision, *, frame: int, style: str, max_edge: int
) -> bytes:
    """Return one frame as PNG, with the marks of a decision.

    Args:
        request: the image.
        context: its child processes.
        decision: whose marks are drawn.
        frame: from 0.
        style: ``outline`` or ``fill``.
        max_edge: most pixels of the longer side.

    Raises:
        PixelWorkFailed: it cannot be drawn.
    """
    parts, picture = context.pixels, request.picture
    if parts is None or picture is None or request.frames is None:
        raise PixelWorkFailed("frames-not-found")
    if not 0 <= frame < len(request.frames):
        raise InvalidRequest("There is no such frame")
    shown = KeptFile(parts.scratch(0), 0)
    marks = tuple(mark for mark in decision.marks if _is_on(mark, frame))
    task = {
        "kind": "render",
        "picture": picture_to_json(picture),
        "frames": [list(map(list, pieces)) for pieces in request.frames],
        "marks": [asdict(mark) for mark in marks],
        "frame": frame,
        "style": style,
        "max_edge": max_edge,
    }
    async with lent(request.source, parts) as fd:
        await parts.workers.ask(task, [fd, shown.fd], _allowed_s(picture, parts))
    return os.pread(shown.fd, os.fstat(shown.fd).st_size, 0)


def _allowed_s(picture: Picture | None, parts: PixelParts) -> float:
    """Return how long a child may work on an image: large and long ones take their time."""
    pixels = picture.rows * picture.columns * picture.frames if picture else 0
    return parts.timeout_s * min(max(pixels / _PIXELS_IN_TIME, 1), _LONGEST)


def _is_on(mark: Mark, frame: int) -> bool:
    return mark.frames is None or mark.frames[0] <= frame <= mark.frames[1]


def _read_masked(answer: dict[str, Any], written: KeptFile, frames: int) -> Masked:
    """Read what a child says that it wrote; a hostile image may have taken it over.

    Raises:
        PixelWorkFailed: it contradicts itself, or what it was asked.
    """
    try:
        lengths = tuple(map(int, answer["lengths"]))
        used = answer.get("used_entries")
        entries = None if used is None else tuple((int(first), int(last)) for first, last in used)
        photometric = str(answer.get("photometric") or "")
        is_lossy = bool(answer["is_lossy_again"])
    except (KeyError, TypeError, ValueError):
        raise PixelWorkFailed("contradictory-answer") from None
    size = os.fstat(written.fd).st_size
    if len(lengths) != frames or min(lengths, default=0) < 0 or sum(lengths) != size:
        raise PixelWorkFailed("contradictory-answer")
    if answer.get("changed_outside") != 0 or photometric not in _PHOTOMETRICS:
        raise PixelWorkFailed("contradictory-answer")
    written.size = size
    return Masked(written, lengths, is_lossy, photometric, entries)
