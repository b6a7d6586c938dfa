"""Batches from disk to disk, with database and manifest, beside the engine and ``cp``, in turns."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from os import sync
from pathlib import Path
from typing import Final

from bench.archive import Archive, make
from bench.contestants import Worker, run_command
from bench.engine import engine_worker
from bench.house import Usage, house, scratch
from bench.memory_given import touch
from bench.report import Spread, Table
from bench.spent import put_by
from bench.startup import command_line
from bench.workspace import Workspace

COLUMNS: Final = (
    "what",
    "seconds",
    "files/s",
    "MB/s",
    "against cp -r",
    "against twice the engine",
    "ms per file",
    "CPU ms per file: workers",
    "database",
)
CT_FILES: Final = 10_000
MR_FILES: Final = 2_000
PROCESSES: Final = 2
MAX_ROUNDS: Final = 3
_BYTES: Final = {"ct": 540_000, "mr": 20_000}
COPY, COPY_SYNC = "cp -r", "cp -r, then sync"
ENGINE, HASH = "engine, one process", "SHA-256 of the results, one process"
ENGINES = f"engine, {PROCESSES} processes at once"
HASHED = f"engine and SHA-256, {PROCESSES} processes at once"
HASHED_ALONE = "engine and SHA-256, one process"
LEAST = f"the least a batch can do: engine, SHA-256, past the page cache, {PROCESSES} processes"
COMMAND = "deid-gateway batch, the whole command"
WORKERS = f"deid-gateway worker --concurrency {PROCESSES}, running already"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn took.

    Attributes:
        usage: processor time, where it is known by part.
    """

    seconds: float
    usage: Usage | None = None
    peak_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Course:
    """What everybody does: take an archive to an empty directory."""

    archive: Archive
    folder: Path
    out: Path
    engines: Sequence[Worker]
    hashing: Sequence[Worker]
    least: Sequence[Worker]


