"""What somebody asks, what is answered, and what the audit keeps of both. Values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from app import telemetry
from app.errors import GatewayError
from app.vault.disclosure.approvals import Approval, Lifetimes
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import Question
from app.vault.disclosure.quotas import Bounds
from app.vault.mapping import Reidentified

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

LOOK: Final = "reidentify"
BREAK_GLASS: Final = "reidentify-break-glass"
SUCCESS: Final = "success"


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds where an organisation says nothing else.

    Attributes:
        looks: of one caller.
        emergencies: of one caller, counted beside its other looks.
        max_batch: most questions of one worklist.
        lifetimes: of requests and approvals.
    """

    looks: Bounds
    emergencies: Bounds
    max_batch: int
    lifetimes: Lifetimes


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks.

    Attributes:
        event: who asks: organisation, actor, API key and request id; the rest is filled in later.
        questions: one, or those of a worklist; empty where an approval stands for them.
        purpose: why; None where an approval stands for it.
        approval: the request that was approved.
        is_batch: a worklist: what is wrong with one question is told beside it.
    """

    event: "AuditEvent"
    questions: tuple[Question, ...] = ()
    purpose: Purpose | None = None
    approval: UUID | None = None
    is_batch: bool = False

    @property
    def organization(self) -> str:
        """Whose staff asks."""
        return self.event.organization or ""

    @property
    def who(self) -> tuple[str, str]:
        """What quotas count the caller by, and what the audit calls it."""
        return who_of(self.event)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What became of one question.

    Attributes:
        found: whose it is; None where it was refused.
        cloud_patient_id: that patient's pseudonym, where it was found.
        refusal: why not; None where it was found.
    """

    question: Question
    found: Reidentified | None = None
    cloud_patient_id: str | None = None
    refusal: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a look is for once it was admitted, and what stands behind it."""

    questions: tuple[Question, ...]
    purpose: Purpose
    approval: Approval | None = None

    @property
    def detail(self) -> dict[str, str | int]:
        """What the audit keeps of an approval."""
        if self.approval is None:
            return {}
        decided_by = self.approval.decided_by or ""
        return {"approval": str(self.approval.request_id), "approved-by": decided_by}


def who_of(event: "AuditEvent") -> tuple[str, str]:
    """Return what a caller is counted by, and what the audit calls it."""
    return event.api_key_id or event.actor, event.actor


def refused(asked: Asked, terms: Terms | None, error: GatewayError) -> "AuditEvent":
    """Return the audit row of a look that was refused as a whole."""
    purpose = terms.purpose if terms else asked.purpose
    questions = terms.questions if terms else asked.questions
    detail: dict[str, str | int] = dict(terms.detail) if terms else {}
    if asked.approval is not None:
        detail["approval"] = str(asked.approval)
    return _about_all(_row(asked, purpose, detail, error.code), asked, questions)


def begun(asked: Asked) -> "AuditEvent":
    """Return the audit row of a look of which nobody knows how it ended.

    The caller's own words are not in it: what was found, and so what to take out of them, is lost.
    """
    purpose = asked.purpose
    is_emergency = purpose is not None and purpose.is_break_glass
    detail = {} if asked.approval is None else {"approval": str(asked.approval)}
    event = replace(
        asked.event,
        action=BREAK_GLASS if is_emergency else LOOK,
        purpose=None if purpose is None else purpose.code,
        detail=detail,
    )
    return _about_all(event, asked, asked.questions)


def answered(asked: Asked, terms: Terms, answer: Answer, place: int) -> "AuditEvent":
    """Return the audit row of one answer; place is its number in a worklist, from 1.

    Original values that somebody wrote into reason or reference are taken out.
    """
    purpose, detail, found = terms.purpose, terms.detail, answer.found
    if asked.is_batch:
        detail |= {"batch": len(terms.questions), "item": place}
    if found is not None:
        purpose = purpose.without(found.originals)
        detail["cloud-patient-id"] = answer.cloud_patient_id or ""
    outcome = SUCCESS if answer.refusal is None else answer.refusal.code
    event = _about(_row(asked, purpose, detail, outcome), answer.question)
    if found is None:
        return event
    return replace(
        event,
        cloud_study_id=found.cloud_study_id,
        sop_instance_uid=answer.question.sop_instance_uid,
    )


def notice_of(asked: Asked, terms: Terms, answer: Answer) -> Mapping[str, str]:
    """Return what is told of an emergency: who and why, never whose study it was."""
    purpose = terms.purpose
    if answer.found is not None:
        purpose = purpose.without(answer.found.originals)
    return {
        "type": "break-glass",
        "organization_id": asked.organization,
        "actor": asked.event.actor,
        "purpose_of_use": purpose.code,
        "reason": purpose.reason,
        "reference": purpose.reference,
        "request_id": asked.event.request_id or "",
        "occurred_at": telemetry.rfc3339(telemetry.utc_now()),
    }


def _row(
    asked: Asked, purpose: Purpose | None, detail: Mapping[str, str | int], outcome: str
) -> "AuditEvent":
    if purpose is None:
        return replace(asked.event, action=LOOK, outcome=outcome, detail=detail)
    return replace(
        asked.event,
        action=BREAK_GLASS if purpose.is_break_glass else LOOK,
        outcome=outcome,
        purpose=purpose.audited,
        detail={"reference": purpose.reference, **detail},
    )


def _about_all(event: "AuditEvent", asked: Asked, questions: tuple[Question, ...]) -> "AuditEvent":
    if asked.is_batch:
        return replace(event, detail={**event.detail, "batch": len(questions)})
    return _about(event, questions[0]) if questions else event


def _about(event: "AuditEvent", question: Question) -> "AuditEvent":
    studies = question.studies
    return replace(
        event,
        cloud_study_id=studies[0] if studies else None,
        detail={**event.detail, "asked-by": " ".join(question.given)},
    )
