"""What pages show of held objects and mask rules; the templates decide nothing."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass

from app.api.review import forms, words
from app.pixels.model import Mark, Rung
from app.quarantine.records import Held

SHORTCUTS = (
    (("n",), "new mask in the middle of what you see"),
    (("Tab",), "choose the next mask"),
    (("Arrows",), "move the chosen mask by 1 pixel, with Shift by 10"),
    (("Ctrl", "Arrows"), "resize it, with Shift by 10"),
    (("f",), "all frames, or this frame only"),
    (("Del",), "delete it"),
    (("Ctrl", "Z"), "undo; Ctrl+Y does it again"),
    ((",", "."), "previous and next frame"),
    (("+", "-", "0", "1"), "larger, smaller, whole image, one to one"),
    (("c", "i"), "stronger contrast, inverted"),
    (("p",), "masks in black, as they will be"),
    (("m",), "mask"),
    (("Shift", "M"), "mask and remember"),
    (("r",), "release as it is"),
    (("x",), "reject"),
    (("s",), "leave it, show the next one"),
    (("Esc",), "let go of the mask"),
    (("?",), "this list"),
)


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason in words."""

    text: str
    source: str
    is_read: bool


@dataclass(frozen=True, slots=True)
class MarkView:
    """One proposed mask in words."""

    text: str


@dataclass(frozen=True, slots=True)
class HeldView:
    """One held object in words."""

    id: str
    organization: str
    held_at: dt.datetime
    age: str
    source: str
    shape: str
    risk: str
    reasons: tuple[ReasonView, ...]
    marks: tuple[MarkView, ...]
    marks_json: str
    columns: int
    rows: int
    frames: int

    @property
    def address(self) -> str:
        """Where its page is."""
        return f"/review/objects/{self.organization}/{self.id}"

    @property
    def held_at_text(self) -> str:
        """When it came."""
        return f"{self.held_at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def has_image(self) -> bool:
        """Whether there is anything that masks can be drawn on."""
        return self.columns > 0 and self.rows > 0

    @property
    def foremost(self) -> tuple[ReasonView, ...]:
        """The reasons with what was read in the image before what its header says."""
        return tuple(sorted(self.reasons, key=lambda reason: not reason.is_read))

    @property
    def frames_text(self) -> str:
        """How many frames there are."""
        return f"{self.frames} frames" if self.frames > 1 else "one frame"


def of_held(held: Held, now: dt.datetime, marks: Sequence[Mark] | None = None) -> HeldView:
    """Put a held object into words.

    Args:
        held: the object.
        now: by the one clock.
        marks: masks that somebody drew already; None for those that are proposed.
    """
    shape, decision = held.shape, held.decision
    shown = forms.within(decision.marks if marks is None else marks, shape)
    frames = int(shape["frames"])
    return HeldView(
        id=str(held.object_id),
        organization=held.organization,
        held_at=held.held_at,
        age=words.age_text(held.held_at, now),
        source=words.SOURCES[held.source_kind],
        shape=words.shape_text(shape),
        risk=words.RISKS[decision.risk],
        reasons=tuple(
            ReasonView(words.reason_text(reason), words.RUNGS[reason.rung], reason.rung is Rung.OCR)
            for reason in decision.reasons
        ),
        marks=tuple(MarkView(words.mark_text(mark, frames)) for mark in shown),
        marks_json=json.dumps([_plain(mark) for mark in shown]),
        columns=int(shape["columns"]),
        rows=int(shape["rows"]),
        frames=frames,
    )


def _plain(mark: Mark) -> dict[str, object]:
    box = mark.box
    return {
        "box": {"left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom},
        "frames": mark.frames,
        "origin": words.origin_of(mark),
    }
