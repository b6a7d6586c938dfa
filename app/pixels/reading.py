"""Reading every frame of a picture: which boxes hold text that identifies or cannot be read.

The child's side of the kind ``examine``. Its answer holds kinds of text, boxes and confidences;
what was read stays in this process and ends with the task.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.dicom.source import FileSource
from app.pixels.codecs import Frame
from app.pixels.matching import Matcher
from app.pixels.matching_model import DOUBTFUL, FREE_TEXT, KINDS, Known, Match, Reading
from app.pixels.model import Box, Mark, Picture, Rung
from app.pixels.reading_changes import Last, standing, touch, unmasked
from app.pixels.reading_engine import Image, Line, engine
from app.pixels.reading_growth import Found, is_sliver, whole
from app.pixels.reading_lines import bounds, overlap, read_lines, widened
from app.pixels.reading_structure import rows
from app.pixels.reading_views import views
from app.pixels.rendering import covers, filled, first_bit, read_frame
from app.pixels.wire import picture_from_json

Pieces = Sequence[Sequence[int]]
DEFAULT_BUDGET_S: Final = 60.0
_MAX_FINDINGS = 2000
# A part that is nearly everything is read as everything.
_WHOLE = 0.85
_SAME = 0.5
_MAX_FRAGMENT = 64
_LEAST_SCORE = 0.8
_AT_MASK = 6
_PROBE = "PROBE"
# What may be the piece of a line that another look read as a whole, and what makes it one.
_VAGUE = frozenset({FREE_TEXT, DOUBTFUL})
# What may have stood between two halves of a line.
_BETWEEN, _CLOSE = (" ", ".", ""), 0.6
_CLEAR, _INSIDE, _AS_HIGH = 0.9, 0.85, 1.8
# Rows of shapes: how sure they are text, and how much of one a line explains.
_BY_SHAPE, _EXPLAINED = 0.6, 0.4


@dataclass(slots=True)
class Tally:
    """What was found in all frames so far."""

    frames: list[tuple[Found, ...]] = field(default_factory=list)
    lines: int = 0
    is_complete: bool = True


def probe(_task: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
    """Read a word that is drawn here, so that it shows whether reading works at all."""
    image = np.zeros((64, 256, 3), np.uint8)
    cv2.putText(image, _PROBE, (16, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    lines = read_lines(engine(), [image], is_over=lambda: False) or []
    engine().forget()
    return {"is_working": any(_PROBE in line.text.upper() for line in lines)}


def examine(task: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Read all frames: the child's side of the kind ``examine``.

    Args:
        task: picture, frames and marks as for masking; ``identifiers`` as ``Known.to_json`` gives
            them; ``budget_s``.
        fds: the source.

    Returns:
        ``findings`` as marks, ``is_complete``, ``frames_read``, ``lines``, ``doubtful`` and
        ``seconds``. It is complete where every frame was read within the time.
    """
    began = time.monotonic()
    deadline = began + float(task.get("budget_s", DEFAULT_BUDGET_S))
    look = _Look(
        picture=picture_from_json(task["picture"]),
        marks=tuple(Mark.from_json(mark) for mark in task.get("marks", ())),
        matcher=Matcher(Known.from_json(one) for one in task.get("identifiers", ())),
        is_over=lambda: time.monotonic() > deadline,
    )
    try:
        tally = _all_frames(look, fds[0], task["frames"])
    finally:
        engine().forget()
    findings = merged(tally.frames, len(task["frames"]), look.picture)
    return {
        "findings": [asdict(mark) for mark in findings],
        "is_complete": tally.is_complete,
        "frames_read": len(tally.frames),
        "lines": tally.lines,
        "doubtful": sum(mark.rule == DOUBTFUL for mark in findings),
        "seconds": round(time.monotonic() - began, 3),
    }


@dataclass(frozen=True, slots=True, repr=False)
class _Look:
    """What does not change from frame to frame."""

    picture: Picture
    marks: tuple[Mark, ...]
    matcher: Matcher
    is_over: Callable[[], bool]

    def boxes(self, number: int) -> list[Box]:
        """Return what is masked in a frame."""
        return [mark.box for mark in self.marks if covers(mark, number)]

    def is_rest(self, found: Found, part: Box, number: int) -> bool:
        """Say whether something vague is no more than the edge of what is masked.

        What an earlier reading had masked, it saw whole, and had no doubt beside it.
        """
        if found.match.kind not in _VAGUE:
            return False
        box = _moved(found, part).box
        if is_sliver(box, self.boxes(number)):
            return True
        near = Box(
            box.left - _AT_MASK, box.top - _AT_MASK, box.right + _AT_MASK, box.bottom + _AT_MASK
        )
        earlier = (m.box for m in self.marks if m.rung is Rung.OCR and covers(m, number))
        return found.match.kind == DOUBTFUL and any(touch(near, mark) for mark in earlier)


