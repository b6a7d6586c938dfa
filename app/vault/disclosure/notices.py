"""Notices of emergencies: written with the look itself, told at once, and again until taken.

A notice names who looked and why, and the request whose audit rows tell the rest; never a patient,
and no pseudonym of one. Where it goes is decided above.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID, uuid4

from app import telemetry
from app.db.acting import acting_for
from app.errors import DatabaseUnavailable, Unavailable
from app.vault.disclosure.asking import SUCCESS
from app.vault.disclosure.transactions import Recorder

if TYPE_CHECKING:
    import psycopg

    from app.audit.events import AuditEvent

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

LOOK_S: Final = 15.0
# Longer than an attempt may take: nobody else tries meanwhile, and a killed process's are taken up.
_CLAIM_S: Final = 60

_ADD: Final = "INSERT INTO reidentify_notices (id, organization, facts) VALUES (%s, %s, %s)"
_CLAIM: Final = f"""
UPDATE reidentify_notices AS n SET attempts = attempts + 1,
    due_at = now() + interval '{_CLAIM_S} seconds'
FROM organizations AS o
WHERE o.number = n.organization AND n.id = (
    SELECT id FROM reidentify_notices WHERE due_at <= now()
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING n.id, o.id, n.attempts, n.facts
"""  # noqa: S608 - constants
_LATER: Final = """
UPDATE reidentify_notices SET due_at = now() + make_interval(secs => %s) WHERE id = %s
"""
_DONE: Final = "DELETE FROM reidentify_notices WHERE id = %s"


class Receiver(Protocol):
    """Who is told; `app.access.webhooks.Receiver` is it."""

    async def tell(
        self, identity: str, body_fields: Mapping[str, Any], attempt: int
    ) -> tuple[bool, float | None]:
        """Return whether it was taken, and the pause before the next attempt if there is one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One notice that this process tries to deliver now."""

    notice_id: UUID
    organization: str
    attempt: int
    facts: Mapping[str, Any]


class Notices:
    """Tells a receiver of emergencies.

    Args:
        recorder: lends transactions and appends audit rows in them.
        receiver: who is told; None where nobody is named: then log, metrics and audit tell it.
        event: makes the audit event of an organisation's notice.
    """

    def __init__(
        self,
        recorder: Recorder,
        receiver: Receiver | None,
        event: "Callable[[str, str, Mapping[str, str | int]], AuditEvent]",
    ) -> None:
        self._recorder = recorder
        self._receiver = receiver
        self._event = event
        self._news = asyncio.Event()

    async def add(
        self, connection: "_Connection", organization: int, facts: Mapping[str, str]
    ) -> None:
        """Write a notice in the transaction of the look that it is of."""
        if self._receiver is not None:
            await connection.execute(_ADD, [uuid4(), organization, json.dumps(facts)])

    def nudge(self) -> None:
        """Tell at once what was committed just now."""
        self._news.set()

    async def deliver(self) -> int:
        """Try what is due, each once; return how many were taken.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; what was not told stays due.
        """
        taken = 0
        while self._receiver is not None and (claim := await self._claim()) is not None:
            taken += await self._told(claim, self._receiver)
        return taken

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop: at once where this process wrote it, else soon."""
        while not stop.is_set():
            self._news.clear()
            with suppress(DatabaseUnavailable):
                await self.deliver()
            waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._news)]
            await asyncio.wait(waits, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _claim(self) -> Claim | None:
        # For every organisation: what is told holds nothing of a patient.
        async with self._recorder.transaction() as connection:
            row = await (await connection.execute(_CLAIM)).fetchone()
        return None if row is None else Claim(*row)

    async def _told(self, claim: Claim, receiver: Receiver) -> bool:
        is_taken, pause_s = await receiver.tell(str(claim.notice_id), claim.facts, claim.attempt)
        if not is_taken and pause_s is not None:
            async with self._recorder.transaction() as connection:
                await connection.execute(_LATER, [pause_s, claim.notice_id])
            return False
        outcome = SUCCESS if is_taken else Unavailable.code
        if not is_taken:
            telemetry.log().error("break-glass-notice-lost", organization=claim.organization)
        await self._end(claim, outcome)
        return is_taken

    async def _end(self, claim: Claim, outcome: str) -> None:
        detail: dict[str, str | int] = {"notice": str(claim.notice_id), "attempts": claim.attempt}
        event = self._event(claim.organization, outcome, detail)
        with acting_for(claim.organization):
            async with self._recorder.transaction() as connection:
                await connection.execute(_DONE, [claim.notice_id])
                await self._recorder.append(connection, [event])
