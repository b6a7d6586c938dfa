"""What one more object costs the mapping when many are in it already: the largest table there is.

Replacement UIDs are random, so every row goes to another page of the index: once the index is
larger than memory, each costs a page read, and after every checkpoint a page written ahead whole.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from app.bootstrap import Gateway
from app.vault.mapping import Originals
from bench.house import GIB, ORGANIZATION, House, house, scratch
from bench.mapping import originals, record
from bench.report import Table

COLUMNS: Final = (
    "objects in the mapping",
    "objects/s",
    "database CPU ms per object",
    "WAL bytes per object",
    "pages written whole per object",
    "bytes per object",
)
COUNTS: Final = (0, 1_000_000, 20_000_000)
RECORDS: Final = 20_000
LANES: Final = 64
_STEP: Final = 1_000_000
_BYTES: Final = 400
_FILL: Final = """
INSERT INTO instances (data_key, organization, uid, series_uid, lookup, sealed)
SELECT 1, number, gen_random_uuid(), gen_random_uuid(), substr(sha256(n::text::bytea), 1, 16),
    sha256(n::text::bytea) || sha256((n || 'a')::bytea) || sha256((n || 'b')::bytea)
FROM organizations, generate_series(1, %(count)s) AS n
WHERE id = %(organization)s
"""


def measure(*, base: Path | None, scale: float) -> Table:
    """Record objects in an empty mapping and in fuller and fuller ones."""
    table = Table("One more object in a mapping of many", COLUMNS, key="instances")
    most = round(COUNTS[-1] * scale)
    source = originals()
    with scratch(base, needed_bytes=4 * GIB + most * _BYTES) as folder, house(folder) as lent:
        asyncio.run(_record(lent, islice(source, LANES)))  # makes the organisation
        there = 0
        for whole in COUNTS:
            count = round(whole * scale)
            _fill(lent, count - there)
            there = count
            lent.run("CHECKPOINT")
            _add_row(table, lent, there, list(islice(source, RECORDS)))
            there += RECORDS
    table.notes.append(
        f"{RECORDS:,} objects each, {LANES} at once from one process, right after a checkpoint, "
        "with 128 MB of buffers in the database. Mapping and audit as in a batch."
    )
    return table


def _fill(lent: House, count: int) -> None:
    for first in range(0, count, _STEP):
        lent.run(_FILL, count=min(_STEP, count - first), organization=ORGANIZATION)


def _add_row(table: Table, lent: House, there: int, given: Sequence[Originals]) -> None:
    before, usage, began = _written(lent), lent.usage(), time.perf_counter()
    asyncio.run(_record(lent, iter(given)))
    seconds = time.perf_counter() - began
    cpu_s = lent.usage().since(usage).database_s
    after = _written(lent)
    wal = (after["bytes"] - before["bytes"]) / len(given)
    pages = (after["pages"] - before["pages"]) / len(given)
    size = lent.query("SELECT pg_total_relation_size('instances') AS n")[0]["n"]
    table.add(
        [
            f"{there:,}",
            f"{len(given) / seconds:,.0f}",
            f"{cpu_s / len(given) * 1e3:.3f}",
            f"{wal:,.0f}",
            f"{pages:.2f}",
            f"{size / max(1, there + len(given)):.0f}",
        ],
        objects=there,
        objects_per_s=len(given) / seconds,
        cpu_ms_database=cpu_s / len(given) * 1e3,
        wal_bytes=wal,
        pages=pages,
        bytes_per_object=size / max(1, there + len(given)),
    )


def _written(lent: House) -> dict[str, int]:
    lent.query("SELECT pg_stat_force_next_flush()")
    return lent.query(
        "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS bytes,"
        " wal_fpi::bigint AS pages FROM pg_stat_wal"
    )[0]


async def _record(lent: House, source: Iterator[Originals]) -> None:
    async with lent.gateway() as gateway:
        await asyncio.gather(*[_lane(gateway, source) for _ in range(LANES)])


async def _lane(gateway: Gateway, source: Iterator[Originals]) -> None:
    for one in source:
        await record(gateway.vault, one, None)