def _all_frames(look: _Look, fd: int, frames: Sequence[Pieces]) -> Tally:
    tally, last = Tally(), Last()
    known: dict[bytes, tuple[Found, ...]] = {}
    for number, pieces in enumerate(frames):
        key = _key(look, fd, pieces, number)
        if key not in known:
            found = None if look.is_over() else _one_frame(look, fd, pieces, number, last, tally)
            if found is None:
                tally.is_complete = False
                break
            known[key] = found
        tally.frames.append(known[key])
    return tally


def _key(look: _Look, fd: int, pieces: Pieces, number: int) -> bytes:
    """Tell frames that are the same to whoever looks at them, without decoding them."""
    source = FileSource(fd)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((first_bit(look.picture, number), look.boxes(number))).encode())
    for offset, size in pieces:
        digest.update(source.read(offset, size))
    return digest.digest()


def _one_frame(
    look: _Look, fd: int, pieces: Pieces, number: int, last: Last, tally: Tally
) -> tuple[Found, ...] | None:
    """Read what changed since the frame that was read last; None where the time was up."""
    frame = read_frame(fd, pieces, look.picture, number)
    boxes = look.boxes(number)
    part = last.changed(frame, boxes)
    found = last.found
    if part.area:
        images = [filled(view, boxes) for view in views(frame, look.picture)]
        least_edge = min(images[0].shape[:2])
        if part.area < _WHOLE * images[0].shape[0] * images[0].shape[1]:
            images = [image[part.top : part.bottom, part.left : part.right] for image in images]
        else:
            part = Box(0, 0, images[0].shape[1], images[0].shape[0])
        lines = read_lines(engine(), images, is_over=look.is_over, least_edge=least_edge)
        if lines is None:
            return None
        tally.lines += sum(bool(line.text.strip()) for line in lines)
        lines += _cut_off(images[0], lines, look.matcher)
        said = matched(lines, look.matcher, part.left, part.top, boxes)
        said += _unread(unmasked(frame, boxes), frame, part, lines)
        said = [one for one in said if not look.is_rest(one, part, number)]
        fresh = [_moved(one, part) for one in whole(said, lines, images)]
        found = (*standing(last.found, part, fresh), *fresh)
        last.lines = _lines_of(last.lines, part, lines)
    last.keep(frame, boxes, found)
    return found


def _lines_of(before: Sequence[Box], part: Box, lines: Sequence[Line]) -> tuple[Box, ...]:
    """Return where lines are in a frame of which a part was read anew."""
    fresh = [_shifted(bounds(line), part) for line in lines if line.size[1] <= _MAX_FRAGMENT]
    return (*(box for box in before if not touch(box, part)), *fresh)


def _cut_off(image: Image, lines: Sequence[Line], matcher: Matcher) -> list[Line]:
    """Return harmless lines that turn out to be a part of something that identifies."""
    harmless = [
        line
        for line in lines
        if line.text.strip() and line.size[1] <= _MAX_FRAGMENT and _match(line, matcher) is None
    ]
    known = [(bounds(line), line) for line in lines if line.size[1] <= _MAX_FRAGMENT]
    longer = []
    for short, line in zip(harmless, widened(engine(), image, harmless), strict=True):
        match = _match(line, matcher)
        if match is None or match.kind == DOUBTFUL or line.score < _LEAST_SCORE:
            continue
        if not any(touch(bounds(line), box) for box, other in known if other is not short):
            longer.append(line)
    return longer


def matched(
    lines: Sequence[Line], matcher: Matcher, left: int, top: int, masked: Sequence[Box] = ()
) -> list[Found]:
    """Return the lines that must not be seen.

    Args:
        lines: of a part of a frame.
        matcher: of the instance.
        left: where the part begins.
        top: where the part begins.
        masked: boxes of the frame that were black before it was read; they cut off words.
    """
    boxes = [bounds(line) for line in lines]
    matches = [
        _match(line, matcher, is_cut=_is_at_mask(box, left, top, masked))
        for line, box in zip(lines, boxes, strict=True)
    ]
    matches = _together(lines, boxes, matches, matcher)
    known = [
        (line, box)
        for line, box, match in zip(lines, boxes, matches, strict=True)
        if match is None and line.score >= _CLEAR
    ]
    return [
        Found(box, match)
        for line, box, match in zip(lines, boxes, matches, strict=True)
        if match is not None
        and not (match.kind in _VAGUE and any(_is_piece(line, box, *one) for one in known))
    ]


def _together(
    lines: Sequence[Line],
    boxes: Sequence[Box],
    matches: Sequence[Match | None],
    matcher: Matcher,
) -> list[Match | None]:
    """Return matches of lines that say nothing alone, but something with the one that follows."""
    done = list(matches)
    alone = [n for n, line in enumerate(lines) if matches[n] is None and line.text.strip()]
    for first, second in permutations(alone, 2):
        if not _follows(boxes[first], boxes[second]):
            continue
        for between in _BETWEEN:
            one, other = lines[first], lines[second]
            text = f"{one.text}{between}{other.text}"
            match = _match(replace(one, text=text, variants=(), mirrored=None), matcher)
            if match is not None and match.kind in KINDS:
                done[first] = done[second] = match
    return done


