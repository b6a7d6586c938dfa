"""What a browser sends about masks, read strictly. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from app.errors import InvalidRequest
from app.pixels.model import Box, Mark, Rung
from app.quarantine.review import MAX_MARKS

_SIDES: Final = ("left", "top", "right", "bottom")


def within(marks: Iterable[Mark], shape: Mapping[str, Any]) -> tuple[Mark, ...]:
    """Return marks as far as they lie in the image, each once."""
    columns, rows = shape["columns"], shape["rows"]
    clipped = [replace(mark, box=mark.box.clipped(columns, rows)) for mark in marks]
    places = {(mark.box, mark.frames): mark for mark in clipped if mark.box.area}
    return tuple(places.values())


def marks_of(text: str, shape: Mapping[str, Any], proposed: Sequence[Mark]) -> tuple[Mark, ...]:
    """Read the masks of a form.

    A mask that was proposed just so keeps who proposed it; every other one is the person's.

    Args:
        text: a JSON list of ``{"box": {left, top, right, bottom}, "frames": null or [from, to]}``.
        shape: of the image: its ``columns``, ``rows`` and ``frames``.
        proposed: what the ladder proposed.

    Raises:
        InvalidRequest: it is not such a list, or a mask lies outside of the image.
    """
    known = {(mark.box, mark.frames): mark for mark in within(proposed, shape)}
    try:
        places = [(_box(one["box"], shape), _frames(one["frames"], shape)) for one in _list(text)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidRequest(
            f"The masks are malformed, lie outside of the image or are more than {MAX_MARKS}"
        ) from None
    unique = dict.fromkeys(places)
    return tuple(
        known.get(place) or Mark(place[0], Rung.REVIEW, frames=place[1]) for place in unique
    )


def _list(text: str) -> list[Any]:
    content = json.loads(text)
    if not isinstance(content, list) or len(content) > MAX_MARKS:
        raise ValueError
    return content


def _box(content: Mapping[str, Any], shape: Mapping[str, Any]) -> Box:
    sides = [_whole(content[side]) for side in _SIDES]
    box = Box(*sides)
    if box.clipped(shape["columns"], shape["rows"]) != box or not box.area:
        raise ValueError
    return box


def _frames(content: Sequence[Any] | None, shape: Mapping[str, Any]) -> tuple[int, int] | None:
    if content is None:
        return None
    first, last = map(_whole, content)
    if not 0 <= first <= last < shape["frames"]:
        raise ValueError
    return first, last


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    return value
