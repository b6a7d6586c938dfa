"""Seals the heads of the chains with signed checkpoints, one process of many at a time."""

import asyncio
import datetime as dt
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import telemetry
from app.audit.checkpoints import Checkpoint, Signer, seal, written
from app.audit.reading import newest
from app.db.models.audit import audit_checkpoints
from app.db.session import Database, database_errors
from app.errors import GatewayError

if TYPE_CHECKING:
    from app.storage.destinations import Destination

MEDIA_TYPE: Final = "application/json"
_LOCK: Final = 4_107_005
_LONGEST_PAUSE_S: Final = 15.0
_CLOSING_S: Final = 5.0

_UNSEALED: Final = text("""
SELECT head.chain, head.seq, head.hash, last.seq AS sealed_seq, last.sealed_at,
    clock_timestamp() AS now
FROM audit_heads AS head
LEFT JOIN LATERAL (
    SELECT seq, sealed_at FROM audit_checkpoints AS sealed WHERE sealed.chain = head.chain
    ORDER BY seq DESC LIMIT 1
) AS last ON true
WHERE head.seq > coalesce(last.seq, 0)
ORDER BY head.chain
""")


class Sealer:
    """Signs where the chains stand, when there is enough new in them.

    Args:
        database: where the chains are.
        signer: makes the signatures.
        every_s: a chain with new rows is sealed when its last checkpoint is so old.
        every_rows: and when it has grown by so many rows.
        destination: where files of checkpoints go as well; None for nowhere.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        *,
        every_s: float = 300.0,
        every_rows: int = 10_000,
        destination: "Destination | None" = None,
    ) -> None:
        self._database = database
        self._signer = signer
        self._every = dt.timedelta(seconds=every_s)
        self._every_rows = every_rows
        self._destination = destination
        self._published = b""

    async def seal(self, *, at_once: bool = False) -> list[Checkpoint]:
        """Seal the chains that are due; nothing while another process does it.

        Args:
            at_once: every chain with new rows is due, and another process is waited for.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        with database_errors():
            async with self._database.engine.begin() as connection:
                if not await _locked(connection, waits=at_once):
                    return []
                found = (await connection.execute(_UNSEALED)).all()
                made = [self._sealed(row) for row in found if at_once or self._is_due(row)]
                if made:
                    await connection.execute(insert(audit_checkpoints), [_row(one) for one in made])
        return made

    async def publish(self) -> None:
        """Write the newest checkpoint of every chain to the destination, whoever sealed it.

        Processes that write the same ones write the same file.

        Raises:
            DatabaseUnavailable, StorageUnavailable, DestinationRefused: as they say.
        """
        if self._destination is None:
            return
        checkpoints = await newest(self._database)
        document = written(checkpoints)
        digest = hashlib.sha256(document)
        if not checkpoints or digest.digest() == self._published:
            return
        sealed_at = max(one.sealed_at for one in checkpoints).astimezone(dt.UTC)
        name = f"checkpoints-{sealed_at:%Y%m%dT%H%M%S}Z-{digest.hexdigest()[:8]}.json"
        with tempfile.TemporaryDirectory(prefix="deid-checkpoint-") as directory:
            staged = Path(directory) / "checkpoints.json"
            await asyncio.to_thread(staged.write_bytes, document)
            await self._destination.put(
                name,
                staged,
                size=len(document),
                sha256=digest.digest(),
                attributes={},
                content_type=MEDIA_TYPE,
                is_resumed=True,
            )
            await self._destination.flush([name])
        self._published = digest.digest()

    async def run(self, stop: asyncio.Event) -> None:
        """Seal whenever it is due until told to stop, and then once more.

        What does not work now is told and tried again.
        """
        pause_s = min(self._every.total_seconds(), _LONGEST_PAUSE_S)
        while not stop.is_set():
            await self._round()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._round(at_once=True)
        except TimeoutError:
            telemetry.log().warning("audit-not-sealed-at-the-end")

    async def _round(self, *, at_once: bool = False) -> None:
        try:
            await self.seal(at_once=at_once)
            await self.publish()
        except GatewayError as error:
            telemetry.log().warning("audit-not-sealed", code=error.code)

    def _is_due(self, row: Row[Any]) -> bool:
        if row.sealed_at is None:
            return True
        has_grown = row.seq - row.sealed_seq >= self._every_rows
        return bool(has_grown or row.now - row.sealed_at >= self._every)

    def _sealed(self, row: Row[Any]) -> Checkpoint:
        return seal(
            self._signer, chain=row.chain, seq=row.seq, row_hash=row.hash, sealed_at=row.now
        )


async def _locked(connection: AsyncConnection, *, waits: bool) -> bool:
    if waits:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        return True
    tried = text("SELECT pg_try_advisory_xact_lock(:key)")
    return bool((await connection.execute(tried, {"key": _LOCK})).scalar_one())


def _row(one: Checkpoint) -> dict[str, object]:
    return {
        "chain": one.chain,
        "seq": one.seq,
        "hash": one.hash,
        "sealed_at": one.sealed_at,
        "key_id": one.key_id,
        "signature": one.signature,
    }
