"""From measured figures to a thousand million objects: inputs, validation, sites, the database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from bench.report import Table
from bench.simulation import Costs, Outcome, Simulation, Site, batch_seconds

Figures = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of measured tables by the key of the table."""

OBJECTS: Final = 1e9
SIMULATED_S: Final = 60.0
PROCESSES: Final = 2
CT_CHUNK: Final = 126  # 64 MiB of 0.53 MB
MR_CHUNK: Final = 256
PAGE_BYTES: Final = 8192.0
NEEDED: Final = ("batches-ct", "growth", "sizes", "queue", "head", "tables", "instances")
SITES: Final = (
    Site(nodes=1, organizations=1, chunk_files=CT_CHUNK),
    Site(nodes=4, organizations=1, chunk_files=CT_CHUNK),
    Site(nodes=4, organizations=8, chunk_files=CT_CHUNK),
    Site(nodes=16, organizations=8, chunk_files=CT_CHUNK, batches=64),
    Site(
        nodes=16,
        organizations=8,
        chunk_files=CT_CHUNK,
        batches=64,
        database_cores=32,
        store_puts_per_s=50_000,
    ),
    Site(
        nodes=64,
        organizations=64,
        chunk_files=CT_CHUNK,
        batches=256,
        database_cores=64,
        store_puts_per_s=100_000,
        log_bytes_per_s=2e9,
    ),
)


class MissingFigures(Exception):
    """A measurement that the simulation needs was not made."""


def measure(figures: Figures) -> list[Table]:
    """Check the simulation against what was measured, and go on from there.

    Raises:
        MissingFigures: run the benches that are named first.
    """
    if missing := [key for key in NEEDED if not figures.get(key)]:
        raise MissingFigures(", ".join(missing))
    small, large = small_costs(figures), large_costs(figures)
    return [_inputs(small, large), _validation(figures, small, large), _sites(large), _kept(large)]


def large_costs(figures: Figures) -> Costs:
    """Return what a CT slice costs."""
    row = _find(figures["batches-ct"], "what", "deid-gateway worker")
    return replace(
        _shared(figures),
        object_bytes=row["bytes"] / row["files"],
        worker_ms=row["cpu_ms_workers"],
        database_ms=row["cpu_ms_database"],
    )


def small_costs(figures: Figures) -> Costs:
    """Return what a small object costs, as a batch of some size shows it."""
    row = figures["growth"][-2]
    return replace(
        _shared(figures),
        object_bytes=13_400.0,
        worker_ms=row["cpu_ms_workers"],
        database_ms=row["cpu_ms_database"],
    )


def _shared(figures: Figures) -> Costs:
    calls = {row["call"]: row["small"] for row in figures["tables"]}
    held = _find(figures["head"], "events", 64)
    sizes = figures["sizes"]
    files = next(row["rows"] for row in sizes if row.get("table") == "batch_items")
    return Costs(
        object_bytes=0.0,
        worker_ms=0.0,
        database_ms=0.0,
        mapping_ms=_find(figures["queue"], "mode", "mapping")["cpu_ms_database"],
        held_ms=held["held_s"] * 1e3,
        claim_ms=calls["process: claim a chunk"],
        record_ms=calls["process: record a chunk"],
        manifest_us=calls["manifest: all objects, whole"] / files_of_tables(figures) * 1e3,
        wal_bytes=next(row["wal_bytes_per_file"] for row in sizes if "wal_bytes_per_file" in row),
        # A page for nearly every object, once there are far more pages than objects in between.
        page_wal_bytes=PAGE_BYTES,
        kept_bytes=sum(row["bytes"] for row in sizes if "bytes" in row) / files,
    )


def files_of_tables(figures: Figures) -> int:
    """Return how many files the small batch of the tables' measurement had."""
    return int(figures["tables"][0]["files_small"])


def _find(rows: Sequence[Mapping[str, Any]], name: str, value: object) -> Mapping[str, Any]:
    for row in rows:
        found = row.get(name)
        if found == value or (isinstance(value, str) and str(found).startswith(value)):
            return row
    raise MissingFigures(f"{name} {value}")


