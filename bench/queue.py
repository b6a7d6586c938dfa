"""The queue and the tables with empty work: pieces per second of 1 to 8 workers, and what waits.

Nothing is de-identified: what is left is what the database, its locks and the queue's library
allow, and so where more workers are of no use any more.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.batches.states import Priority
from app.batches.tickets import Task, defer
from app.bootstrap import Gateway
from bench import made_up
from bench.contestants import ROOT, stop
from bench.house import GIB, House, Usage, house, scratch
from bench.report import Spread, Table

WORKERS: Final = (1, 2, 4, 8)
COLUMNS: Final = ("work", "workers", "pieces/s", "files/s", "CPU ms a piece: workers", "database")
HELD: Final = ("events in a group", "ms", "events/s of one organisation at most")
IDLE: Final = (
    "workers",
    "transactions/s of each",
    "database CPU ms/s of each",
    "worker CPU ms/s",
    "connections of each",
)
IDLE_WORKERS: Final = 4
GROUPS: Final = (1, 8, 24, 64, 256)
TURNS: Final = 50
_ORGANIZATIONS: Final = tuple(f"ORG{number}" for number in range(max(WORKERS)))
_SETTLE_S: Final = 1.0
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of empty work.

    Attributes:
        mode: of the worker, see ``bench.queue_worker``.
        files: of each chunk; 0 where there are no chunks.
        spread: by how many organisations and batches; 0 for one each worker.
    """

    name: str
    mode: str
    files: int = 0
    spread: int = 1


KINDS: Final = (
    Kind("ticket that stands for nothing", "tickets"),
    Kind("chunk of 1 file, claimed and recorded", "chunks", 1),
    Kind("chunk of 256 files, one batch", "chunks", 256),
    Kind("chunk of 256 files, a batch and organisation for each worker", "chunks", 256, 0),
    Kind("mapping and audit of an object, one organisation", "mapping"),
    Kind("mapping and audit of an object, an organisation for each worker", "mapping", 0, 0),
)


def measure(*, base: Path | None, seconds: float) -> list[Table]:
    """Measure every kind of work with every number of workers."""
    table = Table("Empty work: what queue, tables and locks allow", COLUMNS, key="queue")
    with scratch(base, needed_bytes=8 * GIB) as folder:
        for kind in KINDS:
            for workers in WORKERS:
                with house(folder) as lent:
                    _add_row(table, kind, workers, _run(lent, kind, workers, seconds))
        held = _measure_head(folder)
        idle = _measure_idle(folder, 4 * seconds)
    table.notes += [
        f"Worker processes, tickets, claims and rows are real, files are not; about {seconds:g} s "
        "each, a new database each (fsync on). Workers and database share the processors, so the "
        "processor time of the database says more than the rate with many workers.",
        "A mapping record comes with its audit row, 64 at once from each worker, as in a batch.",
    ]
    return [table, held, idle]


def _run(lent: House, kind: Kind, workers: int, seconds: float) -> dict[str, Any]:
    asyncio.run(_prepare(lent, kind, workers, seconds))
    with _started(lent, kind, workers) as processes:
        before = lent.usage()
        began = time.perf_counter()
        for process in processes:
            _tell(process, "go")
        _wait(lent, kind, began + seconds)
        took = time.perf_counter() - began
        said = [_end(process) for process in processes]
        usage = Usage(sum(one["cpu_s"] for one in said), lent.usage().since(before).database_s)
    return {
        "pieces": sum(one["pieces"] for one in said),
        "files": sum(one["files"] for one in said),
        "seconds": took,
        "usage": usage,
    }


async def _prepare(lent: House, kind: Kind, workers: int, seconds: float) -> None:
    """Put more work into the tables than can be done in the time."""
    async with lent.gateway() as gateway:
        for organization in _ORGANIZATIONS:
            await gateway.organizations.ensure(organization)
        if kind.mode == "tickets":
            async with gateway.database.engine.begin() as connection:
                await defer(connection, Task.PROCESS, count=int(4000 * seconds))
        elif kind.mode == "chunks":
            spread = kind.spread or workers
            files = int((600 if kind.files == 1 else 25_000) * seconds / spread)
            for number in range(spread):
                await _listed(gateway, _ORGANIZATIONS[number], number, files, kind.files)
    lent.run("ANALYZE")


async def _listed(gateway: Gateway, organization: str, number: int, files: int, size: int) -> None:
    """Hand in a batch and list its files."""
    await gateway.batches.submit(made_up.new_batch(organization, number, priority=Priority.ROUTINE))
    claim = await gateway.work.claim_scan(uuid4(), UUID(int=0))
    chunks = made_up.chunks(0, files, size)
    for first in range(0, len(chunks), 64):
        if claim is None:
            raise RuntimeError("the claim is lost")
        claim = await gateway.work.add_chunks(claim, chunks[first : first + 64])
    if claim is not None:
        await gateway.work.finish_scan(claim)


