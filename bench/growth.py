"""Batches of 100 to 50,000 files: does the time grow as the files do, and what do they leave."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.archive import PER_STUDY, Archive, make
from bench.house import House, house, scratch
from bench.plot import Series, log_log
from bench.report import Table
from bench.workspace import Workspace

COUNTS: Final = (100, 1_000, 10_000, 50_000)
PROCESSES: Final = 2
COLUMNS: Final = (
    "files",
    "chunks",
    "seconds",
    "files/s",
    "ms per file",
    "CPU ms per file: workers",
    "database",
    "peak memory MiB",
    "manifest kB",
)
SIZES: Final = ("table", "rows", "bytes", "rows per study", "bytes per file")
_MR_BYTES: Final = 16_384
_TABLES: Final = """
SELECT relname AS name, pg_total_relation_size(oid) AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC
"""
# But for the one that asks.
_CONNECTIONS: Final = """
SELECT count(*) - 1 AS n FROM pg_stat_activity WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One batch.

    Attributes:
        seconds: from its submission to its end.
        wal_bytes: what the database wrote ahead for it.
    """

    files: int
    chunks: int
    seconds: float
    cpu_ms_workers: float
    cpu_ms_database: float
    peak_mib: float
    manifest_bytes: int
    wal_bytes: int
    connections: int
    tables: Sequence[dict[str, Any]]


def measure(space: Workspace, *, base: Path | None, scale: float) -> list[Table]:
    """Measure one batch of each size, each in a database of its own."""
    points = []
    for whole in COUNTS:
        count = max(1, round(whole * scale))
        with scratch(base, needed_bytes=count * _MR_BYTES * 4 + (2 << 30)) as folder:
            archive = make("mr", space.files("mr"), folder / "archive", count)
            points.append(_measure(archive, folder))
    return [_table(points), _sizes(points[-1])]


def plot(tables: Sequence[Table]) -> str:
    """Draw the seconds of the first table over the number of files."""
    points = [(row["files"], row["seconds"]) for row in tables[0].facts]
    first, last = points[0], points[-1]
    per_file = last[1] / last[0]
    line = [(first[0], first[0] * per_file), last]
    return log_log(
        "Batches of small objects on two worker processes",
        "files in the batch",
        "seconds from submission to end",
        [
            Series("measured", points),
            Series(f"{per_file * 1e3:.2f} ms per file", line, has_marks=False),
        ],
    )


def _measure(archive: Archive, folder: Path) -> Point:
    with house(folder) as lent:
        lent.start_workers(PROCESSES)
        before, wal, count = lent.usage(), _wal(lent), len(archive.files)
        batch = lent.hand_in(archive.root, str(folder / "out"))
        lent.wait_for(lambda: _done(lent, batch) > count / 2, every_s=0.1, timeout_s=3600)
        connections = lent.query(_CONNECTIONS)[0]["n"]
        ended = lent.watch(batch)
        usage = lent.usage().since(before)
        return Point(
            files=count,
            chunks=ended["chunks"],
            seconds=ended["seconds"],
            cpu_ms_workers=usage.workers_s / count * 1e3,
            cpu_ms_database=usage.database_s / count * 1e3,
            peak_mib=lent.peak_mib(),
            manifest_bytes=(folder / "out" / batch / "manifest.json").stat().st_size,
            wal_bytes=_wal(lent) - wal,
            connections=connections,
            tables=[_counted(lent, found) for found in lent.query(_TABLES)],
        )


def _counted(lent: House, found: dict[str, Any]) -> dict[str, Any]:
    statement = f'SELECT count(*) AS rows FROM "{found["name"]}"'  # noqa: S608 - the catalogue's own
    return found | lent.query(statement)[0]


def _done(lent: House, batch: str) -> int:
    found = lent.query(
        "SELECT succeeded_files AS n FROM batches WHERE id = %(batch)s::uuid", batch=batch
    )
    return int(found[0]["n"])


def _wal(lent: House) -> int:
    return int(lent.query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS n")[0]["n"])


def _table(points: Sequence[Point]) -> Table:
    table = Table("Batches of small MR objects by their number of files", COLUMNS, key="growth")
    for point in points:
        per_file = point.seconds / point.files * 1e3
        table.add(
            [
                f"{point.files:,}",
                f"{point.chunks:,}",
                f"{point.seconds:.2f}",
                f"{point.files / point.seconds:,.0f}",
                f"{per_file:.3f}",
                f"{point.cpu_ms_workers:.3f}",
                f"{point.cpu_ms_database:.3f}",
                f"{point.peak_mib:.0f}",
                f"{point.manifest_bytes / 1e3:,.0f}",
            ],
            files=point.files,
            seconds=point.seconds,
            ms_per_file=per_file,
            cpu_ms_workers=point.cpu_ms_workers,
            cpu_ms_database=point.cpu_ms_database,
            peak_mib=point.peak_mib,
            manifest_bytes=point.manifest_bytes,
        )
    table.notes += [
        f"One batch each on {PROCESSES} worker processes that run already, from its submission to "
        "its end; a new database each time (fsync on). `peak memory` is the largest process's.",
        f"From {points[-2].files:,} to {points[-1].files:,} files the time grows with the files to "
        f"the power of {_exponent(points[-2], points[-1]):.2f}; 1 is linear. Below that a fixed "
        "part, about a second, is most of it.",
    ]
    return table


def _exponent(a: Point, b: Point) -> float:
    return math.log(b.seconds / a.seconds) / math.log(b.files / a.files)


def _sizes(point: Point) -> Table:
    """Say what a batch leaves in the database."""
    studies = -(-point.files // PER_STUDY)
    table = Table(
        f"What {point.files:,} files of {studies} studies leave in the database", SIZES, key="sizes"
    )
    for found in point.tables:
        if found["rows"] and found["bytes"] / point.files >= 0.5:
            table.add(
                [
                    found["name"],
                    f"{found['rows']:,}",
                    f"{found['bytes']:,}",
                    f"{found['rows'] / studies:,.1f}",
                    f"{found['bytes'] / point.files:.1f}",
                ],
                table=found["name"],
                rows=found["rows"],
                bytes=found["bytes"],
                bytes_per_file=found["bytes"] / point.files,
            )
    total = sum(found["bytes"] for found in point.tables)
    table.notes += [
        f"Indexes and long values included; all tables together {total / point.files:,.0f} bytes "
        f"per file, {total / studies / 1e3:,.0f} kB per study of {PER_STUDY} objects.",
        f"Written ahead (WAL): {point.wal_bytes / point.files:,.0f} bytes per file. Connections in "
        f"the middle of the batch: {point.connections / PROCESSES:.1f} of each worker process.",
    ]
    table.facts.append(
        {
            "wal_bytes_per_file": point.wal_bytes / point.files,
            "connections": point.connections / PROCESSES,
        }
    )
    return table
