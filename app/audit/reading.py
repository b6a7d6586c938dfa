"""Reads the audit for people and exports: pages of one chain, by filters, at a bounded cost.

Whoever calls this puts it into the audit that it was read.
"""

import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, FromClause, Row, Select, and_, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.chain import OWN_CHAIN, canonical, facts_of_row
from app.audit.checkpoints import Checkpoint
from app.db.models.audit import audit_checkpoints, audit_events
from app.db.session import Database, database_errors
from app.errors import InvalidRequest

MOST_LOOKED_AT: Final = 50_000
"""Rows that one page looks at for those that match; it may come back short and say go on."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CURSOR: Final = re.compile(r"(-?[0-9]{1,18})-([0-9]{1,19})")
_MOST_EVENTS: Final = 2**63 - 1
_NO_DETAIL: Final[Mapping[str, str | int]] = MappingProxyType({})
_BY_VALUE: Final = ("action", "outcome", "actor", "cloud_study_id", "request_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One row of the audit; nothing in it identifies a patient."""

    chain: str
    seq: int
    recorded_at: dt.datetime
    action: str
    outcome: str
    actor: str
    api_key_id: str | None = None
    profile: str | None = None
    profile_version: str | None = None
    cloud_study_id: str | None = None
    sop_instance_uid: str | None = None
    purpose: str | None = None
    request_id: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=lambda: _NO_DETAIL)
    hash: bytes = b""

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Take a row of the table."""
        columns = {one.name: getattr(row, one.name) for one in fields(cls)}
        return cls(**{**columns, "detail": columns["detail"] or _NO_DETAIL})

    @property
    def organization(self) -> str | None:
        """Whose event it is; None is the gateway's own."""
        return self.chain or None

    def canonical(self) -> str:
        """Return the text that was hashed."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        return canonical(facts_of_row(columns, seq=self.seq, recorded_at=self.recorded_at))


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a chain in the order of time."""

    recorded_at: dt.datetime
    seq: int

    def __str__(self) -> str:
        since = (self.recorded_at - _EPOCH) // dt.timedelta(microseconds=1)
        return f"{since}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a page named.

        Raises:
            InvalidRequest: no page named this.
        """
        match = _CURSOR.fullmatch(text)
        try:
            if match is not None and int(match[2]) <= _MOST_EVENTS:
                since = dt.timedelta(microseconds=int(match[1]))
                return cls(_EPOCH + since, int(match[2]))
        except OverflowError:
            pass
        raise InvalidRequest("This is not a position that an earlier page named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events; what is None does not matter.

    Attributes:
        since: the earliest moment.
        until: the moment that is too late.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    action: str | None = None
    outcome: str | None = None
    actor: str | None = None
    cloud_study_id: str | None = None
    request_id: str | None = None

    @property
    def is_of_values(self) -> bool:
        """Whether rows must be looked at to know."""
        return any(getattr(self, name) is not None for name in _BY_VALUE)


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, and where to go on; None where there are no more."""

    events: tuple[StoredEvent, ...]
    following: Position | None


class AuditReader:
    """Reads chains.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        organization: str | None,
        wanted: Filter,
        *,
        behind: Position | None = None,
        limit: int = 100,
        oldest_first: bool = False,
    ) -> Page:
        """Return the next events, the newest first.

        A page may be short, even empty, and still name where to go on.

        Args:
            organization: whose; None is the gateway's own chain.
            wanted: which.
            behind: where the page before ended.
            limit: most events of the page.
            oldest_first: the other way round.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        looked = _Looked(organization or OWN_CHAIN, wanted, behind, is_ascending=oldest_first)
        with database_errors():
            async with self._database.engine.connect() as connection:
                rows = (await connection.execute(looked.matching(limit + 1))).all()
                if len(rows) > limit:
                    following: Position | None = Position(
                        rows[limit - 1].recorded_at, rows[limit - 1].seq
                    )
                else:
                    following = await looked.rest(connection)
        return Page(tuple(StoredEvent.of(row) for row in rows[:limit]), following)

    async def checkpoints(self, organization: str) -> list[Checkpoint]:
        """Return the newest checkpoint of a chain; none where nothing was sealed yet.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return await newest(self._database, [organization])

    async def events(
        self, organization: str | None, wanted: Filter, *, at_once: int = 1000
    ) -> AsyncIterator[StoredEvent]:
        """Yield all that match, the oldest first, holding one page at a time.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        behind: Position | None = None
        while True:
            page = await self.page(
                organization, wanted, behind=behind, limit=at_once, oldest_first=True
            )
            for event in page.events:
                yield event
            behind = page.following
            if behind is None:
                return


async def newest(database: Database, chains: Sequence[str] | None = None) -> list[Checkpoint]:
    """Read the last checkpoint of each chain, or of some.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    table = audit_checkpoints.c
    last = select(table.chain, func.max(table.seq).label("seq")).group_by(table.chain)
    if chains is not None:
        last = last.where(table.chain.in_(chains))
    here = last.subquery()
    wanted = (
        select(audit_checkpoints)
        .join(here, and_(table.chain == here.c.chain, table.seq == here.c.seq))
        .order_by(table.chain)
    )
    with database_errors():
        async with database.engine.connect() as connection:
            rows = (await connection.execute(wanted)).all()
    return [Checkpoint(**row._asdict()) for row in rows]


class _Looked:
    """The part of a chain that one page looks at."""

    def __init__(
        self, chain: str, wanted: Filter, behind: Position | None, *, is_ascending: bool
    ) -> None:
        self._wanted = wanted
        self._is_ascending = is_ascending
        # An index leads to the rows of a study: all of them are looked at.
        self._is_bounded = wanted.is_of_values and wanted.cloud_study_id is None
        table = audit_events.c
        conditions = [table.chain == literal(chain)]
        if wanted.since is not None:
            conditions.append(table.recorded_at >= wanted.since)
        if wanted.until is not None:
            conditions.append(table.recorded_at < wanted.until)
        if behind is not None:
            here = tuple_(table.recorded_at, table.seq)
            there = tuple_(literal(behind.recorded_at), literal(behind.seq))
            conditions.append(here > there if is_ascending else here < there)
        self._within = and_(*conditions)

    def matching(self, limit: int) -> Select[Any]:
        """Select the rows that match, so many at most."""
        source: FromClause = audit_events
        conditions: list[ColumnElement[bool]] = [self._within]
        if self._is_bounded:
            part = select(audit_events).where(self._within)
            source = self._ordered(part, audit_events).limit(MOST_LOOKED_AT).subquery()
            conditions = []
        for name in _BY_VALUE:
            value = getattr(self._wanted, name)
            if value is not None:
                conditions.append(source.c[name] == value)
        return self._ordered(select(source).where(*conditions), source).limit(limit)

    async def rest(self, connection: AsyncConnection) -> Position | None:
        """Return the last row that was looked at, if there are rows behind it."""
        if not self._is_bounded:
            return None
        table = audit_events.c
        last = self._ordered(select(table.recorded_at, table.seq).where(self._within), audit_events)
        found = (await connection.execute(last.offset(MOST_LOOKED_AT - 1).limit(2))).all()
        return Position(found[0].recorded_at, found[0].seq) if len(found) == 2 else None

    def _ordered(self, statement: Select[Any], source: FromClause) -> Select[Any]:
        order = (source.c.recorded_at, source.c.seq)
        if not self._is_ascending:
            return statement.order_by(*(column.desc() for column in order))
        return statement.order_by(*order)
