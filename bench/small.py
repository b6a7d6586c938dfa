"""Many small objects: 2,000 MR slices through the engine, and through the command line."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import engine
from bench.contestants import Outcome, run_command
from bench.report import Spread, Table
from bench.startup import command_line
from bench.workspace import Workspace

COLUMNS = ("objects", "processes", "seconds", "ms per file", "objects/s", "CPU ms per file")
MAX_ROUNDS = 3


def measure(space: Workspace, *, rounds: int, peers: str) -> list[Table]:
    """Measure cost per file."""
    by_engine = engine.measure(space, rounds=min(rounds, MAX_ROUNDS), peers=peers, what="mr")
    return [by_engine, _by_command_line(space, min(rounds, MAX_ROUNDS))]


def _by_command_line(space: Workspace, rounds: int) -> Table:
    table = Table("deid-gateway anonymize: the whole command, mapping and audit durable", COLUMNS)
    with TemporaryDirectory(prefix="deid-bench-cli-") as name:
        data = Path(name)
        for what in ("mr", "ct"):
            files = space.files(what)
            for jobs in (1, 2):
                turns = [
                    _run(space, data / f"{what}-{jobs}-{n}", files, jobs) for n in range(rounds)
                ]
                _add_row(table, what, files, jobs, turns)
    table.notes.append(
        "Interpreter, embedded database (fsync on) and summary start and end within the time: see "
        "Start-up for their share. CPU is that of the command and its processes, without the "
        "database's."
    )
    return table


def _run(space: Workspace, data: Path, files: list[Path], jobs: int) -> Outcome:
    """De-identify all files once; the database is made beforehand, its mapping is empty."""
    out = space.root / "command-out"
    run_command([*command_line(), "db", "upgrade", "--data-dir", str(data)])
    options = ["-o", str(out), "--jobs", str(jobs), "--data-dir", str(data)]
    try:
        return run_command([*command_line(), "anonymize", *map(str, files), *options])
    finally:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)


def _add_row(
    table: Table, what: str, files: list[Path], jobs: int, outcomes: list[Outcome]
) -> None:
    count = len(files)
    seconds = Spread.of(o.seconds for o in outcomes)
    cpu = Spread.of(o.cpu_s / count for o in outcomes).median * 1e3
    table.add(
        [
            f"{count} {what.upper()}",
            str(jobs),
            seconds.text(),
            f"{seconds.median / count * 1e3:.2f}",
            f"{count / seconds.median:.0f}",
            f"{cpu:.2f}",
        ],
        objects=count,
        what=what,
        jobs=jobs,
        seconds=seconds.median,
        cpu_ms_per_file=cpu,
    )
