"""``python -m bench``: runs the benchmarks that are asked for and writes one report."""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app import __version__
from bench import engine, header, large, over_http, small, startup
from bench.report import Report, Table
from bench.workspace import Workspace, workspace

Options = argparse.Namespace
HEADING = """# Benchmark figures

Written by `python -m bench`; how to read them: [benchmarks](benchmarks.md).

"""
BENCHES: dict[str, Callable[[Workspace, Options], list[Table]]] = {
    "engine": lambda s, o: [engine.measure(s, rounds=o.rounds, peers=o.peers)],
    "header": lambda s, o: [header.measure(s, rounds=o.rounds)],
    "large": lambda s, o: [large.measure(s, rounds=o.rounds, peers=o.peers)],
    "small": lambda s, o: small.measure(s, rounds=o.rounds, peers=o.peers),
    "http": lambda s, o: over_http.measure(s, rounds=o.rounds, peers=o.peers, seconds=o.seconds),
    "startup": lambda s, o: [startup.measure(s, rounds=o.rounds)],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; tables go to standard output as they are done."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    report = Report(_circumstances(options))
    with workspace(options.load, options.scale) as space:
        if options.profile:
            engine.profile(space)
            return 0
        for what in options.what:
            started = time.monotonic()
            tables = BENCHES[what](space, options)
            report.tables += tables
            print(*(table.markdown() for table in tables), sep="\n", flush=True)
            print(f"[{what}: {time.monotonic() - started:.0f} s]", file=sys.stderr, flush=True)
    if options.report is not None:
        is_json = options.report.suffix == ".json"
        text = report.json() if is_json else f"{HEADING}{report.markdown()}"
        options.report.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--what",
        type=_names,
        default=list(BENCHES),
        help=f"benchmarks, separated by commas (default: {','.join(BENCHES)})",
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
    parser.add_argument("--report", type=Path, help="also write FILE.json or FILE.md")
    parser.add_argument(
        "--profile", action="store_true", help="instead: what the engine spends its time on"
    )
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := sorted(set(names) - set(BENCHES)):
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
