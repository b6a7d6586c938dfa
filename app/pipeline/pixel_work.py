"""What is done beside the pipeline's thread: reading, masking, holding back. Fails closed.

The ladder decides; here it is asked, child processes carry out what it says (``pixel_tasks``), and
people are asked.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.dicom.source import Source
from app.errors import PixelsNeedReview, PixelWorkFailed, Quarantined, RejectedInReview
from app.pipeline.document_work import cleaned
from app.pipeline.pixel_advice import advice
from app.pipeline.pixel_files import lent
from app.pipeline.pixel_tasks import PixelTasks
from app.pipeline.results import Context
from app.pipeline.side_work import Masked, PixelParts, Quarantine, Request, Work
from app.pixels import ladder
from app.pixels.model import Decision, Mark, Picture, Reason, Rung, Verdict
from app.pixels.rulings import Act, Case, Ruling, SourceKind

_NOTHING: Final = "This process has nothing to work on pixels with"


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom an object belongs to that is held back.

    Attributes:
        name: as the audit names callers.
        api_key_id: the key that it was sent with, where there was one.
        kind: how it came.
    """

    name: str
    api_key_id: str | None = None
    request_id: str | None = None
    kind: SourceKind = SourceKind.STREAM


async def settle(request: Request, source: Source, context: Context, sender: Sender | None) -> Work:
    """Do what one instance needs.

    Args:
        request: what that is.
        source: the object as it came.
        context: what it is de-identified with.
        sender: whom it is held back for; None where nothing is held, as in an explanation.

    Raises:
        Quarantined: it waits for a person now.
        PixelsNeedReview: it should, and there is no quarantine.
        RejectedInReview: a person looked at these bytes and rejected them.
        PixelWorkFailed: what a person decided cannot be carried out.
    """
    parts = context.pixels
    if parts is None:
        raise PixelsNeedReview(_NOTHING)
    async with lent(request.source, parts) as fd:
        return await _Settling(request, source, context, parts, sender, fd).work()


async def judged(request: Request, source: Source, context: Context) -> Decision | None:
    """Return what the ladder says of an image; nothing is written or held, nobody is asked.

    Raises:
        PixelsNeedReview: this process has nothing to work on pixels with.
    """
    parts, picture = context.pixels, request.picture
    if picture is None:
        return None
    if parts is None:
        raise PixelsNeedReview(_NOTHING)
    async with lent(request.source, parts) as fd:
        return await _Settling(request, source, context, parts, None, fd).decision(picture)


