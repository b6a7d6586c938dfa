"""Four eyes: questions that wait for a second person, and what became of them. Rows only.

Whoever calls these functions holds the transaction and writes the audit in it.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from app.errors import (
    AlreadyDecided,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalNotFound,
    ApprovalPending,
    ApprovalUsed,
    GatewayError,
    OwnRequest,
)
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import Question

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

KEPT: Final = dt.timedelta(days=90)
"""Requests are forgotten after this time; the audit keeps what became of them."""

_COLUMNS: Final = """
    id, caller, actor, questions, purpose, reason, reference, requested_at, expires_at, decision,
    decided_by, decided_at, valid_until, used_at, clock_timestamp()
"""
_ADD: Final = """
INSERT INTO reidentify_requests (
    id, organization, caller, actor, questions, purpose, reason, reference, requested_at, expires_at
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp() + %s)
"""
_FORGET: Final = """
DELETE FROM reidentify_requests WHERE organization = %s AND requested_at < clock_timestamp() - %s
"""
_ONE: Final = f"SELECT {_COLUMNS} FROM reidentify_requests WHERE organization = %s AND id = %s"  # noqa: S608 - constants
_MANY: Final = f"""
SELECT {_COLUMNS} FROM reidentify_requests
WHERE organization = %s AND (%s::text IS NULL OR caller = %s)
    AND (%s::uuid IS NULL OR (requested_at, id) <
        (SELECT requested_at, id FROM reidentify_requests WHERE organization = %s AND id = %s))
    AND CASE %s WHEN 'pending' THEN decision IS NULL AND expires_at > clock_timestamp()
        WHEN 'approved' THEN
            decision = 'approved' AND used_at IS NULL AND valid_until > clock_timestamp()
        WHEN 'denied' THEN decision = 'denied'
        WHEN 'used' THEN used_at IS NOT NULL
        WHEN 'expired' THEN used_at IS NULL AND decision IS DISTINCT FROM 'denied'
            AND coalesce(valid_until, expires_at) <= clock_timestamp()
        ELSE true END
ORDER BY requested_at DESC, id DESC LIMIT %s
"""  # noqa: S608 - constants
_DECIDE: Final = """
UPDATE reidentify_requests SET decision = %s, decider = %s, decided_by = %s,
    decided_at = clock_timestamp(), valid_until = clock_timestamp() + %s
WHERE id = %s
"""
_USE: Final = "UPDATE reidentify_requests SET used_at = clock_timestamp() WHERE id = %s"


class State(StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"


class Decision(StrEnum):
    """What a second person says."""

    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Approval:
    """One request and what became of it; pseudonyms alone.

    Attributes:
        caller: who asked, as quotas count callers.
        actor: who asked, as the audit names callers.
        expires_at: when it is too late to decide.
        valid_until: when it is too late to get the answer; None before the approval.
        now: when this was read.
    """

    request_id: UUID
    caller: str
    actor: str
    questions: tuple[Question, ...]
    purpose: Purpose
    requested_at: dt.datetime
    expires_at: dt.datetime
    decision: Decision | None
    decided_by: str | None
    decided_at: dt.datetime | None
    valid_until: dt.datetime | None
    used_at: dt.datetime | None
    now: dt.datetime

    @property
    def state(self) -> State:
        """Where it stands at `now`."""
        if self.used_at is not None:
            return State.USED
        if self.decision is Decision.DENIED:
            return State.DENIED
        until = self.expires_at if self.valid_until is None else self.valid_until
        if until <= self.now:
            return State.EXPIRED
        return State.PENDING if self.decision is None else State.APPROVED


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things last.

    Attributes:
        pending: that a request waits for somebody to decide.
        approved: that its answer can be had after the approval.
    """

    pending: dt.timedelta
    approved: dt.timedelta


