"""Whether the audit is whole: every chain derived again from its rows, against its checkpoints.

It needs no key but public ones, and memory for one page of rows, however long a chain is.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, literal, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.chain import GENESIS, OWN_CHAIN, canonical, facts_of_row, link
from app.audit.checkpoints import Checkpoint, Keys
from app.db.models.audit import audit_checkpoints, audit_events, audit_heads
from app.db.session import Database, database_errors

_READ_AT_ONCE: Final = 2000


class Break(StrEnum):
    """How a chain is broken."""

    ALTERED = "altered"  # a row does not follow from the row before: changed or reordered
    MISSING = "missing"  # rows are gone, in the middle or at the end
    APPENDED = "appended"  # there are rows behind the head
    NO_HEAD = "no-head"  # the head is gone or does not fit the last row
    REWRITTEN = "rewritten"  # rows fit each other but not what was sealed
    FORGED = "forged-checkpoint"  # no trusted key signed a checkpoint of the database


@dataclass(frozen=True, slots=True)
class Verification:
    """What the check of one chain found.

    Attributes:
        organization: whose chain; None is the gateway's own.
        events: rows that were found intact.
        broken_at: number of the first row that is wrong or missing; None for an intact chain.
        problem: how it is broken; None for an intact chain.
        checkpoints: checkpoints that the rows were found to agree with.
        sealed: number of the last row that a checkpoint vouches for; 0 where there is none.
    """

    organization: str | None
    events: int
    broken_at: int | None = None
    problem: Break | None = None
    checkpoints: int = 0
    sealed: int = 0

    @property
    def is_intact(self) -> bool:
        """Nothing was found that should not be."""
        return self.problem is None


async def verify(
    database: Database,
    organization: str | None,
    *,
    keys: Keys | None = None,
    held: Sequence[Checkpoint] = (),
) -> Verification:
    """Derive one chain again from its rows and report the first break.

    Args:
        database: where the rows are.
        organization: whose chain; None is the gateway's own.
        keys: what the database's checkpoints must be signed with; None does not check signatures.
        held: checkpoints that were kept elsewhere and are trusted.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    chain = organization or OWN_CHAIN
    hashes: dict[int, frozenset[bytes]] = {}
    for one in held:
        if one.chain == chain:
            hashes[one.seq] = hashes.get(one.seq, frozenset()) | {one.hash}
    with database_errors():
        async with database.engine.connect() as connection:
            snapshot = await connection.execution_options(isolation_level="REPEATABLE READ")
            return await _Derivation(snapshot, chain, keys, hashes).run()


async def verify_all(
    database: Database, *, keys: Keys | None = None, held: Sequence[Checkpoint] = ()
) -> AsyncIterator[Verification]:
    """Verify every chain that has a head, rows or checkpoints, here or elsewhere.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        async with database.engine.connect() as connection:
            chains = union(
                *[select(table.c.chain) for table in (audit_heads, audit_events, audit_checkpoints)]
            )
            names = set((await connection.execute(chains)).scalars())
    for name in sorted(names | {one.chain for one in held}):
        yield await verify(database, name or None, keys=keys, held=held)


class _Derivation:
    """One walk along one chain, page by page."""

    def __init__(
        self,
        connection: AsyncConnection,
        chain: str,
        keys: Keys | None,
        held: Mapping[int, frozenset[bytes]],
    ) -> None:
        self._connection = connection
        self._chain = chain
        self._keys = keys
        self._held = held
        self._hash = GENESIS
        self._found = Verification(chain or None, 0)

    async def run(self) -> Verification:
        """Walk to the end or to the first break."""
        head = await self._head()
        while rows := await self._page():
            sealed = await self._checkpoints(rows[-1].seq)
            if not all(self._take(row, sealed.get(row.seq)) for row in rows):
                return self._found
        if self._agrees_with_head(head):
            await self._look_behind()
        return self._found

    def _take(self, row: Row[Any], checkpoint: Checkpoint | None) -> bool:
        """Go one row further, or say how it is wrong."""
        following = self._found.events + 1
        if row.seq != following:
            return self._break(following, Break.MISSING)
        facts = facts_of_row(row._asdict(), seq=row.seq, recorded_at=row.recorded_at)
        derived = link(self._hash, canonical(facts))
        if derived != row.hash:
            return self._break(row.seq, Break.ALTERED)
        if problem := self._against_checkpoints(row.seq, derived, checkpoint):
            return self._break(row.seq, problem)
        self._hash = derived
        self._found = replace(self._found, events=row.seq)
        return True

    def _against_checkpoints(
        self, seq: int, derived: bytes, checkpoint: Checkpoint | None
    ) -> Break | None:
        if checkpoint is not None:
            if self._keys is not None and not checkpoint.is_signed_by(self._keys):
                return Break.FORGED
            if checkpoint.hash != derived:
                return Break.REWRITTEN
        held = self._held.get(seq, frozenset())
        if held - {derived}:
            return Break.REWRITTEN
        agreeing = (checkpoint is not None) + len(held)
        if agreeing:
            self._found = replace(
                self._found, checkpoints=self._found.checkpoints + agreeing, sealed=seq
            )
        return None

    def _agrees_with_head(self, head: tuple[int, bytes] | None) -> bool:
        last = self._found.events
        if head is None:
            return not last or self._break(last, Break.NO_HEAD)
        if head[0] > last:
            return self._break(last + 1, Break.MISSING)
        if head[0] < last:
            self._found = replace(self._found, events=head[0])
            return self._break(head[0] + 1, Break.APPENDED)
        return head[1] == self._hash or self._break(last, Break.NO_HEAD)

    async def _look_behind(self) -> None:
        """A checkpoint of rows that are not there says that there were more."""
        last = self._found.events
        behind = select(audit_checkpoints.c.seq).where(
            audit_checkpoints.c.chain == literal(self._chain), audit_checkpoints.c.seq > last
        )
        in_table = (await self._connection.execute(behind.limit(1))).first() is not None
        if in_table or any(seq > last for seq in self._held):
            self._break(last + 1, Break.MISSING)

    def _break(self, seq: int, problem: Break) -> bool:
        self._found = replace(self._found, broken_at=seq, problem=problem)
        return False

    async def _head(self) -> tuple[int, bytes] | None:
        wanted = select(audit_heads.c.seq, audit_heads.c.hash).where(
            audit_heads.c.chain == literal(self._chain)
        )
        row = (await self._connection.execute(wanted)).one_or_none()
        return (row.seq, row.hash) if row else None

    async def _page(self) -> Sequence[Row[Any]]:
        wanted = select(audit_events).where(audit_events.c.chain == literal(self._chain))
        if self._found.events:  # the first page begins wherever the rows do
            wanted = wanted.where(audit_events.c.seq > self._found.events)
        page = wanted.order_by(audit_events.c.seq).limit(_READ_AT_ONCE)
        return (await self._connection.execute(page)).all()

    async def _checkpoints(self, last: int) -> dict[int, Checkpoint]:
        """Read what was sealed in the page that is looked at."""
        wanted = select(audit_checkpoints).where(
            audit_checkpoints.c.chain == literal(self._chain),
            audit_checkpoints.c.seq > self._found.events,
            audit_checkpoints.c.seq <= last,
        )
        rows = (await self._connection.execute(wanted)).all()
        return {row.seq: Checkpoint(**row._asdict()) for row in rows}
