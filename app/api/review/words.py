"""Plain words for what the ladder says, and for places, ages and states. Pure.

A code that nobody put into words here is shown as it is: nothing that the ladder said is hidden.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from app.pixels.model import Mark, Reason, Risk, Rung
from app.pixels.rulings import SourceKind

RUNGS: Final[Mapping[Rung, str]] = {
    Rung.RISK: "said by the header",
    Rung.MASK_RULE: "said by a mask rule",
    Rung.REGIONS: "said by the ultrasound regions",
    Rung.OCR: "said by the text reader",
    Rung.REVIEW: "drawn by a person",
}
RISKS: Final[Mapping[Risk, str]] = {
    Risk.NONE: "none",
    Risk.SOME: "some",
    Risk.HIGH: "high",
    Risk.UNKNOWN: "unknown",
}
SOURCES: Final[Mapping[SourceKind, str]] = {
    SourceKind.STREAM: "single upload",
    SourceKind.BATCH: "batch",
}
#: Kinds of text, as marks and reasons of the text reader name them.
KINDS: Final[Mapping[str, str]] = {
    "patient-name": "a patient's name",
    "date": "a date",
    "id": "an identifier",
    "person": "a person's name",
    "institution": "an institution",
    "phone": "a telephone number",
    "address": "an address",
    "free-text": "words that are not known to be harmless",
    "doubtful": "something like text that could not be made out",
}
#: Reasons by code, and by code and rule where the rule tells more.
REASONS: Final[Mapping[str, str]] = {
    "burned-in-declared": "The image itself says that something identifying is burned in.",
    "recognizable-features": "The image says that a person can be recognised in it.",
    "unknown-sop-class": "Images of this kind are not known.",
    "sop-class": "The kind of image decides.",
    "sop-class sections": "Sections of this kind seldom carry text.",
    "sop-class radiographs": "Radiographs may carry text in a corner.",
    "sop-class fluoroscopy": "Fluoroscopy may carry text in a corner.",
    "sop-class ultrasound": "Ultrasound images carry the patient's name at their edge.",
    "sop-class secondary-capture": "It is a picture of a screen, a film or a paper.",
    "sop-class visible-light": "Photographs may show text, or a person.",
    "sop-class ophthalmic": "Images of the eye may carry text.",
    "sop-class slides": "Images of slides may show a label.",
    "sop-class computed": "A program computed every pixel.",
    "sop-class video": "It is a film.",
    "sop-class no-image": "It is no image.",
    "all-are-read": "The profile has every image read.",
    "image-type": "Its image type is doubtful.",
    "image-type incomplete": "It does not say whether it is an original.",
    "image-type secondary": "It was made after the examination, not by it.",
    "image-type localizer": "It is a localizer, on which consoles write.",
    "image-type thumbnail": "It is a small overview of a slide.",
    "image-type screen-capture": "It says that it is a picture of a screen.",
    "image-type dose-sheet": "It says that it is a sheet about the dose.",
    "image-type report": "It says that it is a report.",
    "image-type drawing": "It says that it is a drawing, a table or a print.",
    "image-type rendering": "It says that it was rendered.",
    "conversion": "It was not made by the device itself, but captured, scanned or drawn.",
    "conversion unknown": "How it was captured is not known.",
    "conversion digitised-video": "It was captured from a video signal.",
    "conversion digital-interface": "It was captured from a digital interface.",
    "conversion digitised-film": "It is a digitised film.",
    "conversion workstation": "It was made at a workstation.",
    "conversion scanned-document": "It is a scanned document.",
    "conversion scanned-image": "It is a scanned image.",
    "conversion drawing": "It is a drawing.",
    "conversion synthetic": "A program made it.",
    "modality": "Its modality does not fit.",
    "modality screen-or-photograph": "It is a picture of a screen or a photograph.",
    "modality of-another-sop-class": "Its modality does not fit the kind of image.",
    "device": "Images of this device carry text.",
    "device film-digitiser": "It comes from a digitiser of films.",
    "device video-capture": "It comes from a device that captures video.",
    "device injector-report": "It is the report of an injector.",
    "device workstation": "It comes from a workstation.",
    "device console-writes-corners": "The console of this device writes into the corners.",
    "pixels": "Its pixels are not those of a plain section.",
    "pixels colour": "It has colours, which a plain section has not.",
    "pixels screen-size": "It is exactly as large as a screen.",
    "pixels eight-bit": "It has few grey levels, as pictures of screens have.",
    "contradictory-values": "What its header says is contradictory.",
    "slide-label": "It shows the label of a slide.",
    "video": "It is a film, in which nothing can be read or masked.",
    "video-accepted": "It is a film; the profile lets films pass.",
    "mask-rule": "A mask rule fits this device.",
    "rule-outside-image": "A mask rule fits this device, but not the size of the image.",
    "no-rule-for-device": "Images of this kind carry text, no mask rule fits, and none was read.",
    "outside-regions": "What lies outside of the ultrasound regions is masked.",
    "regions-cover-all": "Its ultrasound regions cover the whole image.",
    "invalid-regions": "Its ultrasound regions do not fit the image.",
    "not-read": "No text could be looked for: the text reader is missing or failed.",
    "not-read-to-the-end": "The text reader did not get to the end.",
    "identifying-text": "Identifying text was read outside of the masks.",
    "unreadable-text": "There is something like text that could not be made out.",
    "still-readable": "Text can be read although it was masked.",
    "nothing-found": "No identifying text was read.",
    "contradictory-reading": "Text was read outside of the image: the reading cannot be right.",
    "mask-failed": "It should have been masked, and its pixels cannot be written anew.",
}
BY: Final = "\N{MULTIPLICATION SIGN}"
_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def reason_text(reason: Reason) -> str:
    """Say a reason in one sentence, with the kind of text, the frame and how sure it is."""
    text = REASONS.get(f"{reason.code} {reason.rule}") or REASONS.get(reason.code)
    known = text or f"{reason.code.replace('-', ' ').capitalize()}."
    more = []
    if reason.rung is Rung.OCR and reason.rule:
        more.append(KINDS.get(reason.rule, reason.rule))
    elif reason.rule and f"{reason.code} {reason.rule}" not in REASONS:
        more.append(reason.rule)
    if reason.frame is not None:
        more.append(f"frame {reason.frame + 1}")
    more += _sure(reason.confidence)
    return f"{known.removesuffix('.')}: {', '.join(more)}." if more else known


def origin_of(mark: Mark) -> str:
    """Say who proposed a mask, for which kind of text, and how sure it is."""
    if mark.rung is Rung.OCR:
        said = KINDS.get(mark.rule, mark.rule) or "text"
    elif mark.rung is Rung.MASK_RULE:
        said = f"rule {mark.rule}" if mark.rule else "mask rule"
    elif mark.rung is Rung.REGIONS:
        said = "outside of the ultrasound regions"
    else:
        said = "drawn" if mark.rung is Rung.REVIEW else mark.rule.replace("-", " ") or "proposed"
    return ", ".join([said, *_sure(mark.confidence)])


def mark_text(mark: Mark, frames: int) -> str:
    """Say where a mask lies."""
    box = mark.box
    size = f"{box.right - box.left} {BY} {box.bottom - box.top} at {box.left}, {box.top}"
    return ", ".join([size, *_frames(mark.frames, frames), origin_of(mark)])


def shape_text(shape: Mapping[str, object]) -> str:
    """Say what kind of image it is: modality, size, frames."""
    frames = int(str(shape.get("frames", 1)))
    parts = [str(shape.get("modality") or "")]
    if shape.get("columns"):
        parts.append(f"{shape['columns']} {BY} {shape['rows']}")
    parts.append(f"{frames} frames" if frames > 1 else "")
    return ", ".join([part for part in parts if part]) or "no image"


def age_text(since: dt.datetime, now: dt.datetime) -> str:
    """Say how long ago something was, in its largest unit."""
    seconds = max((now - since).total_seconds(), 0)
    for length, unit in _UNITS:
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def _frames(range_of: tuple[int, int] | None, frames: int) -> list[str]:
    if range_of is None:
        return ["all frames"] if frames > 1 else []
    first, last = range_of
    return [f"frame {first + 1}" if first == last else f"frames {first + 1} to {last + 1}"]


def _sure(confidence: float | None) -> list[str]:
    return [] if confidence is None else [f"{round(confidence * 100)} % sure"]
