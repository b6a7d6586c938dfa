"""One transaction for all that belongs together: counts, rows that are read, and the audit."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from app.db.session import Database, database_errors
from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import psycopg

    from app.audit.events import AuditEvent
    from app.vault.repository import Trail

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]


# Looks of one caller wait for each other, each with a connection in its hand: the pool must have
# some left for everybody else.
AT_ONCE: Final = 3


class Recorder:
    """Lends transactions, a few at once, and writes the audit in them.

    Args:
        database: the gateway's.
        trail: makes what appends audit rows; it remembers nothing from one transaction to another.
    """

    def __init__(self, database: Database, trail: "Callable[[], Trail]") -> None:
        self._database = database
        self._trail = trail
        self._slots = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[_Connection]":
        """Lend a connection in a transaction that is committed at the end.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; nothing is known to be committed.
        """
        with database_errors():
            async with self._slots, self._database.engine.begin() as pooled:
                raw = (await pooled.get_raw_connection()).driver_connection
                if raw is None:
                    raise DatabaseUnavailable
                yield raw

    async def append(self, connection: "_Connection", events: "Sequence[AuditEvent]") -> None:
        """Append events to their chains. Last in a transaction: it holds the chains' heads."""
        if events:
            trail = self._trail()
            await trail.append(connection, await trail.lock(connection, events), events)
