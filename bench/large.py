"""Large multi-frame objects: time against ``cp`` and the most memory that each needs."""

from pathlib import Path

from bench.contestants import Contestant, Outcome, alternate, copy_command
from bench.engine import engine_worker
from bench.peers import find_peers
from bench.report import Spread, Table
from bench.workspace import Workspace

COLUMNS = ("object", "tool", "ms", "against cp", "peak memory MiB")


def measure(space: Workspace, *, rounds: int, peers: str) -> Table:
    """Measure 100 MB beside the peers, and 1 GB alone."""
    table = Table("Large multi-frame objects", COLUMNS)
    found = find_peers(peers, space.root)
    _compare(table, space, "multiframe", found.contestants, rounds)
    space.drop("multiframe")
    _compare(table, space, "multiframe-1g", [], rounds)
    space.drop("multiframe-1g")
    table.notes += [
        f"Memory to memory, {rounds} rounds in turn; peak memory of the whole process (VmHWM), "
        "interpreter and libraries included.",
        "`cp` shows no memory here: it stays below what this process itself needs.",
        *(f"Not measured - {reason}" for reason in found.missing),
    ]
    return table


def _compare(
    table: Table, space: Workspace, what: str, peers: list[Contestant], rounds: int
) -> None:
    files = space.files(what)
    contestants: list[Contestant] = [copy_command(), engine_worker(), *peers]
    try:
        taken = alternate(contestants, files, rounds=rounds, scratch=space.root)
    finally:
        for one in contestants:
            one.close()
    for one in contestants:
        _add_row(table, one.name, taken, files[0])


def _add_row(table: Table, name: str, taken: dict[str, list[Outcome]], file: Path) -> None:
    seconds = Spread.of(o.seconds for o in taken[name])
    pairs = zip(taken[name], taken["cp"], strict=True)
    ratio = Spread.of(ours.seconds / theirs.seconds for ours, theirs in pairs)
    peak = max(o.peak_kib for o in taken[name]) / 1024
    table.add(
        [
            f"{file.stat().st_size / 1e6:,.0f} MB",
            name,
            seconds.text(0, 1e3),
            ratio.text(),
            f"{peak:.0f}" if peak else "-",
        ],
        bytes=file.stat().st_size,
        tool=name,
        ms=seconds.median * 1e3,
        against_cp=ratio.median,
        peak_mib=peak,
    )
