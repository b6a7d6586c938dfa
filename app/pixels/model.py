"""What the rungs of the ladder say to each other: pictures, boxes, marks and decisions.

Plain data that goes to child processes and into the quarantine as JSON; no text that was read in an
image is ever part of it. Pure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Rung(StrEnum):
    """The steps of the ladder, in their order."""

    RISK = "risk"  # what the header says of the image
    MASK_RULE = "mask-rule"  # a known signature with its rectangles
    REGIONS = "ultrasound-regions"  # (0018,6011): outside is black
    OCR = "ocr"  # text that was read in the image
    REVIEW = "review"  # what a person decided


class Risk(StrEnum):
    """How likely an image carries identifying text."""

    NONE = "none"  # passes without being looked at
    SOME = "some"  # is read
    HIGH = "high"  # is masked by a rule and read
    UNKNOWN = "unknown"  # nobody can say: quarantine


class Verdict(StrEnum):
    """What becomes of an instance's pixels."""

    PASS = "pass"  # noqa: S105 - no password
    MASK = "mask"
    QUARANTINE = "quarantine"
    DROP = "drop"  # a label: nothing of it is needed


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle of pixels, (0, 0) at the top left; ``right`` and ``bottom`` are outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)

    def clipped(self, columns: int, rows: int) -> "Box":
        """Return the part that lies inside of an image; its area may be 0."""
        left, top = min(max(self.left, 0), columns), min(max(self.top, 0), rows)
        right, bottom = min(max(self.right, left), columns), min(max(self.bottom, top), rows)
        return Box(left, top, right, bottom)


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle that is to be overwritten.

    Attributes:
        box: where.
        rung: who said so.
        rule: id of the mask rule, kind of the text found, or empty; never text of the image.
        confidence: of the rung, from 0 to 1; None where it is certain.
        frames: first and last frame, from 0, both included; None for all.
    """

    box: Box
    rung: Rung
    rule: str = ""
    confidence: float | None = None
    frames: tuple[int, int] | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` wrote."""
        frames = content.get("frames")
        return cls(
            box=Box(**content["box"]),
            rung=Rung(content["rung"]),
            rule=content.get("rule", ""),
            confidence=content.get("confidence"),
            frames=None if frames is None else (int(frames[0]), int(frames[1])),
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the ladder decided as it did.

    Attributes:
        rung: where.
        code: stable, in kebab case, such as ``no-rule-for-device`` or ``identifying-text``.
        rule: id of a mask rule or kind of text, or empty.
        frame: from 0, where one frame is meant.
        confidence: from 0 to 1, where the rung has one.
    """

    rung: Rung
    code: str
    rule: str = ""
    frame: int | None = None
    confidence: float | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` wrote."""
        return cls(**{**content, "rung": Rung(content["rung"])})


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an instance's pixels, where, and why."""

    verdict: Verdict
    risk: Risk
    marks: tuple[Mark, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data; nothing in it identifies anybody."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(
            verdict=Verdict(content["verdict"]),
            risk=Risk(content["risk"]),
            marks=tuple(Mark.from_json(mark) for mark in content.get("marks", ())),
            reasons=tuple(Reason.from_json(reason) for reason in content.get("reasons", ())),
        )


@dataclass(frozen=True, slots=True)
class Palette:
    """A palette's three colours: number of entries, first value mapped, and 16-bit entries."""

    entries: int
    first: int
    bits: int
    red: bytes
    green: bytes
    blue: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """What the header says of an image; device names may identify and are only compared.

    Attributes:
        frames: number of frames, at least 1.
        image_type: values of (0008,0008), upper case.
        burned_in: (0028,0301), upper case, empty where absent.
        conversion: (0008,0064); ``recognizable`` is (0028,0302).
        regions: boxes of (0018,6011); what the standard includes at both ends is half-open here.
        window: centre and width of the first window, for showing the image.
        rescale: Rescale Slope and Intercept, which the window is meant for.
        attributes: pairs of the other attributes that mask rules may look at, by their names in
            ``signatures.OTHERS``, values joined by a backslash; absent ones are left out.
    """

    sop_class: str
    transfer_syntax: str
    modality: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples: int = 1
    bits_allocated: int = 8
    bits_stored: int = 8
    high_bit: int = 7
    signed: bool = False
    photometric: str = ""
    planar: int = 0
    image_type: tuple[str, ...] = ()
    burned_in: str = ""
    recognizable: str = ""
    conversion: str = ""
    manufacturer: str = ""
    model: str = ""
    software: tuple[str, ...] = ()
    regions: tuple[Box, ...] = ()
    has_regions: bool = False
    window: tuple[float, float] | None = None
    rescale: tuple[float, float] = (1.0, 0.0)
    palette: Palette | None = None
    attributes: tuple[tuple[str, str], ...] = ()
