"""The reviewer's side of the quarantine: looking at what is held, deciding, remembering.

Every look and every decision is committed to the audit in the transaction of what it records, and
before anything is shown. One decision wins; what opens the object is destroyed with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID, uuid4

from app import telemetry
from app.audit.events import AuditEvent
from app.db.acting import acting_for
from app.errors import DatabaseUnavailable, GatewayError, HeldObjectDamaged, InvalidRequest
from app.pixels.model import Mark, Picture, Rung
from app.pixels.rules import Rule, remembered_rule
from app.pixels.rulings import Act
from app.quarantine import records, remembering
from app.quarantine.previews import Look, Previews
from app.quarantine.records import Held, State, Wanted
from app.quarantine.remembering import Remembered, RuleBox, RuleState, WantedRules
from app.quarantine.sealing import HoldOpener, ObjectCipher
from app.quarantine.shelf import Shelf
from app.vault.disclosure.asking import who_of
from app.vault.disclosure.look import require_valid_key
from app.vault.disclosure.transactions import Recorder
from app.vault.workbox import WorkBox

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

LOOK: Final = "quarantine-look"
PREVIEW: Final = "quarantine-preview"
DECIDE: Final = {act: f"quarantine-{act}" for act in Act}
REMEMBER: Final = "quarantine-remember"
DECIDE_RULE: Final = {
    RuleState.APPROVED: "mask-rule-approve",
    RuleState.DENIED: "mask-rule-deny",
    RuleState.REVOKED: "mask-rule-revoke",
}
MAX_MARKS: Final = 1000

_Done = TypeVar("_Done")


class Review:
    """What reviewers of one process can do.

    Every method takes an event that says who acts: organisation, actor, API key and request id;
    action and details are filled in here.

    Args:
        recorder: lends transactions and writes the audit.
        box: seals rules that are remembered.
        opener: opens what is held.
        shelf: where the sealed objects lie.
        previews: draw frames.
    """

    def __init__(
        self,
        recorder: Recorder,
        box: WorkBox,
        *,
        opener: HoldOpener,
        shelf: Shelf,
        previews: Previews,
    ) -> None:
        self._recorder = recorder
        self._rule_box = RuleBox(box)
        self._opener = opener
        self._shelf = shelf
        self._previews = previews

    async def listed(self, organization: str, wanted: Wanted) -> list[Held]:
        """List what is or was held; nothing in it identifies anybody.

        Raises:
            QuarantineNotFound: there is none by the id that the page begins behind.
            OrganizationNotFound, DatabaseUnavailable: as said.
        """
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                return await records.listed(connection, organization, wanted)

    async def show(self, event: AuditEvent, object_id: UUID) -> Held:
        """Tell all but the image of one held object.

        Raises:
            QuarantineNotFound: the organisation has none by that id.
            NotAuthenticated: the API key was revoked.
            DatabaseUnavailable: Postgres does not answer.
        """

        async def work(connection: "_Connection", event: AuditEvent) -> tuple[Held, AuditEvent]:
            held = await records.find(connection, event.organization or "", object_id)
            return held, _about(event, held)

        return await self._recorded(_named(event, LOOK, quarantine=object_id), work)

    async def preview(self, event: AuditEvent, object_id: UUID, look: Look) -> bytes:
        """Return one frame of a held object as PNG, with the proposed marks.

        Raises:
            QuarantineNotFound, NotAuthenticated, DatabaseUnavailable: see `show`.
            AlreadyDecided: the object was destroyed with the decision.
            HeldObjectDamaged: it is gone or was altered.
            PreviewUnavailable: there is no such frame, or it does not decode.
            KeyUnavailable: no private key that opens it is held here.
        """
        event = _named(event, PREVIEW, quarantine=object_id, frame=look.frame)

        async def work(
            connection: "_Connection", event: AuditEvent
        ) -> tuple[tuple[Held, ObjectCipher, Picture], AuditEvent]:
            held = await records.find(connection, event.organization or "", object_id)
            cipher, picture = await self._opened(connection, held)
            return (held, cipher, picture), _about(event, held)

        held, cipher, picture = await self._recorded(event, work)
        try:
            return await self._previews.png(cipher, picture, held.decision.marks, look)
        except HeldObjectDamaged as error:
            telemetry.log().error("held-object-damaged", organization=held.organization)
            await self._failed(event, error)
            raise

    async def decide(
        self, event: AuditEvent, object_id: UUID, act: Act, marks: Sequence[Mark] = ()
    ) -> Held:
        """Release a held object, let marks be masked, or reject it.

        Args:
            event: who decides.
            object_id: about which.
            act: what.
            marks: what is masked; only the rectangles and their frames count.

        Raises:
            QuarantineNotFound, NotAuthenticated, DatabaseUnavailable: see `show`.
            AlreadyDecided: somebody was faster.
            OwnObject: who sent it lets nothing of it pass.
            HeldObjectDamaged: its file is gone, so that nobody can have looked at it. Rejected, it
                counts as expired: the same bytes are held anew.
            InvalidRequest: the marks are not fit.
        """
        event = _named(event, DECIDE[act], quarantine=object_id)

        async def work(connection: "_Connection", event: AuditEvent) -> tuple[Held, AuditEvent]:
            return await self._decided(connection, event, object_id, act, marks)

        held = await self._recorded(event, work)
        self._shelf.remove(object_id)
        return held

    async def remember(
        self, event: AuditEvent, object_id: UUID, marks: Sequence[Mark]
    ) -> tuple[Held, Remembered]:
        """Let marks be masked, and propose them as a rule for all images with this signature.

        Raises:
            QuarantineNotFound, AlreadyDecided, OwnObject, NotAuthenticated, DatabaseUnavailable,
                InvalidRequest: see `decide`.
            InvalidRules: the image does not say what device made it.
            KeyUnavailable, HeldObjectDamaged: its signature cannot be opened.
        """
        if any(mark.frames is not None for mark in marks):
            raise InvalidRequest("A rule holds for every frame; leave the frames of marks out")
        rule_id = uuid4()
        event = _named(event, REMEMBER, quarantine=object_id, rule=rule_id)

        async def work(
            connection: "_Connection", event: AuditEvent
        ) -> tuple[tuple[Held, Remembered], AuditEvent]:
            organization = event.organization or ""
            held = await records.find(connection, organization, object_id, is_locked=True)
            _, picture = await self._opened(connection, held)
            boxes = [mark.box for mark in _checked(held, Act.MASK, marks)]
            rule = remembered_rule(picture, boxes, rule_id=f"remembered-{rule_id}")
            decided, detailed = await self._decided(connection, event, object_id, Act.MASK, marks)
            await self._propose(connection, event, held, rule_id, rule)
            proposed = await remembering.find(connection, organization, rule_id, self._rule_box)
            return (decided, proposed), detailed

        done = await self._recorded(event, work)
        self._shelf.remove(object_id)
        return done

    async def rules(self, organization: str, wanted: WantedRules) -> list[Remembered]:
        """List remembered rules, the newest first.

        Raises:
            MaskRuleNotFound: there is none by the id that the page begins behind.
            OrganizationNotFound, DatabaseUnavailable, KeyUnavailable: as said.
        """
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                return await remembering.listed(connection, organization, wanted, self._rule_box)

    async def decide_rule(self, event: AuditEvent, rule_id: UUID, state: RuleState) -> Remembered:
        """Approve or deny a proposed rule, or revoke an approved one.

        Raises:
            MaskRuleNotFound: the organisation has none by that id.
            OwnRequest: nobody approves a rule of one's own.
            AlreadyDecided: somebody was faster.
            Conflict: what is revoked does not hold.
            NotAuthenticated, DatabaseUnavailable, KeyUnavailable: as said.
        """
        event = _named(event, DECIDE_RULE[state], rule=rule_id)

        async def work(
            connection: "_Connection", event: AuditEvent
        ) -> tuple[Remembered, AuditEvent]:
            organization, box = event.organization or "", self._rule_box
            rule = await remembering.find(connection, organization, rule_id, box, is_locked=True)
            await require_valid_key(connection, event.api_key_id)
            if state is RuleState.REVOKED:
                await remembering.revoke(connection, rule, actor=event.actor)
            else:
                await remembering.decide(connection, rule, state, who=who_of(event))
            changed = await remembering.find(connection, organization, rule_id, box)
            detail = {**event.detail, "proposed-by": rule.proposed_by}
            return changed, replace(event, detail=detail)

        return await self._recorded(event, work)

    async def refuse(self, event: AuditEvent, error: GatewayError) -> None:
        """Record what was refused before it came here; the event's action says what it was."""
        await self._failed(event, error)

    async def _decided(
        self,
        connection: "_Connection",
        event: AuditEvent,
        object_id: UUID,
        act: Act,
        marks: Sequence[Mark],
    ) -> tuple[Held, AuditEvent]:
        organization = event.organization or ""
        held = await records.find(connection, organization, object_id, is_locked=True)
        await require_valid_key(connection, event.api_key_id)
        fit = _checked(held, act, marks)
        size = held.place.sealed_size
        if held.state is not State.HELD or await asyncio.to_thread(
            self._shelf.is_whole, object_id, size
        ):
            await records.decide(connection, held, act, fit, who=who_of(event))
        elif act is Act.REJECT:
            await records.give_up(connection, held, who=who_of(event))
        else:
            raise HeldObjectDamaged
        decided = await records.find(connection, organization, object_id)
        facts: dict[str, str | int] = {"marks": len(fit), "sent-by": held.sent_by}
        return decided, _about(replace(event, detail={**event.detail, **facts}), held)

    async def _opened(self, connection: "_Connection", held: Held) -> tuple[ObjectCipher, Picture]:
        sealed = await records.sealed_key(connection, held)
        return self._opener.open(held.place, sealed)

    async def _propose(
        self,
        connection: "_Connection",
        event: AuditEvent,
        held: Held,
        rule_id: UUID,
        rule: Rule,
    ) -> None:
        await remembering.propose(
            connection,
            held.organization,
            rule_id,
            quarantine_id=held.object_id,
            sealed=self._rule_box.seal(held.organization, rule_id, rule),
            who=who_of(event),
        )

    async def _recorded(
        self,
        event: AuditEvent,
        work: "Callable[[_Connection, AuditEvent], Awaitable[tuple[_Done, AuditEvent]]]",
    ) -> _Done:
        """Do something with its audit row in one transaction; what is refused has a row too."""
        refusal: GatewayError
        with acting_for(event.organization or ""):
            try:
                async with self._recorder.transaction() as connection:
                    done, recorded = await work(connection, event)
                    await require_valid_key(connection, event.api_key_id)
                    await self._recorder.append(connection, [recorded])
                    return done
            except DatabaseUnavailable:
                raise
            except GatewayError as error:
                refusal = error
        await self._failed(event, refusal)
        raise refusal

    async def _failed(self, event: AuditEvent, error: GatewayError) -> None:
        with acting_for(event.organization or ""):
            async with self._recorder.transaction() as connection:
                await self._recorder.append(connection, [replace(event, outcome=error.code)])


