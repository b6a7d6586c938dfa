"""What each option of Annex E and each ready-made profile costs per file, beside Basic.

All take turns in one process, file after file, so that what else the machine does hits all alike.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.deid.options import AVAILABLE_OPTIONS, Option, title
from app.deid.profile import BUILT_IN, Profile, with_version
from app.dicom.source import FileSource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from bench import worker
from bench.contestants import Worker
from bench.engine_worker import GC_THRESHOLDS
from bench.report import Spread, Table
from bench.workspace import Workspace

# How many objects of each kind: enough of each, and all of it within half a minute.
FILES = {"ct": 40, "mr": 120, "sr": 2}
_SCALE = 0.1  # of the load: reports of 200 items
COLUMNS = ("rules", "ms per file", "against basic", "CPU against basic")
#: What the teleradiology profile may cost at most, as a multiple of Basic.
AIM = 2.0


def profiles() -> dict[str, Profile]:
    """Return what is measured: Basic first, each option alone, the other ready-made profiles."""
    measured = {"basic": BUILT_IN["basic"]}
    for option in Option:
        if option in AVAILABLE_OPTIONS - {Option.BASIC}:
            alone = Profile(f"only-{len(measured)}", (Option.BASIC, option))
            measured[title(option)] = with_version(alone)
    ready = {f"profile `{name}`": one for name, one in BUILT_IN.items() if name != "basic"}
    return measured | ready


def measure(space: Workspace, *, rounds: int) -> list[Table]:
    """Measure all kinds of objects; one table for each."""
    folder = space.root / "options"
    folder.mkdir()
    part = Workspace(folder, scale=_SCALE * space.scale, given=space.given)
    return [_table(part, what, rounds) for what in FILES]


def _table(space: Workspace, what: str, rounds: int) -> Table:
    files = space.files(what)[: FILES[what]]
    with Worker("options", [sys.executable, "-m", "bench.options", str(rounds)]) as one:
        said = one.run(files, space.root).said
    mean = sum(path.stat().st_size for path in files) / len(files)
    table = Table(
        f"Options on {len(files)} {what.upper()} objects of {mean / 1e6:.2f} MB",
        COLUMNS,
        key=f"options-{what}",
    )
    basic = said["basic"]
    for name, turns in said.items():
        seconds = Spread.of(wall / len(files) for wall, _ in turns)
        ratio = Spread.of(ours[0] / its[0] for ours, its in zip(turns, basic, strict=True))
        cpu = Spread.of(ours[1] / its[1] for ours, its in zip(turns, basic, strict=True))
        table.add(
            [name, seconds.text(3, 1e3), ratio.text(), f"{cpu.median:.2f}"],
            what=what,
            rules=name,
            ms_per_file=seconds.median * 1e3,
            against_basic=ratio.median,
            cpu_against_basic=cpu.median,
        )
    table.notes += [
        f"One process, {rounds} rounds in turn; median (least-most) of the rounds' ratios.",
        f"Aim: `teleradiology` at most {AIM:g} times `basic`.",
    ]
    return table


def work(rounds: int) -> worker.Work:
    """Return the far side: every profile on all files, round after round."""
    contexts = {
        name: Context("BENCH", profile, Pseudonyms(bytes(range(32)), "BENCH"))
        for name, profile in profiles().items()
    }

    def run(files: Sequence[str], out: str) -> dict[str, list[tuple[float, float]]]:
        names = list(contexts)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        target = Path(out) / "option.out"
        for number in range(-1, rounds):  # the first fills the caches
            shift = number % len(names)
            for name in [*names[shift:], *names[:shift]]:
                turn = _timed(lambda context=contexts[name]: _files(files, target, context))
                if number >= 0:
                    taken[name].append(turn)
        target.unlink()
        return taken

    return run


def _files(files: Sequence[str], target: Path, context: Context) -> None:
    for name in files:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        done = deidentify(FileSource(fd), context)
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        done.write_to(out)
        os.close(out)
        os.close(fd)


def _timed(do: Callable[[], None]) -> tuple[float, float]:
    cpu, started = time.process_time(), time.perf_counter()
    do()
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    """Serve the work."""
    serving = work(int(sys.argv[1]))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    worker.serve(serving)


if __name__ == "__main__":
    main()
