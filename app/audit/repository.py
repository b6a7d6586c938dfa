"""The audit's rows: appended inside somebody's transaction, verified by reading them all again."""

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, literal, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.chain import GENESIS, OWN_CHAIN, canonical, chain_of, facts_of, facts_of_row, link
from app.audit.events import AuditEvent
from app.db.models import audit_events, audit_heads
from app.db.session import Database, database_errors
from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    _Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

_READ_AT_ONCE: Final = 1000

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


class Break(StrEnum):
    """How a chain is broken."""

    ALTERED = "altered"  # a row does not follow from the row before: changed or reordered
    MISSING = "missing"  # rows are gone, in the middle or at the end
    APPENDED = "appended"  # there are rows behind the head
    NO_HEAD = "no-head"  # the head is gone or does not fit the last row


@dataclass(frozen=True, slots=True)
class Verification:
    """What the check of one chain found.

    Attributes:
        organization: whose chain; None is the gateway's own.
        events: rows that were found intact.
        broken_at: number of the first row that is wrong or missing; None for an intact chain.
        problem: how it is broken; None for an intact chain.
    """

    organization: str | None
    events: int
    broken_at: int | None = None
    problem: Break | None = None

    @property
    def is_intact(self) -> bool:
        return self.problem is None


async def verify(database: Database, organization: str | None) -> Verification:
    """Derive one chain again from its rows, streaming, and report the first break.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        async with database.engine.connect() as connection:
            snapshot = await connection.execution_options(isolation_level="REPEATABLE READ")
            return await _verify(snapshot, organization)


async def verify_all(database: Database) -> AsyncIterator[Verification]:
    """Verify every chain that has a head or rows.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        async with database.engine.connect() as connection:
            chains = union(select(audit_heads.c.chain), select(audit_events.c.chain))
            names = sorted((await connection.execute(chains)).scalars())
    for name in names:
        yield await verify(database, name or None)


async def _verify(connection: AsyncConnection, organization: str | None) -> Verification:
    chain = organization or OWN_CHAIN
    of_chain = audit_heads.c.chain == literal(chain)
    head = (
        await connection.execute(select(audit_heads.c.seq, audit_heads.c.hash).where(of_chain))
    ).one_or_none()
    wanted = (
        select(audit_events)
        .where(audit_events.c.chain == literal(chain))
        .order_by(audit_events.c.seq)
        .execution_options(yield_per=_READ_AT_ONCE)
    )
    seq, previous = 0, GENESIS
    async with connection.stream(wanted) as rows:
        async for row in rows:
            if row.seq != seq + 1:
                return Verification(organization, seq, seq + 1, Break.MISSING)
            derived = _derived(row, previous)
            if derived != row.hash:
                return Verification(organization, seq, row.seq, Break.ALTERED)
            seq, previous = row.seq, derived
    return _against_head(organization, (seq, previous), (head.seq, head.hash) if head else None)


def _derived(row: Row[Any], previous: bytes) -> bytes:
    columns = row._asdict()
    facts = facts_of_row(columns, seq=row.seq, recorded_at=row.recorded_at)
    return link(previous, canonical(facts))


def _against_head(
    organization: str | None, last: tuple[int, bytes], head: tuple[int, bytes] | None
) -> Verification:
    seq, last_hash = last
    if head is None:
        problem = Break.NO_HEAD if seq else None
        return Verification(organization, seq, seq if seq else None, problem)
    if head[0] > seq:
        return Verification(organization, seq, seq + 1, Break.MISSING)
    if head[0] < seq:
        return Verification(organization, head[0], head[0] + 1, Break.APPENDED)
    if head[1] != last_hash:
        return Verification(organization, seq, seq, Break.NO_HEAD)
    return Verification(organization, seq)