class _Settling:
    """One instance whose pixels are worked on."""

    def __init__(
        self,
        request: Request,
        source: Source,
        context: Context,
        parts: PixelParts,
        sender: Sender | None,
        fd: int,
    ) -> None:
        self._request = request
        self._source = source
        self._context = context
        self._parts = parts
        self._sender = sender
        self._tasks = PixelTasks(request, parts, fd)
        self._quarantine_id = ""
        self._digest = b""

    async def work(self) -> Work:
        """Decide, and carry it out."""
        overlays = await self._tasks.clean_overlays()
        picture, part = self._request.picture, self._request.document
        if part is not None:
            header, identifiers = self._request.header, self._request.identifiers
            document = await cleaned(part, header, identifiers, self._parts)
            return Work(overlays=overlays, document=document)
        if picture is None:
            return Work(overlays=overlays)
        decision, masked = await self._settled(picture)
        return Work(
            decision,
            masked,
            overlays,
            rules_version=self._request.rules_version,
            quarantine_id=self._quarantine_id,
        )

    async def _settled(self, picture: Picture) -> tuple[Decision, Masked | None]:
        """Return what a person decided about these bytes, else what the ladder does, carried out.

        A person is asked first: what was rejected stays so when rules change, and what was decided
        is not read again.
        """
        decision = await self._by_person()
        if decision is not None:
            return decision, await self._carried_out(decision)
        decision = await self.decision(picture)
        if decision.verdict is not Verdict.QUARANTINE:
            try:
                return decision, await self._carried_out(decision)
            except PixelWorkFailed:
                decision = _failed(decision)
        decision = await self._ruled(decision, picture)
        return decision, await self._carried_out(decision)

    async def _by_person(self) -> Decision | None:
        """Return what a person decided; None where nobody did.

        Raises:
            RejectedInReview: that is what it was.
        """
        quarantine, planned = self._parts.quarantine, self._request.planned
        if quarantine is None or planned is None or planned.settled is Verdict.PASS:
            return None
        ruling = await self._ruling(quarantine)
        if ruling is None:
            return None
        asked = Decision(Verdict.QUARANTINE, planned.risk, planned.marks, planned.reasons)
        return _by_person(ruling, asked)

    async def _ruling(self, quarantine: Quarantine) -> Ruling | None:
        name, organization = self._context.profile.name, self._context.organization
        if not self._digest:
            digest = quarantine.digest
            self._digest = await asyncio.to_thread(digest, organization, self._source)
        ruling = await quarantine.decided(organization, name, self._digest)
        self._quarantine_id = "" if ruling is None else ruling.quarantine_id
        return ruling

    async def decision(self, picture: Picture) -> Decision:
        """Return what the ladder says, the image read once or twice."""
        planned, policy = self._request.planned, self._context.profile.pixels
        assert planned is not None  # noqa: S101 - there is a picture
        examination = await self._tasks.examined(planned.marks) if planned.must_read else None
        decision = ladder.decide(picture, planned, examination, policy)
        if decision.verdict is not Verdict.MASK or not _is_found(decision.marks):
            return decision
        again = await self._tasks.examined(decision.marks)
        marked = replace(planned, marks=decision.marks)
        second = ladder.decide(picture, marked, again, policy, is_second=True)
        return decision if second.verdict is Verdict.MASK else second

    async def _carried_out(self, decision: Decision) -> Masked | None:
        """Return frames with the marks overwritten; None where they stay as they are.

        Raises:
            PixelWorkFailed: they could not be written.
        """
        marks = decision.marks if decision.verdict is Verdict.MASK else ()
        if not (marks or self._request.must_clean):
            return None
        lossy = str(self._context.profile.pixels.lossy)
        return await self._tasks.masked(marks, lossy, self._source.size)

    async def _ruled(self, decision: Decision, picture: Picture) -> Decision:
        """Return what a person decided about these very bytes.

        Raises:
            Quarantined, PixelsNeedReview, RejectedInReview: see ``settle``.
        """
        quarantine = self._parts.quarantine
        if quarantine is None:
            raise PixelsNeedReview(advice(decision))
        ruling = await self._ruling(quarantine)
        if ruling is not None:
            return _by_person(ruling, decision)
        if self._sender is None:
            raise PixelsNeedReview(advice(decision))
        case = self._case(decision, picture, self._digest, self._sender)
        held = await quarantine.hold(self._source, case)
        raise Quarantined(str(held), advice(decision))

    def _case(self, decision: Decision, picture: Picture, digest: bytes, sender: Sender) -> Case:
        profile = self._context.profile
        return Case(
            organization=self._context.organization,
            profile=profile.name,
            profile_version=profile.version,
            digest=digest,
            picture=picture,
            decision=decision,
            actor=sender.name,
            api_key_id=sender.api_key_id,
            request_id=sender.request_id,
            source_kind=sender.kind,
            cloud_study_id=self._request.cloud_study_id,
            cloud_patient_id=self._request.cloud_patient_id,
        )


def _is_found(marks: Sequence[Mark]) -> bool:
    return any(mark.rung is Rung.OCR for mark in marks)


def _failed(decision: Decision) -> Decision:
    """Return what becomes of an image that cannot be masked as it should be."""
    reasons = (*decision.reasons, Reason(Rung.MASK_RULE, "mask-failed"))
    return Decision(Verdict.QUARANTINE, decision.risk, decision.marks, reasons)


def _by_person(ruling: Ruling, decision: Decision) -> Decision:
    """Return the decision of a person in the place of the ladder's.

    Raises:
        RejectedInReview: that is what it was.
    """
    if ruling.action is Act.REJECT:
        raise RejectedInReview
    reasons = (*decision.reasons, Reason(Rung.REVIEW, f"review-{ruling.action}"))
    if ruling.action is Act.MASK and ruling.marks:
        return Decision(Verdict.MASK, decision.risk, ruling.marks, reasons)
    return Decision(Verdict.PASS, decision.risk, (), reasons)
