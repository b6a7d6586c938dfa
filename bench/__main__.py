"""``python -m bench``: runs the benchmarks that are asked for and writes one report."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app import __version__
from bench import (
    audit,
    batches,
    engine,
    extrapolation,
    growth,
    header,
    instances,
    large,
    memory,
    over_http,
    queue,
    small,
    startup,
    tables,
    uploads,
)
from bench import options as annex_options
from bench.report import Report, Table
from bench.workspace import Workspace, workspace

Options = argparse.Namespace
QUICK = 0.02
HEADING = """# Benchmark figures

Written by `python -m bench`; how to read them: [benchmarks](benchmarks.md).

"""
BENCHES: dict[str, Callable[[Workspace, Options], list[Table]]] = {
    "engine": lambda s, o: [engine.measure(s, rounds=o.rounds, peers=o.peers)],
    "header": lambda s, o: [header.measure(s, rounds=o.rounds)],
    "large": lambda s, o: [large.measure(s, rounds=o.rounds, peers=o.peers)],
    "small": lambda s, o: small.measure(s, rounds=o.rounds, peers=o.peers),
    "http": lambda s, o: over_http.measure(s, rounds=o.rounds, peers=o.peers, seconds=o.seconds),
    "options": lambda s, o: annex_options.measure(s, rounds=o.rounds),
    "audit": lambda s, o: [audit.measure(s, rounds=o.rounds, seconds=o.seconds)],
    "startup": lambda s, o: [startup.measure(s, rounds=o.rounds)],
}
# Batches and what bounds them; much disk and an hour.
SCALE: dict[str, Callable[[Workspace, Options], list[Table]]] = {
    "batches": lambda s, o: batches.measure(
        s, rounds=o.rounds, base=o.scratch, scale=o.scale, ct_files=o.files
    ),
    "growth": lambda s, o: growth.measure(s, base=o.scratch, scale=o.scale),
    "queue": lambda _, o: queue.measure(base=o.scratch, seconds=o.seconds),
    "uploads": lambda s, o: [uploads.measure(s, rounds=o.rounds, base=o.scratch, scale=o.scale)],
    "memory": lambda s, o: [memory.measure(s, base=o.scratch, scale=o.scale)],
    "instances": lambda _, o: [instances.measure(base=o.scratch, scale=o.scale)],
    "tables": lambda _, o: [tables.measure(base=o.scratch, scale=o.scale)],
    "simulation": lambda _, o: extrapolation.measure(o.figures),
}


def _burned_in(space: Workspace, options: Options) -> list[Table]:
    from bench import pixels  # noqa: PLC0415 - decoders that nothing else here needs

    return pixels.measure_text(space, peers=options.peers)


def _masks(space: Workspace, options: Options) -> list[Table]:
    from bench import pixels  # noqa: PLC0415 - as above

    return pixels.measure_masks(space, rounds=options.rounds)


def _rungs(_: Workspace, options: Options) -> list[Table]:
    from bench import pixels  # noqa: PLC0415 - as above

    return pixels.measure_rungs(rounds=options.rounds, seconds=options.seconds)


# Images with burned-in text; a thousand of them are read, which takes half an hour.
PIXELS: dict[str, Callable[[Workspace, Options], list[Table]]] = {
    "burned-in": _burned_in,
    "masks": _masks,
    "rungs": _rungs,
}
GROUPS = {"scale": list(SCALE), "pixels": list(PIXELS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; tables go to standard output as they are done."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.scale, options.rounds, options.seconds = min(options.scale, QUICK), 1, 2.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    report = Report(_circumstances(options))
    with workspace(options.load, options.scale) as space:
        if options.profile:
            engine.profile(space)
            return 0
        for what in options.what:
            started = time.monotonic()
            made = (BENCHES | SCALE | PIXELS)[what](space, options)
            report.tables += made
            options.figures |= {table.key: table.facts for table in made if table.key}
            print(*(table.markdown() for table in made), sep="\n", flush=True)
            print(f"[{what}: {time.monotonic() - started:.0f} s]", file=sys.stderr, flush=True)
            if what == "growth" and options.plot is not None:
                options.plot.write_text(growth.plot(made), encoding="utf-8")
            _write(report, options.report)  # an hour's work is not lost with its last minute
    return 0


def _write(report: Report, paths: Sequence[Path]) -> None:
    for path in paths:
        text = report.json() if path.suffix == ".json" else f"{HEADING}{report.markdown()}"
        path.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--what",
        type=_names,
        default=list(BENCHES),
        help=f"benchmarks, separated by commas (default: {','.join(BENCHES)}; scale for "
        f"{','.join(SCALE)}; pixels for {','.join(PIXELS)})",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each tool (default 5)")
    parser.add_argument(
        "--peers",
        default="all",
        help="all, none, or the bin directory of the peers' Python (default all)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the number of objects (default 1)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of each HTTP measurement (default 5)"
    )
    parser.add_argument(
        "--load",
        default="own",
        help="own; a directory of ready objects (ct/, mr/ or mrsmall/, multiframe/ or mf/); "
        "or a script that makes them",
    )
    parser.add_argument(
        "--report",
        type=Path,
        action="append",
        default=[],
        help="also write FILE.json or FILE.md; may be given twice",
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, once")
    parser.add_argument(
        "--scratch",
        type=Path,
        help="directory on the disk that batches are measured on (default: the system's temporary "
        "one); what is made in it is removed",
    )
    parser.add_argument(
        "--files", type=int, default=batches.CT_FILES, help="CT objects of the batch"
    )
    parser.add_argument("--plot", type=Path, help="write the plot of the growth to FILE.svg")
    parser.add_argument(
        "--figures",
        type=_figures,
        default={},
        help="an earlier report as JSON, for what the simulation needs and this run does not make",
    )
    parser.add_argument(
        "--profile", action="store_true", help="instead: what the engine spends its time on"
    )
    return parser


def _figures(text: str) -> dict[str, list[dict[str, object]]]:
    report = json.loads(Path(text).read_text(encoding="utf-8"))
    return {table["key"]: table["rows"] for table in report["tables"] if table.get("key")}


def _names(text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",")]
    names = [name for one in asked for name in GROUPS.get(one, [one])]
    if unknown := sorted(set(names) - set(BENCHES) - set(SCALE) - set(PIXELS)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


def _circumstances(options: Options) -> dict[str, str]:
    load = os.getloadavg()[0]
    return {
        "deid-gateway": __version__,
        "Python": platform.python_version(),
        "CPUs": f"{len(os.sched_getaffinity(0))} of {_processor()}",
        "kernel": platform.release(),
        "load average at the start": f"{load:.2f}",
        "rounds": str(options.rounds),
        "scale": f"{options.scale:g}",
        "load": "own" if options.load == "own" else Path(options.load).name,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
