"""One look within its transaction: admitted, looked up, opened, and told to the audit."""

from typing import TYPE_CHECKING, Any, Final

from app.errors import (
    ApprovalRequired,
    BreakGlassNotAllowed,
    DatabaseUnavailable,
    GatewayError,
    InvalidRequest,
    KeyUnavailable,
    NotAuthenticated,
    OrganizationNotFound,
)
from app.vault.disclosure import approvals, quotas, safeguards
from app.vault.disclosure.asking import (
    Answer,
    Asked,
    Limits,
    Terms,
    answered,
    notice_of,
    refused,
    who_of,
)
from app.vault.disclosure.looking_up import LookUp
from app.vault.disclosure.notices import Notices
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import Question
from app.vault.disclosure.quotas import Bounds, Kind
from app.vault.disclosure.safeguards import Safeguards
from app.vault.pseudonyms import Pseudonyms
from app.vault.sealing import Opener

if TYPE_CHECKING:
    import psycopg

    from app.audit.events import AuditEvent

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_VALID_KEY: Final = "SELECT FROM api_keys WHERE id = %s AND revoked_at IS NULL"


class Look:
    """One look; its transaction is committed whatever comes of it.

    Attributes:
        events: what the audit must keep before anything is told.
        refusal: why nothing may be told; None where something may.
        is_break_glass: an emergency was answered.
    """

    def __init__(
        self,
        connection: "_Connection",
        asked: Asked,
        *,
        opener: Opener | None,
        notices: Notices,
        limits: Limits,
    ) -> None:
        self._connection = connection
        self._asked = asked
        self._opener = opener
        self._notices = notices
        self._limits = limits
        self._terms: Terms | None = None
        self.events: list[AuditEvent] = []
        self.refusal: GatewayError | None = None
        self.is_break_glass = False

    async def answers(self, pseudonyms: Pseudonyms) -> tuple[Answer, ...]:
        """Answer every question, or none.

        Raises:
            OrganizationNotFound, DatabaseUnavailable: nothing can be recorded either.
        """
        try:
            return await self._answers(pseudonyms)
        except (OrganizationNotFound, DatabaseUnavailable):
            raise
        except GatewayError as error:
            self.refusal = error
            self.events = [refused(self._asked, self._terms, error)]
            return ()

    async def _answers(self, pseudonyms: Pseudonyms) -> tuple[Answer, ...]:
        """Do everything that may fail before anything is used up."""
        connection, asked = self._connection, self._asked
        number, guards = await safeguards.of(connection, asked.organization)
        await require_valid_key(connection, asked.event.api_key_id)
        opener = self._opener
        if opener is None:
            raise KeyUnavailable
        terms = self._terms = await self._admitted(number, guards)
        look_up = LookUp(connection, number, pseudonyms)
        answers = [await self._answer(look_up, opener, one) for one in terms.questions]
        await require_valid_key(connection, asked.event.api_key_id)
        if terms.approval is not None:
            await approvals.use(connection, terms.approval)
        if terms.purpose.is_break_glass:
            self.is_break_glass = True
            await self._notices.add(connection, number, notice_of(asked, terms, answers[0]))
        self.events = [
            answered(asked, terms, answer, place) for place, answer in enumerate(answers, start=1)
        ]
        return tuple(answers)

    async def _admitted(self, number: int, guards: Safeguards) -> Terms:
        """Check that the caller may ask this now, and count it."""
        connection, asked = self._connection, self._asked
        if asked.approval is not None:
            found = await approvals.find(connection, number, asked.approval, is_locked=True)
            approvals.require_usable(found, asked.who[0])
            if len(found.questions) > 1 and not asked.is_batch:
                raise InvalidRequest("This approval is of a worklist; POST /reidentify/batch")
            return Terms(found.questions, found.purpose, found)
        purpose = asked.purpose
        if purpose is None or not asked.questions:
            raise InvalidRequest("There is nothing to look up")
        kind, bounds = Kind.LOOK, guards.bounds(self._limits.looks)
        if purpose.is_break_glass:
            _require_allowed(guards, is_batch=asked.is_batch)
            kind, bounds = Kind.BREAK_GLASS, self._limits.emergencies
        elif guards.needs_approval:
            raise ApprovalRequired
        await charge(connection, number, bounds, asked, kind)
        return Terms(asked.questions, purpose)

    async def _answer(self, look_up: LookUp, opener: Opener, question: Question) -> Answer:
        try:
            found = await look_up.find(question)
            return Answer(question, found.open(opener), found.cloud_patient_id)
        except DatabaseUnavailable:
            raise
        except GatewayError as refusal:
            if not self._asked.is_batch:
                raise
            return Answer(question, refusal=refusal)


async def admit_names(
    connection: "_Connection", event: "AuditEvent", purpose: Purpose, looks: Bounds
) -> None:
    """Check that the event's actor may read a page of names now, and count it as one look.

    Raises:
        ApprovalRequired, InvalidRequest, NotAuthenticated, ReidentifyQuotaExceeded: it may not.
        OrganizationNotFound: there is none by that id.
    """
    number, guards = await safeguards.of(connection, event.organization or "")
    await require_valid_key(connection, event.api_key_id)
    purpose.require_planned()
    if guards.needs_approval:
        raise ApprovalRequired(
            "The organisation wants a second person to approve; names of files cannot be asked "
            "for that way, patients can: POST /reidentify/requests"
        )
    caller, _ = who_of(event)
    await quotas.charge(
        connection, guards.bounds(looks), organization=number, caller=caller, kind=Kind.LOOK
    )


async def charge(
    connection: "_Connection", number: int, bounds: Bounds, asked: Asked, kind: Kind
) -> None:
    """Count the questions of a caller.

    Raises:
        ReidentifyQuotaExceeded, InvalidRequest: they are too many.
    """
    await quotas.charge(
        connection,
        bounds,
        organization=number,
        caller=asked.who[0],
        kind=kind,
        count=len(asked.questions),
    )


async def require_valid_key(connection: "_Connection", api_key_id: str | None) -> None:
    """Check that an API key, where one was shown, was not revoked until now.

    Raises:
        NotAuthenticated: it was.
    """
    if api_key_id is None:
        return
    if await (await connection.execute(_VALID_KEY, [api_key_id])).fetchone() is None:
        raise NotAuthenticated


def _require_allowed(guards: Safeguards, *, is_batch: bool) -> None:
    if is_batch:
        raise InvalidRequest("An emergency is about one patient; ask GET /reidentify")
    if not guards.allows_break_glass:
        raise BreakGlassNotAllowed
