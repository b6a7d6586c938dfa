"""The way back with its safeguards: counted, approved where that is asked for, audited, answered.

A look is one transaction: the quota, the rows that are read, the approval that is used up, the
notice of an emergency and the audit are committed together, and only then anything is told.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from app import telemetry
from app.db.acting import acting_for
from app.errors import (
    ApprovalNotFound,
    DatabaseUnavailable,
    GatewayError,
    InvalidRequest,
    NotAuthenticated,
    OrganizationNotFound,
    Throttled,
)
from app.vault.disclosure import approvals, safeguards
from app.vault.disclosure.approvals import Approval, Decision, State
from app.vault.disclosure.asking import Answer, Asked, Limits, refused, who_of
from app.vault.disclosure.look import Look, admit_names, charge, require_valid_key
from app.vault.disclosure.looking_up import LookUp
from app.vault.disclosure.notices import Notices
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.quotas import Kind
from app.vault.disclosure.transactions import Recorder
from app.vault.pseudonyms import Pseudonyms
from app.vault.sealing import Opener

if TYPE_CHECKING:
    import psycopg

    from app.audit.events import AuditEvent

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    _Work = Callable[[_Connection, int], Awaitable[tuple[UUID, AuditEvent]]]

REQUEST: Final = "reidentify-request"
DECIDE: Final = {
    Decision.APPROVED: "reidentify-approve",
    Decision.DENIED: "reidentify-deny",
}


class Disclosure:
    """The way back of one process.

    Args:
        recorder: lends transactions and writes the audit.
        pseudonyms: gives those of an organisation.
        opener: opens what was sealed; None in a process without the private key.
        notices: tells of emergencies.
        limits: what holds where an organisation says nothing else.
    """

    def __init__(
        self,
        recorder: Recorder,
        pseudonyms: Callable[[str], Pseudonyms],
        *,
        opener: Opener | None,
        notices: Notices,
        limits: Limits,
    ) -> None:
        self._recorder = recorder
        self._pseudonyms = pseudonyms
        self._opener = opener
        self.notices = notices
        self.limits = limits

    async def answer(self, asked: Asked) -> tuple[Answer, ...]:
        """Tell whose the questions' studies and patients are, one answer each, in their order.

        Every outcome is committed to the audit before it is told.

        Raises:
            ReidentifyQuotaExceeded: the caller asks too much; nothing was looked up.
            ApprovalRequired, BreakGlassNotAllowed: the organisation wants it otherwise.
            ApprovalNotFound, ApprovalPending, ApprovalDenied, ApprovalExpired, ApprovalUsed: the
                approval that was named does not help.
            InvalidRequest: it is not fit for this way of asking.
            KeyUnavailable: this process holds no private key, or none that opens a row.
            NotAuthenticated: the API key was revoked.
            PseudonymNotFound, DifferentPatients, DifferentStudies: of a single question.
            OrganizationNotFound, DatabaseUnavailable: nothing is told and nothing recorded.
        """
        with acting_for(asked.organization):
            async with self._recorder.transaction() as connection:
                look = Look(
                    connection,
                    asked,
                    opener=self._opener,
                    notices=self.notices,
                    limits=self.limits,
                )
                answers = await look.answers(self._pseudonyms(asked.organization))
                await self._recorder.append(connection, _worth_a_row(look.refusal, look.events))
        if look.is_break_glass:
            telemetry.log().warning("break-glass", organization=asked.organization)
            self.notices.nudge()
        if look.refusal is not None:
            raise look.refusal
        return answers

    async def admit_names(self, event: "AuditEvent", purpose: Purpose) -> None:
        """Admit a page of names that somebody else opens, and count it; a refusal is recorded.

        Args:
            event: who asks for what: action, organisation, actor, API key, request id, details.
            purpose: why.

        Raises:
            ApprovalRequired, InvalidRequest, NotAuthenticated, ReidentifyQuotaExceeded: nothing
                may be told.
            OrganizationNotFound, DatabaseUnavailable: nothing is told and nothing recorded.
        """
        refusal: GatewayError | None = None
        with acting_for(event.organization or ""):
            async with self._recorder.transaction() as connection:
                try:
                    await admit_names(connection, event, purpose, self.limits.looks)
                except (OrganizationNotFound, DatabaseUnavailable):
                    raise
                except GatewayError as error:
                    refusal = error
                    rows = _worth_a_row(refusal, [replace(event, outcome=error.code)])
                    await self._recorder.append(connection, rows)
        if refusal is not None:
            raise refusal

    async def refuse(self, asked: Asked, error: GatewayError) -> None:
        """Record what was refused before it came here."""
        with acting_for(asked.organization):
            async with self._recorder.transaction() as connection:
                await self._recorder.append(connection, [refused(asked, None, error)])

    async def request(self, asked: Asked) -> Approval:
        """Ask a second person to approve; it counts like a look, and nothing is opened.

        Raises:
            InvalidRequest: it is an emergency, which waits for nobody.
            ReidentifyQuotaExceeded: the caller asks too much.
            PseudonymNotFound, DifferentPatients, DifferentStudies: a question leads nowhere.
            NotAuthenticated: the API key was revoked.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        purpose = asked.purpose
        if purpose is None or purpose.is_break_glass:
            raise InvalidRequest("An emergency waits for nobody; ask GET /reidentify at once")
        event = replace(asked.event, action=REQUEST, purpose=purpose.code)

        async def work(connection: "_Connection", number: int) -> "tuple[UUID, AuditEvent]":
            _, guards = await safeguards.of(connection, asked.organization)
            bounds = guards.bounds(self.limits.looks)
            await charge(connection, number, bounds, asked, Kind.LOOK)
            look_up = LookUp(connection, number, self._pseudonyms(asked.organization))
            for question in asked.questions:
                await look_up.find(question)
            await require_valid_key(connection, event.api_key_id)
            request_id = await approvals.add(
                connection,
                organization=number,
                who=asked.who,
                questions=asked.questions,
                purpose=purpose,
                pending=self.limits.lifetimes.pending,
            )
            return request_id, _detailed(event, request_id, questions=len(asked.questions))

        return await self._recorded(event, work)

    async def decide(self, event: "AuditEvent", request_id: UUID, decision: Decision) -> Approval:
        """Let a second person approve or deny.

        Args:
            event: who decides: organisation, actor, API key and request id.
            request_id: which request.
            decision: what that person says.

        Raises:
            ApprovalNotFound: the organisation has none by that id.
            OwnRequest: nobody approves a request of one's own.
            ApprovalExpired, AlreadyDecided: it is too late.
            NotAuthenticated: the API key was revoked.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        event = _detailed(replace(event, action=DECIDE[decision]), request_id)

        async def work(connection: "_Connection", number: int) -> "tuple[UUID, AuditEvent]":
            asked = await approvals.find(connection, number, request_id, is_locked=True)
            await require_valid_key(connection, event.api_key_id)
            await approvals.decide(
                connection,
                asked,
                decision,
                who=who_of(event),
                approved=self.limits.lifetimes.approved,
            )
            detailed = _detailed(event, request_id, **{"requested-by": asked.actor})
            return request_id, replace(detailed, purpose=asked.purpose.code)

        return await self._recorded(event, work)

    async def requests(
        self,
        organization: str,
        *,
        caller: str | None,
        state: State | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[Approval]:
        """List requests, the newest first: of one caller, or of the whole organisation.

        Raises:
            ApprovalNotFound: this caller sees none by the id that the page begins behind.
        """
        if before is not None:  # a page behind one that is forgotten would look like the last one
            await self.request_of(organization, before, caller=caller)
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                number, _ = await safeguards.of(connection, organization)
                return await approvals.listed(
                    connection, number, caller=caller, state=state, before=before, limit=limit
                )

    async def request_of(
        self, organization: str, request_id: UUID, *, caller: str | None
    ) -> Approval:
        """Read one request: of one caller, or of anybody in the organisation.

        Raises:
            ApprovalNotFound: there is none by that id for this caller.
        """
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                number, _ = await safeguards.of(connection, organization)
                found = await approvals.find(connection, number, request_id)
        if caller is not None and found.caller != caller:
            raise ApprovalNotFound
        return found

    async def _recorded(self, event: "AuditEvent", work: "_Work") -> Approval:
        """Do what a request is changed by, with its audit row; what is refused has one too."""
        refusal: GatewayError | None = None
        changed: Approval | None = None
        with acting_for(event.organization or ""):
            async with self._recorder.transaction() as connection:
                number, _ = await safeguards.of(connection, event.organization or "")
                try:
                    request_id, recorded = await work(connection, number)
                    changed = await approvals.find(connection, number, request_id)
                except (DatabaseUnavailable, OrganizationNotFound):
                    raise
                except GatewayError as error:
                    refusal, recorded = error, replace(event, outcome=error.code)
                await self._recorder.append(connection, _worth_a_row(refusal, [recorded]))
        if refusal is not None or changed is None:
            raise refusal or NotAuthenticated
        return changed


def _detailed(event: "AuditEvent", request_id: UUID, **facts: str | int) -> "AuditEvent":
    return replace(event, detail={"approval": str(request_id), **facts})


def _worth_a_row(
    refusal: GatewayError | None, events: "Sequence[AuditEvent]"
) -> "Sequence[AuditEvent]":
    """Of refusals for asking too much, only the first one gets a row: others could fill disks."""
    if isinstance(refusal, Throttled) and not refusal.is_first:
        return ()
    return events
