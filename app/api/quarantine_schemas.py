"""The JSON bodies of ``/quarantine``, with the examples that the OpenAPI document shows."""

import datetime as dt
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api.schemas import STUDY_EXAMPLE
from app.pixels.model import Box, Mark, Rung
from app.quarantine.records import Held
from app.quarantine.remembering import Remembered
from app.quarantine.review import MAX_MARKS

HELD_EXAMPLE: Final = "0f8b7b0e-7c55-4b8e-9a53-4d3f6f3f2c11"
RULE_EXAMPLE: Final = "6d1f2a34-5f10-4a1e-8a5e-0b0a4f5d9e77"


def _whole(value: object) -> object:
    """Take 12.0 for 12, as JSON Schema does; a text is no number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_First = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=1 << 20, strict=True)]
_Behind = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=1 << 20, strict=True)]
_Frame = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=1 << 31, strict=True)]


class MarkBody(BaseModel):
    """A rectangle that is to be overwritten."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    left: _First = Field(description="First column, from 0.", examples=[0])
    top: _First = Field(description="First row, from 0.", examples=[0])
    right: _Behind = Field(description="First column behind it.", examples=[640])
    bottom: _Behind = Field(description="First row behind it.", examples=[48])
    frames: tuple[_Frame, _Frame] | None = Field(
        None, description="First and last frame, from 0, both included; all without it."
    )

    def mark(self) -> Mark:
        """Return what it means."""
        box = Box(self.left, self.top, self.right, self.bottom)
        return Mark(box, Rung.REVIEW, frames=self.frames)


class MarksBody(BaseModel):
    """What a reviewer lets be masked."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    marks: list[MarkBody] = Field(min_length=1, max_length=MAX_MARKS)

    def read(self) -> list[Mark]:
        """Return what they mean."""
        return [mark.mark() for mark in self.marks]


class MarkShown(BaseModel):
    """A rectangle, and who said that it is to be overwritten."""

    left: int
    top: int
    right: int
    bottom: int
    frames: tuple[int, int] | None
    rung: str = Field(examples=["ocr"])
    rule: str = Field(
        description="Id of a mask rule, or the kind of text that was found; never the text.",
        examples=["patient-name"],
    )
    confidence: float | None


class ReasonShown(BaseModel):
    """Why it is held."""

    rung: str = Field(examples=["ocr"])
    code: str = Field(examples=["identifying-text"])
    rule: str
    frame: int | None
    confidence: float | None


class ShapeShown(BaseModel):
    """What the image is, as far as that tells no site."""

    sop_class: str
    transfer_syntax: str
    modality: str = Field(examples=["US"])
    rows: int
    columns: int
    frames: int
    photometric: str


class HeldRepresentation(BaseModel):
    """One held object and what became of it. Pseudonyms alone."""

    quarantine_id: str = Field(examples=[HELD_EXAMPLE])
    organization: str = Field(examples=["DEMO"])
    state: str = Field(
        description="`held`, `released`, `masked`, `rejected` or `expired`.", examples=["held"]
    )
    source: str = Field(description="`stream` or `batch`.", examples=["stream"])
    profile: str = Field(examples=["basic"])
    profile_version: str
    cloud_study_id: str | None = Field(examples=[STUDY_EXAMPLE])
    size: int = Field(description="Length of the object in bytes.")
    image: ShapeShown
    risk: str = Field(examples=["high"])
    reasons: list[ReasonShown]
    proposed_marks: list[MarkShown]
    marks: list[MarkShown] = Field(description="What a reviewer let be masked.")
    sent_by: str = Field(description="As the audit names callers.", examples=["viewer"])
    held_at: dt.datetime
    decided_by: str | None
    decided_at: dt.datetime | None


class HeldList(BaseModel):
    """Held objects, the newest first."""

    objects: list[HeldRepresentation]
    next: str | None = Field(description="Where the next page is; null on the last one.")


class RuleRepresentation(BaseModel):
    """One remembered mask rule and what became of it."""

    rule_id: str = Field(examples=[RULE_EXAMPLE])
    organization: str = Field(examples=["DEMO"])
    state: str = Field(
        description="`proposed`, `approved`, `denied` or `revoked`; approved ones alone mask.",
        examples=["proposed"],
    )
    rule: dict[str, object] = Field(
        description="In the form of rules files; its conditions name devices of the site."
    )
    quarantine_id: str = Field(
        description="The held object that it came of.", examples=[HELD_EXAMPLE]
    )
    proposed_by: str
    proposed_at: dt.datetime
    decided_by: str | None
    decided_at: dt.datetime | None
    revoked_by: str | None
    revoked_at: dt.datetime | None


class RuleList(BaseModel):
    """Remembered rules, the newest first."""

    rules: list[RuleRepresentation]
    next: str | None = Field(description="Where the next page is; null on the last one.")


class Remembering(BaseModel):
    """What was masked, and the rule that was proposed with it."""

    object: HeldRepresentation
    rule: RuleRepresentation


def shown(held: Held) -> HeldRepresentation:
    """Return what is shown of a held object."""
    return HeldRepresentation(
        quarantine_id=str(held.object_id),
        organization=held.organization,
        state=str(held.state),
        source=str(held.source_kind),
        profile=held.profile,
        profile_version=held.profile_version,
        cloud_study_id=held.cloud_study_id,
        size=held.size,
        image=ShapeShown(**held.shape),
        risk=str(held.decision.risk),
        reasons=[
            ReasonShown(
                rung=str(reason.rung),
                code=reason.code,
                rule=reason.rule,
                frame=reason.frame,
                confidence=reason.confidence,
            )
            for reason in held.decision.reasons
        ],
        proposed_marks=[_mark(mark) for mark in held.decision.marks],
        marks=[_mark(mark) for mark in held.marks],
        sent_by=held.sent_by,
        held_at=held.held_at,
        decided_by=held.decided_by,
        decided_at=held.decided_at,
    )


def rule_shown(remembered: Remembered) -> RuleRepresentation:
    """Return what is shown of a remembered rule."""
    return RuleRepresentation(
        rule_id=str(remembered.rule_id),
        organization=remembered.organization,
        state=str(remembered.state),
        rule=remembered.rule.content(),
        quarantine_id=str(remembered.quarantine_id),
        proposed_by=remembered.proposed_by,
        proposed_at=remembered.proposed_at,
        decided_by=remembered.decided_by,
        decided_at=remembered.decided_at,
        revoked_by=remembered.revoked_by,
        revoked_at=remembered.revoked_at,
    )


def _mark(mark: Mark) -> MarkShown:
    return MarkShown(
        left=mark.box.left,
        top=mark.box.top,
        right=mark.box.right,
        bottom=mark.box.bottom,
        frames=mark.frames,
        rung=str(mark.rung),
        rule=mark.rule,
        confidence=mark.confidence,
    )