@contextmanager
def _started(lent: House, kind: Kind, workers: int) -> Iterator[Sequence["subprocess.Popen[str]"]]:
    processes = []
    try:
        for number in range(workers):
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.queue_worker"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            job = {
                "mode": kind.mode,
                "url": lent.url,
                "data": str(lent.data),
                "staging": str(uuid4()),
                "organization": _ORGANIZATIONS[0 if kind.spread else number],
                "first": number * 1_000_000,
            }
            _tell(process, json.dumps(job))
        for process in processes:
            _hear(process)
        yield processes
    finally:
        for process in processes:
            stop(process)


def _wait(lent: House, kind: Kind, ends: float) -> None:
    """Wait until the time is over, or the work."""
    while time.perf_counter() < ends:
        if kind.mode != "mapping":
            left = lent.query("SELECT EXISTS (SELECT FROM procrastinate_jobs) AS is_any")
            if not left[0]["is_any"]:
                return
        time.sleep(_LOOK_S)


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    if process.stdin is None:
        raise BrokenPipeError
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise ChildProcessError(f"a worker ended with {process.wait()}")
    heard: dict[str, Any] = json.loads(line)
    return heard


def _end(process: "subprocess.Popen[str]") -> dict[str, Any]:
    if process.stdin is not None:
        process.stdin.close()
    return _hear(process)


def _add_row(table: Table, kind: Kind, workers: int, done: dict[str, Any]) -> None:
    pieces, usage = max(1, done["pieces"]), done["usage"]
    rate = done["pieces"] / done["seconds"]
    files = done["files"] / done["seconds"]
    table.add(
        [
            kind.name,
            str(workers),
            f"{rate:,.0f}",
            f"{files:,.0f}" if files else "-",
            f"{usage.workers_s / pieces * 1e3:.3f}",
            f"{usage.database_s / pieces * 1e3:.3f}",
        ],
        work=kind.name,
        mode=kind.mode,
        chunk=kind.files,
        spread=kind.spread,
        workers=workers,
        pieces_per_s=rate,
        files_per_s=files,
        cpu_ms_workers=usage.workers_s / pieces * 1e3,
        cpu_ms_database=usage.database_s / pieces * 1e3,
    )


def _measure_idle(folder: Path, seconds: float) -> Table:
    """Measure workers that have nothing to do: signs of life, upkeep, looks for lost tickets."""
    table = Table("Workers with nothing to do", IDLE, key="idle")
    with house(folder) as lent:
        lent.start_workers(IDLE_WORKERS)
        time.sleep(seconds)  # what begins is over
        before, commits, began = lent.usage(), _commits(lent), time.perf_counter()
        time.sleep(seconds)
        took = (time.perf_counter() - began) * IDLE_WORKERS
        usage, done = lent.usage().since(before), _commits(lent) - commits
        held = lent.query(
            "SELECT count(*) - 1 AS n FROM pg_stat_activity WHERE datname = current_database()"
        )[0]["n"]
    table.add(
        [
            str(IDLE_WORKERS),
            f"{done / took:.1f}",
            f"{usage.database_s / took * 1e3:.1f}",
            f"{usage.workers_s / took * 1e3:.1f}",
            f"{held / IDLE_WORKERS:.1f}",
        ],
        workers=IDLE_WORKERS,
        transactions_per_s=done / took,
        cpu_ms_database=usage.database_s / took * 1e3,
        cpu_ms_worker=usage.workers_s / took * 1e3,
        connections=held / IDLE_WORKERS,
    )
    table.notes.append("In empty tables. At work a process holds some connections more.")
    return table


def _commits(lent: House) -> int:
    lent.query("SELECT pg_stat_force_next_flush()")
    found = lent.query(
        "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(found[0]["n"])


def _measure_head(folder: Path) -> Table:
    """Measure how long a group of events holds the head of its organisation's audit."""
    table = Table(
        "How long a group of audit events holds its organisation's chain", HELD, key="head"
    )
    with house(folder) as lent:
        for size in GROUPS:
            held = Spread.of(asyncio.run(_hold(lent, size)))
            rate = size / held.median
            table.add(
                [str(size), held.text(2, 1e3), f"{rate:,.0f}"],
                events=size,
                held_s=held.median,
                events_per_s=rate,
            )
    table.notes.append(
        f"From the lock to the commit, {TURNS} times, nobody else at work. While it is held, other "
        "workers of the same organisation wait; those of others do not."
    )
    return table


async def _hold(lent: House, size: int) -> list[float]:
    took = []
    event = AuditEvent(
        action="anonymize",
        organization="ORG0",
        actor="bench",
        profile="basic",
        profile_version="0123456789ab",
        cloud_study_id="0123456789ABCDEF",
        sop_instance_uid=made_up.uid(UUID(int=0), "instance", 0),
    )
    async with lent.gateway() as gateway:
        connection, trail = await gateway.database.connect(), AuditTrail()
        async with connection:
            for _ in range(TURNS + 1):
                started = time.perf_counter()
                async with connection.pipeline():
                    locked = await trail.lock(connection, [event] * size)
                    await trail.append(connection, locked, [event] * size)
                    await connection.commit()
                took.append(time.perf_counter() - started)
    return took[1:]