def _inputs(small: Costs, large: Costs) -> Table:
    table = Table("What the simulation is told", ("figure", "CT slice", "small object"))
    for text, name, digits in (
        ("bytes", "object_bytes", 0),
        ("worker's processor time, ms", "worker_ms", 3),
        ("database's processor time, ms", "database_ms", 3),
        ("of that for mapping and audit, ms", "mapping_ms", 3),
        ("an organisation's audit head held for a group of 64, ms", "held_ms", 2),
        ("to claim a chunk, ms", "claim_ms", 2),
        ("a batch's row held to record 256 files, ms", "record_ms", 1),
        ("manifest, µs", "manifest_us", 1),
        ("WAL, bytes", "wal_bytes", 0),
        ("WAL beside that with a large mapping, bytes at most", "page_wal_bytes", 0),
        ("kept in the database, bytes", "kept_bytes", 0),
    ):
        a, b = getattr(large, name), getattr(small, name)
        table.add([text, f"{a:,.{digits}f}", f"{b:,.{digits}f}"], figure=name, large=a, small=b)
    table.notes.append("Of each object where nothing else is said; all measured in this run.")
    return table


def _validation(figures: Figures, small: Costs, large: Costs) -> Table:
    columns = ("batch", "measured s", "simulated s", "simulated against measured")
    table = Table("The simulation beside what was measured", columns, key="validation")
    measured = [
        (f"{row['files']:,} small objects", row["files"], row["seconds"], small, MR_CHUNK)
        for row in figures["growth"]
    ]
    ct = _find(figures["batches-ct"], "what", "deid-gateway worker")
    measured.append((f"{ct['files']:,} CT slices", ct["files"], ct["seconds"], large, CT_CHUNK))
    for name, files, seconds, costs, chunk in measured:
        predicted = batch_seconds(costs, files=files, processes=PROCESSES, chunk_files=chunk)
        table.add(
            [name, f"{seconds:.2f}", f"{predicted:.2f}", f"{predicted / seconds:.2f}"],
            files=files,
            measured_s=seconds,
            simulated_s=predicted,
        )
    table.notes.append(
        f"{PROCESSES} worker processes and PostgreSQL on two cores. It is told processor times and "
        "how long locks are held, not seconds: how they overlap is its own. What it does not know: "
        "the fixed part of a batch (listing, tickets, the last flush), waiting for the disk, and "
        "who else used the machine."
    )
    return table


def _sites(costs: Costs) -> Table:
    columns = (
        "nodes of 16 cores",
        "organisations",
        "database cores",
        "objects/s",
        "GB/s",
        "hours for 1,000 million",
        "bound by",
        "database cores busy",
        "busiest audit head",
        "WAL MB/s",
    )
    table = Table("A thousand million CT slices of 0.53 MB (530 TB)", columns, key="sites")
    for site in SITES:
        outcome = Simulation(costs, site).run(seconds=SIMULATED_S, begin_s=SIMULATED_S / 2)
        _add_site(table, site, costs, outcome)
    table.notes.append(
        f"{SIMULATED_S:g} simulated seconds each, the second half counted, fixed seed. Assumed: "
        "10 Gbit/s for a node in each direction; an object store that takes 3,500 objects a second "
        "in the first four rows, 50,000 and 100,000 behind; a disk that takes 500 MB/s of WAL, "
        "2 GB/s in the last row; cores as fast as the one that was measured; a mapping larger than "
        "memory."
    )
    return table


def _add_site(table: Table, site: Site, costs: Costs, outcome: Outcome) -> None:
    hours = OBJECTS / outcome.rate / 3600
    wal = outcome.rate * (costs.wal_bytes + costs.page_wal_bytes)
    loads = outcome.loads
    table.add(
        [
            str(site.nodes),
            str(site.organizations),
            str(site.database_cores),
            f"{outcome.rate:,.0f}",
            f"{outcome.rate * costs.object_bytes / 1e9:.1f}",
            f"{hours:,.0f}",
            outcome.bottleneck,
            f"{loads['database cores'] * site.database_cores:.1f}",
            f"{loads['audit head of an organisation']:.0%}",
            f"{wal / 1e6:,.0f}",
        ],
        nodes=site.nodes,
        organizations=site.organizations,
        objects_per_s=outcome.rate,
        hours=hours,
        bound_by=outcome.bottleneck,
        loads=loads,
    )


def _kept(costs: Costs) -> Table:
    table = Table("What the database then holds", ("objects", "GB", "chunks", "mapping rows"))
    for objects in (1e6, 1e7, 1e8, 1e9):
        table.add(
            [
                f"{objects:,.0f}",
                f"{objects * costs.kept_bytes / 1e9:,.0f}",
                f"{objects / CT_CHUNK:,.0f}",
                f"{objects:,.0f}",
            ],
            objects=objects,
            bytes=objects * costs.kept_bytes,
        )
    table.notes.append("With all batches kept; see docs/scaling.md for what can be pruned when.")
    return table
