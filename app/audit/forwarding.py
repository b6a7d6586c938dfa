"""Forwards the audit to a syslog receiver: from a stored position, one process at a time.

The table is the queue, so that nothing is lost and memory holds one batch. What a receiver may
have got without our knowing is sent again, and every such message says that it is repeated.
"""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import literal, select

from app import telemetry
from app.audit.dicom_messages import audit_message
from app.audit.events import SUCCESS
from app.audit.reading import StoredEvent
from app.audit.syslog import Receiver, frame, own_host
from app.db.models.audit import audit_events, audit_heads
from app.db.session import Database, database_errors
from app.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

AT_ONCE: Final = 500
PAUSE_S: Final = 2.0
SHORTEST_BACK_OFF_S: Final = 1.0
LONGEST_BACK_OFF_S: Final = 60.0
_LOCK: Final = 4_107_006

_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
_POSITION: Final = "SELECT seq, in_doubt FROM audit_forwards WHERE receiver = %s AND chain = %s"
_ANNOUNCE: Final = """
INSERT INTO audit_forwards (receiver, chain, seq, in_doubt) VALUES (%s, %s, 0, %s)
ON CONFLICT (receiver, chain) DO UPDATE
SET in_doubt = greatest(audit_forwards.in_doubt, excluded.in_doubt)
"""
_CONFIRM: Final = """
UPDATE audit_forwards SET seq = %(seq)s, forwarded_at = now(),
    in_doubt = CASE WHEN in_doubt > %(seq)s THEN in_doubt END
WHERE receiver = %(receiver)s AND chain = %(chain)s
"""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What one round did.

    Attributes:
        messages: that the receiver has read.
        repeated: of these, how many it may have had already.
    """

    messages: int = 0
    repeated: int = 0

    def __add__(self, other: "Forwarded") -> "Forwarded":
        return Forwarded(self.messages + other.messages, self.repeated + other.repeated)


class Forwarder:
    """Brings every chain to one receiver.

    Args:
        database: where the chains are.
        receiver: where they go.
        at_once: most messages between two confirmations; bounds the memory.
    """

    def __init__(self, database: Database, receiver: Receiver, *, at_once: int = AT_ONCE) -> None:
        self._database = database
        self._receiver = receiver
        self._at_once = at_once
        self._host = own_host()

    async def forward(self) -> Forwarded | None:
        """Bring the receiver up to date; None where another process is at it.

        Raises:
            AuditReceiverUnavailable: the receiver does not take everything.
            DatabaseUnavailable: Postgres does not answer.
        """
        with database_errors():
            async with self._turn() as connection:
                return None if connection is None else await self._everything(connection)

    async def run(self, stop: asyncio.Event, *, pause_s: float = PAUSE_S) -> None:
        """Forward what comes until told to stop; wait longer and longer while it fails."""
        back_off_s = SHORTEST_BACK_OFF_S
        while not stop.is_set():
            wait_s = pause_s
            try:
                done = await self.forward()
            except GatewayError as error:
                telemetry.log().warning("audit-not-forwarded", code=error.code)
                wait_s, back_off_s = back_off_s, min(2 * back_off_s, LONGEST_BACK_OFF_S)
            else:
                back_off_s = SHORTEST_BACK_OFF_S
                if done is not None and done.repeated:
                    telemetry.log().warning("audit-forwarded-again", count=done.repeated)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)

    async def _everything(self, connection: "_Connection") -> Forwarded:
        done = Forwarded()
        for chain in await self._chains():
            while (batch := await self._batch(connection, chain)).messages:
                done += batch
                if batch.messages < self._at_once:
                    break
        return done

    async def _batch(self, connection: "_Connection", chain: str) -> Forwarded:
        """Send the next rows of one chain.

        1. Store how far the receiver may have come when this is over.
        2. Send, and wait until the receiver has read.
        3. Store how far it has come.
        """
        receiver = self._receiver.name
        position = await (await connection.execute(_POSITION, [receiver, chain])).fetchone()
        seq, in_doubt = position or (0, None)
        events = await self._events(chain, seq)
        if not events:
            return Forwarded()
        last = events[-1].seq
        await connection.execute(_ANNOUNCE, [receiver, chain, last])
        frames = [self._framed(event, is_repeated=event.seq <= (in_doubt or 0)) for event in events]
        await asyncio.to_thread(self._receiver.send, frames)
        await connection.execute(_CONFIRM, {"seq": last, "receiver": receiver, "chain": chain})
        repeated = sum(event.seq <= (in_doubt or 0) for event in events)
        return Forwarded(len(events), repeated)

    def _framed(self, event: StoredEvent, *, is_repeated: bool) -> bytes:
        return frame(
            audit_message(event, is_repeated=is_repeated),
            recorded_at=event.recorded_at,
            is_success=event.outcome == SUCCESS,
            host=self._host,
        )

    async def _chains(self) -> Sequence[str]:
        wanted = select(audit_heads.c.chain).order_by(audit_heads.c.chain)
        async with self._database.engine.connect() as connection:
            return (await connection.execute(wanted)).scalars().all()

    async def _events(self, chain: str, behind: int) -> list[StoredEvent]:
        wanted = (
            select(audit_events)
            .where(audit_events.c.chain == literal(chain), audit_events.c.seq > behind)
            .order_by(audit_events.c.seq)
            .limit(self._at_once)
        )
        async with self._database.engine.connect() as connection:
            return [StoredEvent.of(row) for row in (await connection.execute(wanted)).all()]

    @asynccontextmanager
    async def _turn(self) -> "AsyncIterator[_Connection | None]":
        """Hold a connection that no other process can have for this receiver.

        The lock is gone with the connection; so is the right to store a position.
        """
        async with await self._database.connect() as connection:
            await connection.set_autocommit(True)
            tried = await connection.execute(_TRY_LOCK, [_LOCK, self._receiver.name])
            is_mine = await tried.fetchone()
            yield connection if is_mine and is_mine[0] else None
