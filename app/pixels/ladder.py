"""The ladder: what the rungs say together becomes one decision. Pure, and it fails closed.

``plan`` goes before anything is decoded, ``decide`` after the image was read. Nothing passes that
was not found harmless: what is unknown, contradictory or could not be read waits for a person, and
every decision names its reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from app.pixels import regions, risk
from app.pixels.model import Box, Decision, Mark, Picture, Reason, Risk, Rung, Verdict
from app.pixels.rules import Masked, RuleSet, marks_for


class Policy(Protocol):
    """What a profile says about pixels; ``app.deid.pixel_policy`` has it."""

    @property
    def found(self) -> str:
        """Either ``quarantine`` or ``mask``: where text is read that no rule covers."""

    @property
    def video(self) -> str:
        """Either ``quarantine`` or ``accept``."""

    @property
    def labels(self) -> str:
        """Either ``drop`` or ``mask``."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be done with an image, as far as its header tells.

    Attributes:
        marks: of rules and regions, or over the whole of a label.
        must_read: whether the image has to be read before anything is decided.
        is_covered: whether a failed reading leaves nothing open, because a rule is complete.
        settled: the verdict, where it needs no reading.
    """

    risk: Risk
    reasons: tuple[Reason, ...]
    marks: tuple[Mark, ...] = ()
    must_read: bool = False
    is_covered: bool = False
    settled: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What a reading of the image, with its marks already black, came to.

    Attributes:
        findings: identifying text, and text-like structure that could not be read.
        is_complete: whether every frame was read within the time given.
    """

    findings: tuple[Mark, ...]
    is_complete: bool
    frames_read: int = 0
    lines: int = 0
    doubtful: int = 0
    seconds: float = 0.0

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what the child process answers; what it leaves out counts against the image."""
        return cls(
            findings=tuple(Mark.from_json(one) for one in content["findings"]),
            is_complete=content["is_complete"] is True,
            frames_read=int(content.get("frames_read", 0)),
            lines=int(content.get("lines", 0)),
            doubtful=int(content.get("doubtful", 0)),
            seconds=float(content.get("seconds", 0.0)),
        )


#: Codes of text that is nobody's, but could not be made out.
DOUBTFUL: Final = "doubtful"


def plan(picture: Picture, rules: RuleSet, policy: Policy) -> Planned:
    """Return what the first rungs say: risk, mask rules and ultrasound regions."""
    level, reasons = risk.assess(picture)
    if level is Risk.UNKNOWN:
        return _unknown(picture, rules, policy, reasons)
    if any(reason.code == risk.SLIDE_LABEL for reason in reasons):
        return _label(picture, policy, level, reasons)
    masked = marks_for(picture, rules)
    if level is Risk.NONE and not masked.rules:
        return Planned(level, reasons, settled=Verdict.PASS)
    return _likely(picture, masked, level, reasons)


def _unknown(
    picture: Picture, rules: RuleSet, policy: Policy, reasons: tuple[Reason, ...]
) -> Planned:
    """Settle what nobody can judge; its marks are proposals for whoever reviews it."""
    if risk.is_video(picture) and policy.video == "accept":
        accepted = Reason(Rung.RISK, "video-accepted")
        return Planned(Risk.UNKNOWN, (accepted, *reasons), settled=Verdict.PASS)
    marks = (*marks_for(picture, rules).marks, *(regions.marks(picture) or ()))
    return Planned(Risk.UNKNOWN, reasons, marks, settled=Verdict.QUARANTINE)


def _label(picture: Picture, policy: Policy, level: Risk, reasons: tuple[Reason, ...]) -> Planned:
    if policy.labels != "mask":
        return Planned(level, reasons, settled=Verdict.DROP)
    whole = Mark(Box(0, 0, picture.columns, picture.rows), Rung.RISK, risk.SLIDE_LABEL)
    return Planned(level, reasons, (whole,), is_covered=True, settled=Verdict.MASK)


def _likely(picture: Picture, masked: Masked, level: Risk, reasons: tuple[Reason, ...]) -> Planned:
    """Return the plan for an image that is masked, read, or both."""
    more = [Reason(Rung.MASK_RULE, "mask-rule", rule) for rule in masked.rules]
    more += [Reason(Rung.MASK_RULE, "rule-outside-image", rule) for rule in masked.misfits]
    outside = regions.marks(picture) if risk.is_ultrasound(picture) else None
    if outside is not None:
        code = "outside-regions" if outside else "regions-cover-all"
        more.append(Reason(Rung.REGIONS, code))
    elif picture.has_regions:
        more.append(Reason(Rung.REGIONS, "invalid-regions"))
    return Planned(
        # Whoever wrote a rule for a device has seen text in its images.
        risk=Risk.HIGH if masked.rules else level,
        reasons=(*reasons, *more),
        marks=(*masked.marks, *(outside or ())),
        must_read=True,
        is_covered=masked.complete and not masked.misfits,
    )


def decide(
    picture: Picture,
    planned: Planned,
    examination: Examination | None,
    policy: Policy,
    *,
    is_second: bool = False,
) -> Decision:
    """Return the verdict.

    Args:
        picture: what the header says.
        planned: of ``plan`` for the same picture.
        examination: what was read; None where nothing could be read.
        policy: of the profile.
        is_second: whether the image was read again with earlier findings masked, which are then
            among the marks of ``planned``. Text that is still read cannot be masked away, and a
            rule beside which text was found is not complete.
    """
    if planned.settled is not None:
        return Decision(planned.settled, planned.risk, planned.marks, planned.reasons)
    if examination is None or not _is_whole(picture, examination):
        return _unread(planned, examination, is_second=is_second)
    if examination.findings or examination.doubtful:
        return _found(picture, planned, examination, policy, is_second=is_second)
    return _clear(picture, planned, is_second=is_second)


def _is_whole(picture: Picture, examination: Examination) -> bool:
    return examination.is_complete and examination.frames_read >= picture.frames


def _unread(planned: Planned, examination: Examination | None, *, is_second: bool) -> Decision:
    """Decide without a full reading: only a complete rule makes that good."""
    code = "not-read" if examination is None else "not-read-to-the-end"
    findings = examination.findings if examination else ()
    reasons = (*planned.reasons, Reason(Rung.OCR, code), *_reasons(findings))
    is_good = planned.is_covered and bool(planned.marks) and not findings and not is_second
    verdict = Verdict.MASK if is_good else Verdict.QUARANTINE
    return Decision(verdict, planned.risk, (*planned.marks, *findings), reasons)


def _found(
    picture: Picture,
    planned: Planned,
    examination: Examination,
    policy: Policy,
    *,
    is_second: bool,
) -> Decision:
    """Decide about text outside of all marks."""
    findings = examination.findings
    more = list(_reasons(findings))
    if not findings:  # doubtful places without a rectangle: there is nothing to mask
        more.append(Reason(Rung.OCR, "unreadable-text"))
    if is_second:
        more.append(Reason(Rung.OCR, "still-readable"))
    is_inside = all(one.box.clipped(picture.columns, picture.rows).area for one in findings)
    if not is_inside:
        more.append(Reason(Rung.OCR, "contradictory-reading"))
    may_mask = policy.found == "mask" and bool(findings) and is_inside and not is_second
    verdict = Verdict.MASK if may_mask else Verdict.QUARANTINE
    return Decision(verdict, planned.risk, (*planned.marks, *findings), (*planned.reasons, *more))


def _clear(picture: Picture, planned: Planned, *, is_second: bool) -> Decision:
    """Decide where nothing was read outside of the marks."""
    doubts = _DOUBTS & {reason.code for reason in planned.reasons}
    nothing = Reason(Rung.OCR, "nothing-found")
    if planned.marks and not doubts:
        return Decision(Verdict.MASK, planned.risk, planned.marks, (*planned.reasons, nothing))
    is_calm = planned.risk is Risk.SOME or risk.trusts_no(picture)
    if is_calm and not doubts and not is_second:
        return Decision(Verdict.PASS, planned.risk, (), (*planned.reasons, nothing))
    if doubts:
        return Decision(Verdict.QUARANTINE, planned.risk, planned.marks, planned.reasons)
    # Such images carry text; that none was read speaks against the reading.
    reasons = (*planned.reasons, Reason(Rung.MASK_RULE, "no-rule-for-device"))
    return Decision(Verdict.QUARANTINE, planned.risk, planned.marks, reasons)


# What the header says of where text is cannot be true, so nothing that follows from it is.
_DOUBTS: Final = frozenset({"invalid-regions", "rule-outside-image"})


def _reasons(findings: tuple[Mark, ...]) -> tuple[Reason, ...]:
    """Return one reason for each kind of text, with the surest of its findings."""
    best: dict[str, Mark] = {}
    for mark in findings:
        known = best.get(mark.rule)
        if known is None or (mark.confidence or 0) > (known.confidence or 0):
            best[mark.rule] = mark
    return tuple(
        Reason(
            Rung.OCR,
            "unreadable-text" if kind == DOUBTFUL else "identifying-text",
            kind,
            frame=mark.frames[0] if mark.frames else None,
            confidence=mark.confidence,
        )
        for kind, mark in best.items()
    )
