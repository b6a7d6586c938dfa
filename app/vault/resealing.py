"""Sealing anew what older keys sealed: data keys in batches, on a live system.

The rows themselves say what is left to do, so a run that was killed is simply started again. What
batches keep sealed for their workers is in `app.batches.resealing`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from app.db.session import Database, database_errors
from app.errors import KeyUnavailable
from app.vault.keys import GatewayKeys
from app.vault.sealing import Opener, SealedDataKey
from app.vault.sealing_kems import SealingKey

AT_ONCE: Final = 500

_VERSIONS: Final = "SELECT key_version, count(*) FROM data_keys GROUP BY key_version ORDER BY 1"
_OLD: Final = """
SELECT k.id, o.id, k.key_version, k.sealed
FROM data_keys AS k JOIN organizations AS o ON o.number = k.organization
WHERE k.id > %s AND k.key_version <> %s ORDER BY k.id LIMIT %s
"""
# A key that somebody erased or sealed anew meanwhile is left as it is.
_RESEAL: Final = """
WITH wanted AS (
    SELECT k.id, new.sealed FROM data_keys AS k
    JOIN unnest(%s::bigint[], %s::smallint[], %s::bytea[]) AS new (id, key_version, sealed)
        ON new.id = k.id AND new.key_version = k.key_version
    ORDER BY k.id FOR UPDATE OF k
)
UPDATE data_keys AS k SET sealed = wanted.sealed, key_version = %s
FROM wanted WHERE k.id = wanted.id
"""

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction did.

    Attributes:
        resealed: rows that it sealed anew.
        unopenable: rows that no key held here opens; they are left as they are.
    """

    resealed: int
    unopenable: int = 0


async def data_key_versions(database: Database) -> dict[int, int]:
    """Count the data keys by the key version that they are sealed to.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        connection = await database.connect()
        async with connection:
            await connection.execute("SET statement_timeout = 0")
            found = await (await connection.execute(_VERSIONS)).fetchall()
    return {int(str(version)): int(str(count)) for version, count in found}


async def reseal_data_keys(
    database: Database, opener: Opener, keys: GatewayKeys, at_once: int = AT_ONCE
) -> AsyncIterator[Step]:
    """Seal every data key to the newest public key; yield after every committed transaction.

    Goes round until a round finds nothing that it could change, because processes that have not
    heard of the new key yet may add rows meanwhile.

    Raises:
        DatabaseUnavailable: Postgres does not answer; what was done stays done.
    """
    to = SealingKey(keys.sealing_public_key)
    version = keys.sealing_key_version
    with database_errors():
        connection = await database.connect()
        async with connection:
            await connection.execute("SET statement_timeout = 0")
            has_changed = True
            while has_changed:
                has_changed, last = False, -1
                while old := await _read(connection, last, version, at_once):
                    last = old[-1].data_key_id
                    new = [_resealed(opener, one, version, to) for one in old]
                    done = await _write(connection, old, new, version)
                    has_changed = has_changed or done > 0
                    yield Step(done, sum(1 for one in new if one is None))


def _resealed(
    opener: Opener, stored: SealedDataKey, version: int, to: SealingKey
) -> SealedDataKey | None:
    try:
        return opener.resealed(stored, version, to)
    except KeyUnavailable:
        return None


async def _read(
    connection: _Connection, after: int, version: int, limit: int
) -> list[SealedDataKey]:
    found = await (await connection.execute(_OLD, [after, version, limit])).fetchall()
    await connection.commit()
    return [SealedDataKey(*row) for row in found]


async def _write(
    connection: _Connection,
    old: list[SealedDataKey],
    new: list[SealedDataKey | None],
    version: int,
) -> int:
    pairs = [(was, now) for was, now in zip(old, new, strict=True) if now is not None]
    ids = [was.data_key_id for was, _ in pairs]
    versions = [was.key_version for was, _ in pairs]
    sealed = [now.sealed for _, now in pairs]
    done = await connection.execute(_RESEAL, [ids, versions, sealed, version])
    await connection.commit()
    return done.rowcount