async def add(
    connection: "_Connection",
    *,
    organization: int,
    who: tuple[str, str],
    questions: Sequence[Question],
    purpose: Purpose,
    pending: dt.timedelta,
) -> UUID:
    """Insert a request of a caller and actor; requests of long ago are forgotten."""
    request_id = uuid4()
    asked = json.dumps([question.given for question in questions])
    await connection.execute(_FORGET, [organization, KEPT])
    await connection.execute(
        _ADD,
        [
            *(request_id, organization, *who, asked),
            *(purpose.code, purpose.reason or None, purpose.reference, pending),
        ],
    )
    return request_id


async def find(
    connection: "_Connection", organization: int, request_id: UUID, *, is_locked: bool = False
) -> Approval:
    """Read one request; locked, nobody else decides or uses it meanwhile.

    Raises:
        ApprovalNotFound: the organisation has none by that id.
    """
    statement = f"{_ONE} FOR UPDATE" if is_locked else _ONE
    row = await (await connection.execute(statement, [organization, request_id])).fetchone()
    if row is None:
        raise ApprovalNotFound
    return _approval(row)


async def listed(
    connection: "_Connection",
    organization: int,
    *,
    caller: str | None,
    state: State | None,
    before: UUID | None,
    limit: int,
) -> list[Approval]:
    """Read requests, the newest first; of one caller or of all."""
    wanted = (organization, caller, caller, before, organization, before, state, limit)
    return [_approval(row) for row in await (await connection.execute(_MANY, wanted)).fetchall()]


async def decide(
    connection: "_Connection",
    approval: Approval,
    decision: Decision,
    *,
    who: tuple[str, str],
    approved: dt.timedelta,
) -> None:
    """Let a second person decide about a locked request.

    Raises:
        OwnRequest: it is no second person.
        ApprovalExpired, AlreadyDecided: it is too late.
    """
    caller, actor = who
    if decision is Decision.APPROVED and is_same_person(approval, who):
        raise OwnRequest
    if approval.state is State.EXPIRED and approval.decision is None:
        raise ApprovalExpired
    if approval.decision is not None:
        raise AlreadyDecided
    valid_for = approved if decision is Decision.APPROVED else None
    await connection.execute(
        _DECIDE, [str(decision), caller, actor, valid_for, approval.request_id]
    )


def require_usable(approval: Approval, caller: str) -> None:
    """Check that a locked request may be answered to a caller now.

    Raises:
        ApprovalNotFound: it is not this caller's.
        ApprovalPending, ApprovalDenied, ApprovalExpired, ApprovalUsed: as it stands.
    """
    if approval.caller != caller:
        raise ApprovalNotFound
    refusals: dict[State, type[GatewayError]] = {
        State.PENDING: ApprovalPending,
        State.DENIED: ApprovalDenied,
        State.EXPIRED: ApprovalExpired,
        State.USED: ApprovalUsed,
    }
    refusal = refusals.get(approval.state)
    if refusal is not None:
        raise refusal


async def use(connection: "_Connection", approval: Approval) -> None:
    """Note that a locked request was answered."""
    await connection.execute(_USE, [approval.request_id])


def is_same_person(approval: Approval, who: tuple[str, str]) -> bool:
    """Tell whether somebody asked for this: by the key, or by another key of the same name."""
    caller, actor = who
    return caller == approval.caller or actor.lower() == approval.actor.lower()


def _approval(row: tuple[Any, ...]) -> Approval:
    request_id, caller, actor, questions, code, reason, reference = row[:7]
    requested_at, expires_at, decision, decided_by, decided_at, valid_until, used_at, now = row[7:]
    return Approval(
        request_id=request_id,
        caller=caller,
        actor=actor,
        questions=tuple([Question(**question) for question in questions]),
        purpose=Purpose(code, reference, reason or ""),
        requested_at=requested_at,
        expires_at=expires_at,
        decision=None if decision is None else Decision(decision),
        decided_by=decided_by,
        decided_at=decided_at,
        valid_until=valid_until,
        used_at=used_at,
        now=now,
    )
