"""The audit's rows as they are appended, inside somebody's transaction.

They are read again in `verifying` (whether they are whole) and `reading` (for people).
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from app.audit.chain import canonical, chain_of, facts_of, link
from app.audit.events import AuditEvent
from app.db.session import Database, database_errors
from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    _Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

_BEGIN_CHAINS: Final = """
INSERT INTO audit_heads (chain, seq, hash)
SELECT chain, 0, decode(repeat('00', 32), 'hex') FROM unnest(%s::text[]) AS new (chain)
ORDER BY chain ON CONFLICT DO NOTHING
"""
_LOCK_HEADS: Final = """
SELECT chain, seq, hash, clock_timestamp() FROM audit_heads
WHERE chain = ANY(%s) ORDER BY chain FOR UPDATE
"""
_APPEND: Final = """
WITH appended AS (
    INSERT INTO audit_events (
        chain, seq, recorded_at, action, outcome, actor, api_key_id, profile, profile_version,
        cloud_study_id, sop_instance_uid, purpose, request_id, detail, hash
    )
    SELECT
        chain, seq, recorded_at, action, outcome, actor, api_key_id, profile, profile_version,
        cloud_study_id, sop_instance_uid, purpose, request_id, detail, decode(hash, 'hex')
    FROM json_to_recordset(%s::json) AS event (
        chain text, seq bigint, recorded_at timestamptz, action text, outcome text, actor text,
        api_key_id text, profile text, profile_version text, cloud_study_id text,
        sop_instance_uid text, purpose text, request_id text, detail jsonb, hash text
    )
)
UPDATE audit_heads SET seq = head.seq, hash = decode(head.hash, 'hex')
FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS head (chain, seq, hash)
WHERE audit_heads.chain = head.chain
"""


class AuditTrail:
    """Appends events to their chains within a transaction of the caller.

    Call `lock`, then `append` with what it returned, then commit; both only queue statements when
    the connection is in pipeline mode. After a rollback call `forget`.
    """

    def __init__(self) -> None:
        self._begun: set[str] = set()

    async def lock(self, connection: "_Connection", events: Sequence[AuditEvent]) -> "_Cursor":
        """Lock the heads of the events' chains, always in the same order."""
        chains = sorted({chain_of(event) for event in events})
        new = [chain for chain in chains if chain not in self._begun]
        if new:
            await connection.execute(_BEGIN_CHAINS, [new])
            self._begun.update(new)
        return await connection.execute(_LOCK_HEADS, [chains])

    async def append(
        self, connection: "_Connection", locked: "_Cursor", events: Sequence[AuditEvent]
    ) -> None:
        """Chain the events, in the order given, onto the locked heads.

        Raises:
            DatabaseUnavailable: a head has vanished; nothing is recorded without one.
        """
        heads: dict[str, tuple[int, bytes]] = {}
        recorded_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        for chain, seq, head_hash, now in await locked.fetchall():
            heads[chain] = (seq, head_hash)
            recorded_at = max(recorded_at, now)
        if not all(chain_of(event) in heads for event in events):
            raise DatabaseUnavailable("an audit chain has lost its head; run 'audit verify'")
        rows = ",".join(_chained(events, heads, recorded_at))
        await connection.execute(
            _APPEND,
            [
                f"[{rows}]",
                list(heads),
                [seq for seq, _ in heads.values()],
                [head_hash.hex() for _, head_hash in heads.values()],
            ],
        )

    async def record(
        self,
        connection: "_Connection",
        *,
        action: str,
        organization: str,
        actor: str,
        detail: Mapping[str, str | int],
    ) -> None:
        """Append one event that is described by its facts, in the caller's transaction."""
        event = AuditEvent(action=action, organization=organization, actor=actor, detail=detail)
        self.forget()
        await self.append(connection, await self.lock(connection, [event]), [event])

    def forget(self) -> None:
        """Take nothing for granted about which chains have begun."""
        self._begun.clear()


async def record_alone(database: Database, event: AuditEvent) -> None:
    """Make one event durable in a transaction of its own; committed on return.

    Raises:
        DatabaseUnavailable: Postgres does not answer, or its user may not append.
    """
    trail = AuditTrail()
    with database_errors():
        async with await database.connect() as connection:
            await trail.append(connection, await trail.lock(connection, [event]), [event])


def _chained(
    events: Sequence[AuditEvent],
    heads: dict[str, tuple[int, bytes]],
    recorded_at: dt.datetime,
) -> Iterator[str]:
    """Yield each row as JSON with its hash, moving the heads on."""
    for event in events:
        chain = chain_of(event)
        seq, previous = heads[chain]
        text = canonical(facts_of(event, seq=seq + 1, recorded_at=recorded_at))
        row_hash = link(previous, text)
        heads[chain] = (seq + 1, row_hash)
        yield f'{{"hash":"{row_hash.hex()}",{text[1:]}'
