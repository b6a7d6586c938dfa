"""How long the command line takes to start, and the server until it is ready."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contestants import ROOT, Outcome, run_command, stop
from bench.report import Spread, Table
from bench.servers import free_port, wait_until_ready
from bench.workspace import Workspace

COLUMNS = ("what", "seconds", "CPU s", "peak memory MiB")


def measure(space: Workspace, *, rounds: int) -> Table:
    """Measure starts, each as a process of its own."""
    table = Table("Start-up", COLUMNS)
    cli = command_line()
    file = str(space.files("ct")[0])
    with TemporaryDirectory(prefix="deid-bench-start-") as name:
        folder = Path(name)
        kept = str(folder / "kept")
        one_file = [*cli, "anonymize", file, "-o", str(folder / "out"), "--data-dir"]
        turns: list[tuple[str, int, Callable[[int], Outcome]]] = [
            ("python -c pass", rounds, lambda _: run_command([sys.executable, "-c", "pass"])),
            ("deid-gateway --help", rounds, lambda _: run_command([*cli, "--help"])),
            (
                "deid-gateway anonymize, one file, new data directory",
                min(rounds, 3),
                lambda n: run_command([*one_file, str(folder / f"new-{n}")]),
            ),
            (
                "deid-gateway anonymize, one file, again",
                rounds,
                lambda _: run_command([*one_file, kept]),
            ),
            ("deid-gateway serve until ready, again", rounds, lambda _: _serve(cli, kept)),
        ]
        for what, count, turn in turns:
            run_first = turn(-1)
            _add_row(table, what, [turn(n) for n in range(count)] or [run_first])
    table.notes.append(
        "A process each, the first not counted; `anonymize` and `serve` start the embedded "
        "database and end it. With a database that runs already they are faster by its start."
    )
    return table


def command_line() -> list[str]:
    """Return the beginning of a command line of the gateway: the installed one, if there is."""
    installed = Path(sys.executable).parent / "deid-gateway"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "app.cli"]


def _serve(cli: list[str], data: str) -> Outcome:
    port = free_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        [*cli, "serve", "--port", str(port), "--data-dir", data],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(port, "/readyz", process)
        return Outcome(time.perf_counter() - started, 0.0, 0)
    finally:
        stop(process)


def _add_row(table: Table, what: str, outcomes: list[Outcome]) -> None:
    seconds = Spread.of(o.seconds for o in outcomes)
    cpu = Spread.of(o.cpu_s for o in outcomes).median
    peak = max(o.peak_kib for o in outcomes) / 1024
    table.add(
        [what, seconds.text(), f"{cpu:.2f}" if cpu else "-", f"{peak:.0f}" if peak else "-"],
        what=what,
        seconds=seconds.median,
        cpu_s=cpu,
        peak_mib=peak,
    )
