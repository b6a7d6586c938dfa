"""What is done beside the pipeline's thread: reading, masking, holding back. Fails closed.

The ladder decides; here it is carried out in child processes, and people are asked.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from app.dicom.source import FileSource, Source, write_all
from app.errors import (
    InvalidRequest,
    PixelsNeedReview,
    PixelWorkFailed,
    Quarantined,
    RejectedInReview,
    StorageUnavailable,
)
from app.pipeline.document_work import cleaned
from app.pipeline.pixel_advice import advice
from app.pipeline.results import Context
from app.pipeline.side_work import Masked, PixelParts, Quarantine, Request, Work
from app.pixels import ladder
from app.pixels.ladder import Examination
from app.pixels.model import Decision, Mark, Picture, Reason, Rung, Verdict
from app.pixels.rulings import Act, Case, Ruling, SourceKind
from app.pixels.wire import picture_to_json

# A reader stops by itself before it is stopped.
_BUDGET_SHARE: Final = 0.8
# So many pixels have the time of one object; what has more has more time, up to a bound.
_PIXELS_IN_TIME: Final = 3_000_000
_LONGEST: Final = 10
_NOTHING: Final = "This process has nothing to work on pixels with"
_PIECE_BYTES: Final = 1 << 20
# What frames can mean after they were encoded anew; nothing where that is what they meant.
_PHOTOMETRICS: Final = frozenset({"", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})


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


class KeptFile(FileSource):
    """A file without a name that is closed when nobody needs it any more."""

    __slots__ = ()

    def __del__(self) -> None:
        os.close(self.fd)


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
    async with _lent(request.source, parts) as fd:
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
    async with _lent(request.source, parts) as fd:
        return await _Settling(request, source, context, parts, None, fd).decision(picture)


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
    async with _lent(request.source, parts) as fd:
        await parts.workers.ask(task, [fd, shown.fd], _allowed_s(picture, parts))
    return os.pread(shown.fd, os.fstat(shown.fd).st_size, 0)


def _allowed_s(picture: Picture | None, parts: PixelParts) -> float:
    """Return how long a child may work on an image: large and long ones take their time."""
    pixels = picture.rows * picture.columns * picture.frames if picture else 0
    return parts.timeout_s * min(max(pixels / _PIXELS_IN_TIME, 1), _LONGEST)


def _is_on(mark: Mark, frame: int) -> bool:
    return mark.frames is None or mark.frames[0] <= frame <= mark.frames[1]


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
        self._fd = fd
        self._quarantine_id = ""
        self._digest = b""
        self._allowed_s = _allowed_s(request.picture, parts)

    async def work(self) -> Work:
        """Decide, and carry it out."""
        overlays = await self._overlays()
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
        examination = await self._examined(planned.marks) if planned.must_read else None
        decision = ladder.decide(picture, planned, examination, policy)
        if decision.verdict is not Verdict.MASK or not _is_found(decision.marks):
            return decision
        again = await self._examined(decision.marks)
        marked = replace(planned, marks=decision.marks)
        second = ladder.decide(picture, marked, again, policy, is_second=True)
        return decision if second.verdict is Verdict.MASK else second

    async def _examined(self, marks: Sequence[Mark]) -> Examination | None:
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

    async def _carried_out(self, decision: Decision) -> Masked | None:
        """Return frames with the marks overwritten; None where they stay as they are.

        Raises:
            PixelWorkFailed: they could not be written.
        """
        marks = decision.marks if decision.verdict is Verdict.MASK else ()
        if not (marks or self._request.must_clean):
            return None
        if self._request.frames is None:
            raise PixelWorkFailed("frames-not-found")
        task = self._task("mask", marks) | {"lossy": str(self._context.profile.pixels.lossy)}
        written = KeptFile(await asyncio.to_thread(self._parts.scratch, self._source.size), 0)
        answer = await self._parts.workers.ask(task, [self._fd, written.fd], self._allowed_s)
        return _read_masked(answer, written, len(self._request.frames))

    def _task(self, kind: str, marks: Sequence[Mark]) -> dict[str, Any]:
        picture = self._request.picture
        assert picture is not None  # noqa: S101 - asked by the caller
        return {
            "kind": kind,
            "picture": picture_to_json(picture),
            "frames": [list(map(list, pieces)) for pieces in self._request.frames or ()],
            "marks": [asdict(mark) for mark in marks],
        }

    async def _overlays(self) -> frozenset[int]:
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

    def _identifiers(self) -> list[dict[str, str]]:
        return [{"kind": str(one.kind), "text": one.text} for one in self._request.identifiers]

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


@asynccontextmanager
async def _lent(source: Source, parts: PixelParts) -> AsyncIterator[int]:
    """Lend a descriptor from which a child reads a source: its own, or that of a copy."""
    if isinstance(source, FileSource):
        yield source.fd
        return
    copy = await asyncio.to_thread(_copied, source, parts)
    yield copy.fd


def _copied(source: Source, parts: PixelParts) -> KeptFile:
    copy = KeptFile(parts.scratch(source.size), source.size)
    try:
        for start in range(0, source.size, _PIECE_BYTES):
            write_all(copy.fd, source.view(start, min(_PIECE_BYTES, source.size - start)))
    except OSError as error:
        raise StorageUnavailable(
            f"No room for the pixels of an object ({error.strerror})"
        ) from None
    return copy