def _follows(one: Box, other: Box) -> bool:
    """Say whether a line begins where another ends: the finder took one for two."""
    height = min(one.bottom - one.top, other.bottom - other.top)
    common = min(one.bottom, other.bottom) - max(one.top, other.top)
    return common > height / 2 and abs(other.left - one.right) < _CLOSE * height


def _is_piece(line: Line, box: Box, other: Line, around: Box) -> bool:
    """Say whether a line is a piece of one that was found and read as a whole."""
    if (len(line.text), line.score) > (len(other.text), other.score):
        return False
    high, low = sorted((around.bottom - around.top, box.bottom - box.top), reverse=True)
    width = min(box.right, around.right) - max(box.left, around.left)
    height = min(box.bottom, around.bottom) - max(box.top, around.top)
    is_inside = min(width, height) > 0 and width * height >= _INSIDE * box.area
    return is_inside and high <= _AS_HIGH * low


def _moved(found: Found, part: Box) -> Found:
    """Return what was found in a part of a frame as it lies in the frame."""
    return replace(found, box=_shifted(found.box, part))


def _shifted(box: Box, part: Box) -> Box:
    across, down = part.left, part.top
    return Box(box.left + across, box.top + down, box.right + across, box.bottom + down)


def _unread(values: NDArray[Any], frame: Frame, part: Box, lines: Sequence[Line]) -> list[Found]:
    """Return rows of letter-like shapes where the recogniser found no line."""
    if frame.is_subsampled:
        return []
    read = [bounds(line) for line in lines]
    return [
        Found(row, Match(DOUBTFUL, _BY_SHAPE))
        for row in rows(values[part.top : part.bottom, part.left : part.right])
        if not any(_covers(box, row) for box in read)
    ]


def _covers(box: Box, row: Box) -> bool:
    width = min(box.right, row.right) - max(box.left, row.left)
    height = min(box.bottom, row.bottom) - max(box.top, row.top)
    return min(width, height) > 0 and width * height > _EXPLAINED * row.area


def _is_at_mask(box: Box, left: int, top: int, masked: Sequence[Box]) -> bool:
    near = Box(
        box.left + left - _AT_MASK,
        box.top + top,
        box.right + left + _AT_MASK,
        box.bottom + top,
    )
    return any(touch(near, other) for other in masked)


def _match(line: Line, matcher: Matcher, *, is_cut: bool = False) -> Match | None:
    """Return what a line is; where it may say several things, the first that identifies."""
    along, across = line.size
    if line.mirrored is not None:
        plain = _match(replace(line, mirrored=None), matcher, is_cut=is_cut)
        text, score = line.mirrored
        turned = replace(line, text=text, score=score, variants=(), mirrored=None)
        return plain or _match(turned, matcher)
    readings = [(line.text, line.score), *line.variants]
    matches = [
        matcher.match(Reading(text, score, line.found, along, across, is_cut))
        for text, score in readings
    ]
    if matches[0] is not None and matches[0].kind != DOUBTFUL:
        return matches[0]
    named = [m for m in matches if m is not None and m.kind in KINDS]
    return named[0] if named else matches[0]


def merged(frames: Sequence[tuple[Found, ...]], count: int, picture: Picture) -> list[Mark]:
    """Return findings as marks: one for a line that stands in frames that follow each other."""
    done: list[Mark] = []
    running: list[Mark] = []
    for number, found in enumerate(frames):
        still: list[Mark] = []
        for one in found:
            before = next((m for m in running if _goes_on(m, one)), None)
            if before is not None:
                running.remove(before)
            still.append(_extended(before, one, number, picture))
        done += running
        running = still
    done += running
    if len(done) > _MAX_FINDINGS:
        done = _everywhere(done)
    if len(frames) == count:
        done = [replace(m, frames=None) if m.frames == (0, count - 1) else m for m in done]
    return sorted(done, key=lambda mark: (mark.frames or (0, 0), mark.box))


def _goes_on(mark: Mark, found: Found) -> bool:
    return mark.rule == found.match.kind and overlap(mark.box, found.box) > _SAME


def _extended(before: Mark | None, found: Found, number: int, picture: Picture) -> Mark:
    box = found.box.clipped(picture.columns, picture.rows)
    confidence = found.match.confidence
    first = number
    if before is not None and before.frames is not None:
        old, first = before.box, before.frames[0]
        box = Box(
            min(old.left, box.left),
            min(old.top, box.top),
            max(old.right, box.right),
            max(old.bottom, box.bottom),
        )
        confidence = max(confidence, before.confidence or 0.0)
    return Mark(box, Rung.OCR, found.match.kind, confidence, (first, number))


def _everywhere(marks: Sequence[Mark]) -> list[Mark]:
    """Return fewer marks, of all frames, that cover all that the given ones cover."""
    kept: dict[Box, Mark] = {}
    for mark in marks:
        coarse = Box(
            mark.box.left // 32 * 32,
            mark.box.top // 32 * 32,
            -(-mark.box.right // 32) * 32,
            -(-mark.box.bottom // 32) * 32,
        )
        kept.setdefault(coarse, replace(mark, box=coarse, frames=None))
    return list(kept.values())
