"""The engine on 500 CT slices: one process, memory to memory, beside ``cp`` and the peers."""

import subprocess
import sys
from pathlib import Path

from bench.contestants import (
    Contestant,
    Outcome,
    Worker,
    alternate,
    copy_command,
    count_given,
)
from bench.peers import Peers, find_peers
from bench.report import Spread, Table
from bench.workspace import Workspace, holds_planted

ENGINE = "deid-gateway engine"
COLUMNS = (
    "tool",
    "files",
    "ms per file",
    "MB/s",
    "against cp",
    "CPU ms per file",
    "CPU against cp",
    "start-up s",
    "with a planted value left",
)


def engine_worker(mode: str = "files", *, profile: bool = False) -> Worker:
    """Return the engine as a contestant."""
    command = [sys.executable, "-m", "bench.engine_worker", mode]
    return Worker(ENGINE, [*command, *(["profile"] if profile else [])])


def measure(space: Workspace, *, rounds: int, peers: str, what: str = "ct") -> Table:
    """Measure one kind of objects file by file."""
    files = space.files(what)
    found = find_peers(peers, space.root)
    contestants: list[Contestant] = [copy_command(), engine_worker(), *found.contestants]
    left = _Leftovers(space.planted())
    try:
        working = _working(contestants, files, space.root, found)
        taken = alternate(working, files, rounds=rounds, scratch=space.root, inspect=left.count_in)
    finally:
        for one in contestants:
            one.close()
    mean = sum(f.stat().st_size for f in files) / len(files)
    table = Table(f"{len(files)} {what.upper()} objects of {mean / 1e6:.2f} MB", COLUMNS)
    for one in working:
        _add_row(table, one, taken, files, left)
    table.notes += [
        f"One process each, {rounds} rounds in turn; median (least-most). "
        "`against cp` is the median of the rounds' ratios, per file.",
        "Processor time is steadier than the clock when the machine is shared.",
        "`start-up` is not in the time of tools that stay (Python); it is in that of programs.",
        *(f"Not measured - {reason}" for reason in found.missing),
    ]
    return table


def profile(space: Workspace) -> None:
    """Write the engine's most expensive functions to standard error."""
    worker = engine_worker(profile=True)
    out = space.root / "profiled"
    try:
        for turn in range(2):  # the first fills the caches
            target = out / str(turn)
            target.mkdir(parents=True)
            worker.run(space.files("ct"), target)
    finally:
        worker.close()


class _Leftovers:
    """Counts results in which a planted value can still be read."""

    def __init__(self, planted: list[bytes]) -> None:
        self.planted = planted
        self.text: dict[str, str] = {}

    def count_in(self, one: Contestant, out: Path) -> None:
        results = [path for path in out.iterdir() if path.is_file()]
        count = sum(holds_planted(path, self.planted) for path in results)
        self.text[one.name] = f"{count} of {len(results)}"


def _working(
    contestants: list[Contestant], files: list[Path], scratch: Path, found: Peers
) -> list[Contestant]:
    """Try everybody on one file; who cannot do it is left out and named."""
    working = []
    for one in contestants:
        try:
            alternate([one], files[:1], rounds=0, scratch=scratch)
        except (subprocess.CalledProcessError, ChildProcessError, OSError) as error:
            if one.name in {ENGINE, "cp"}:
                raise
            found.missing.append(f"{one.name}: {error}")
        else:
            working.append(one)
    return working


def _add_row(
    table: Table,
    one: Contestant,
    taken: dict[str, list[Outcome]],
    files: list[Path],
    left: _Leftovers,
) -> None:
    count = count_given(one, files)
    size = sum(f.stat().st_size for f in files[:count])
    seconds = Spread.of(o.seconds / count for o in taken[one.name])
    ratio = ratio_to_copy(one.name, taken, count, len(files))
    copied = taken["cp"]
    cpu_ratio = Spread.of(
        (ours.cpu_s / count) / (theirs.cpu_s / len(files))
        for ours, theirs in zip(taken[one.name], copied, strict=True)
    )
    startup = f"{one.startup_s:.2f}" if isinstance(one, Worker) else "-"
    cpu = Spread.of(o.cpu_s / count for o in taken[one.name])
    table.add(
        [
            one.name,
            str(count),
            seconds.text(3, 1e3),
            f"{size / count / seconds.median / 1e6:.0f}",
            ratio.text(),
            f"{cpu.median * 1e3:.3f}",
            cpu_ratio.text(),
            startup,
            left.text.get(one.name, "-"),
        ],
        tool=one.name,
        files=count,
        ms_per_file=seconds.median * 1e3,
        ms_low=seconds.low * 1e3,
        ms_high=seconds.high * 1e3,
        against_cp=ratio.median,
        cpu_against_cp=cpu_ratio.median,
    )


def ratio_to_copy(
    name: str, taken: dict[str, list[Outcome]], count: int, count_copied: int
) -> Spread:
    """Return the rounds' ratios of time per file to ``cp`` in the same round."""
    return Spread.of(
        (ours.seconds / count) / (theirs.seconds / count_copied)
        for ours, theirs in zip(taken[name], taken["cp"], strict=True)
    )