def measure(
    space: Workspace,
    *,
    rounds: int,
    base: Path | None,
    scale: float,
    ct_files: int = CT_FILES,
) -> list[Table]:
    """Measure the CT and the MR archive."""
    tables = []
    for kind, whole in (("ct", ct_files), ("mr", MR_FILES)):
        count = max(1, round(whole * scale))
        # The archive, and beside it one result and what it is staged as (the same file).
        with scratch(base, needed_bytes=count * _BYTES[kind] * 5 // 2 + (1 << 30)) as folder:
            archive = make(kind, space.files(kind), folder / "archive", count)
            tables.append(_measure(kind, archive, folder, min(rounds, MAX_ROUNDS)))
    return tables


def _measure(kind: str, archive: Archive, folder: Path, rounds: int) -> Table:
    contestants: dict[str, Callable[[Course], Turn]] = {
        COPY: copy,
        COPY_SYNC: copy_and_sync,
        ENGINE: through_engine,
        ENGINES: lambda course: through_all(course, course.engines),
        HASHED: lambda course: through_all(course, course.hashing),
        HASHED_ALONE: lambda course: through_engine(course, course.hashing),
        LEAST: lambda course: through_all(course, course.least),
        HASH: hash_all,
        COMMAND: by_command,
        WORKERS: by_workers,
    }
    with ExitStack() as stack:
        modes = [
            [stack.enter_context(engine_worker(mode)) for _ in range(PROCESSES)]
            for mode in ("files", "hashed", "disk")
        ]
        course = Course(archive, folder, folder / "out", *modes)
        taken = _alternate(contestants, course, rounds)
    count = len(archive.files)
    mean = archive.size / count / 1e6
    table = Table(
        f"{count:,} {kind.upper()} objects of {mean:.2f} MB, disk to disk",
        COLUMNS,
        key=f"batches-{kind}",
    )
    for name, turns in taken.items():
        _add_row(table, name, taken, turns, archive)
    table.notes += _notes(taken, count, rounds)
    return table


def _alternate(
    contestants: dict[str, Callable[[Course], Turn]], course: Course, rounds: int
) -> dict[str, list[Turn]]:
    """Let all take turns, each round beginning with another."""
    taken: dict[str, list[Turn]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            sync()  # what others left to be written is not this one's
            touch()
            try:
                taken[name].append(contestants[name](course))
            finally:
                put_by(course.out)
    return taken


def copy(course: Course) -> Turn:
    """Copy the archive."""
    outcome = run_command(["cp", "-r", str(course.archive.root), str(course.out)])
    return Turn(outcome.seconds, Usage(outcome.cpu_s, 0.0))


def copy_and_sync(course: Course) -> Turn:
    """Copy the archive so that it would survive a loss of power."""
    copied = copy(course)
    started = time.perf_counter()
    sync()
    return Turn(copied.seconds + time.perf_counter() - started)


def through_engine(course: Course, workers: Sequence[Worker] = ()) -> Turn:
    """De-identify file by file in one process, without database or manifest."""
    course.out.mkdir()
    outcome = (workers or course.engines)[0].run(course.archive.files, course.out)
    return Turn(outcome.seconds, Usage(outcome.cpu_s, 0.0), outcome.peak_kib / 1024)


def through_all(course: Course, workers: Sequence[Worker]) -> Turn:
    """The same in several processes at once: what this machine lets them reach together."""
    course.out.mkdir()
    files, started = course.archive.files, time.perf_counter()
    with ThreadPoolExecutor(PROCESSES) as threads:
        shares = [files[number::PROCESSES] for number in range(PROCESSES)]
        outcomes = list(threads.map(lambda one, share: one.run(share, course.out), workers, shares))
    seconds = time.perf_counter() - started
    return Turn(seconds, Usage(sum(outcome.cpu_s for outcome in outcomes), 0.0))


def hash_all(course: Course) -> Turn:
    """Hash as many bytes as there are, which is what a manifest asks for beside all else."""
    command = [sys.executable, "-m", "bench.hash_worker"]
    with Worker(HASH, command) as worker:
        outcome = worker.run(course.archive.files, course.out)
    return Turn(outcome.seconds, Usage(outcome.cpu_s, 0.0))


def by_command(course: Course) -> Turn:
    """Run the command to its end; its database is made beforehand."""
    data = course.folder / "command-data"
    words = ["--data-dir", str(data)]
    try:
        run_command([*command_line(), "db", "upgrade", *words])
        asked = ["--to", str(course.out), "--concurrency", str(PROCESSES), *words]
        started = time.perf_counter()
        run_command([*command_line(), "batch", str(course.archive.root), *asked])
        seconds = time.perf_counter() - started
        check(course)
        return Turn(seconds)
    finally:
        put_by(data)


def by_workers(course: Course) -> Turn:
    """Hand the archive in where workers wait: from its submission to its end."""
    with house(course.folder) as lent:
        lent.start_workers(PROCESSES)
        before = lent.usage()
        batch = lent.hand_in(course.archive.root, str(course.out))
        ended = lent.watch(batch)
        usage = lent.usage().since(before)
        check(course)
        return Turn(ended["seconds"], usage, lent.peak_mib())


def check(course: Course) -> None:
    """See that everything is there.

    Raises:
        ChildProcessError: an object or the manifest is missing.
    """
    published = sum(1 for _ in course.out.glob("*/*/*/*.dcm"))
    if published != len(course.archive.files) or len(list(course.out.glob("*/manifest.json"))) != 1:
        raise ChildProcessError(f"{published} of {len(course.archive.files)} are published")


def _add_row(
    table: Table,
    name: str,
    taken: dict[str, list[Turn]],
    turns: Sequence[Turn],
    archive: Archive,
) -> None:
    count = len(archive.files)
    seconds = Spread.of(turn.seconds for turn in turns)
    against_copy = _ratio(turns, taken[COPY])
    against_engine = Spread.of(
        engine.seconds / PROCESSES / turn.seconds
        for turn, engine in zip(turns, taken[ENGINE], strict=True)
    )
    workers, database = (_cpu_ms(turns, part, count) for part in ("workers_s", "database_s"))
    is_compared = name not in {ENGINE, HASH, HASHED_ALONE}
    table.add(
        [
            name,
            seconds.text(),
            f"{count / seconds.median:,.0f}",
            f"{archive.size / seconds.median / 1e6:,.0f}",
            against_copy.text(),
            against_engine.text() if is_compared else "-",
            f"{seconds.median / count * 1e3:.3f}",
            "-" if workers is None else f"{workers:.3f}",
            f"{database:.3f}" if database else "-",
        ],
        what=name,
        files=count,
        bytes=archive.size,
        seconds=seconds.median,
        against_cp=against_copy.median,
        against_twice_the_engine=against_engine.median,
        cpu_ms_workers=workers,
        cpu_ms_database=database,
        peak_mib=max(turn.peak_mib for turn in turns),
    )


def _ratio(turns: Sequence[Turn], others: Sequence[Turn]) -> Spread:
    return Spread.of(a.seconds / b.seconds for a, b in zip(turns, others, strict=True))


def _cpu_ms(turns: Sequence[Turn], part: str, count: int) -> float | None:
    known = [getattr(turn.usage, part) for turn in turns if turn.usage is not None]
    return Spread.of(known).median / count * 1e3 if known else None


def _notes(taken: dict[str, list[Turn]], count: int, rounds: int) -> list[str]:
    engine, batch = (
        Spread.of(turn.seconds for turn in taken[name]).median for name in (ENGINE, WORKERS)
    )
    overhead = (batch - engine / PROCESSES) / count * 1e3
    in_process = (batch * PROCESSES - engine) / count * 1e3
    return [
        f"{rounds} rounds in turn; median (least-most). All on one file system; before each turn "
        "everything is written back, and nearly all free memory was just in use. "
        "Every batch begins with an empty database (fsync on).",
        "`against twice the engine`: rate divided by twice the rate of one engine process in the "
        "same round, which writes neither hash, mapping, audit nor manifest, and waits for no "
        "disk. Aim: 0.70.",
        f"`{HASHED}` writes and hashes what a manifest lists, and nothing else, through the page "
        f"cache; `{LEAST}` does so as workers do, and waits for nothing at the end.",
        ceiling(taken),
        f"Overhead per file over the engine: {overhead:.3f} ms by the clock ({PROCESSES} "
        f"processes), {in_process:.3f} ms of one process's time. Aim for small objects: 2 ms.",
        "The whole command also starts interpreters, database and workers, and ends them.",
    ]


def ceiling(taken: dict[str, list[Turn]]) -> str:
    """Say what the aim leaves to a batch that does nothing without which it were none."""
    possible: list[Callable[[Turn, Turn, Turn], float]] = [
        lambda least, _, __: least.seconds,
        lambda least, batch, _: least.seconds + _stored(batch),
        lambda least, batch, hashed: least.seconds + _stored(batch) - hashed.seconds / PROCESSES,
    ]
    rounds = list(zip(taken[LEAST], taken[WORKERS], taken[HASH], taken[ENGINE], strict=True))
    bare, stored, unhashed = (
        Spread.of(engine.seconds / PROCESSES / seconds(*others) for *others, engine in rounds)
        for seconds in possible
    )
    return (
        f"How much is possible: `{LEAST}` reaches {bare.text()} of twice the engine; with the "
        f"processor time that PostgreSQL took for the rows, {stored.text()}; and if SHA-256 then "
        f"took no time at all, {unhashed.text()}."
    )


def _stored(batch: Turn) -> float:
    return batch.usage.database_s / PROCESSES if batch.usage is not None else 0.0