def _named(event: AuditEvent, action: str, **facts: UUID | int) -> AuditEvent:
    detail: dict[str, str | int] = {
        name: fact if isinstance(fact, int) else str(fact) for name, fact in facts.items()
    }
    return replace(event, action=action, detail=detail)


def _about(event: AuditEvent, held: Held) -> AuditEvent:
    return replace(
        event,
        profile=held.profile,
        profile_version=held.profile_version,
        cloud_study_id=held.cloud_study_id,
    )


def _checked(held: Held, act: Act, marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return the marks as they are kept: inside of the image, and a person's.

    Raises:
        InvalidRequest: there is nothing to mask, too much, or it lies outside of the image.
    """
    if act is not Act.MASK:
        if marks:
            raise InvalidRequest("Only what is masked has marks")
        return ()
    if not 0 < len(marks) <= MAX_MARKS:
        raise InvalidRequest(f"Name 1 to {MAX_MARKS} marks; release what needs none")
    columns, rows = int(held.shape["columns"]), int(held.shape["rows"])
    fit = tuple(
        Mark(mark.box.clipped(columns, rows), Rung.REVIEW, frames=mark.frames) for mark in marks
    )
    if not all(mark.box.area and _is_within(mark, int(held.shape["frames"])) for mark in fit):
        raise InvalidRequest("A mark lies outside of the image or of its frames")
    return fit


def _is_within(mark: Mark, frames: int) -> bool:
    return mark.frames is None or 0 <= mark.frames[0] <= mark.frames[1] < frames
