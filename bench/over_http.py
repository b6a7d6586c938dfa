"""The gateway over HTTP beside Orthanc: the same client, objects and machine.

The gateway keeps mapping and audit durable (its embedded database, fsync on) before it answers.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from bench.client import Job
from bench.contestants import ROOT, stop
from bench.report import Spread, Table
from bench.servers import Server, gateway, orthanc
from bench.workspace import Workspace
from tools.debian_tools import PackageUnavailable

CLIENTS = (1, 8, 32)
MAX_ROUNDS = 3
WARM_UP_S = 1.0
DISTINCT_OBJECTS = 64
COLUMNS = (
    "server",
    "clients",
    "objects/s",
    "against Orthanc",
    "MB/s in",
    "p50 ms",
    "p99 ms",
    "server CPU ms per object",
    "database CPU ms per object",
    "client CPU ms per object",
    "peak memory MiB",
)
LARGE_COLUMNS = ("server", "object", "seconds", "MB/s", "peak memory MiB")
_serials = count(1)


@dataclass(slots=True)
class Turn:
    """One measured time of one server."""

    figures: dict[str, Any]
    server_cpu_s: float
    database_cpu_s: float
    peak_mib: float


@dataclass(slots=True)
class Entrant:
    """A server and how objects are sent to it."""

    server: Server
    kind: str
    name: str
    turns: dict[int, list[Turn]] = field(default_factory=dict)


class Client:
    """The client process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stop(self._process)

    def run(self, server: Server, job: Job) -> Turn:
        """Do one job; processor time is read when the measured time begins and ends."""
        if self._process.stdin is None:
            raise BrokenPipeError
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        self._line()
        before = server.cpu_s()
        figures = self._line()
        after = server.cpu_s()
        spent = [b - a for a, b in zip(before, after, strict=True)]
        return Turn(figures, spent[0], spent[1], server.peak_mib())

    def _line(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise ChildProcessError("the client ended")
        said: dict[str, Any] = json.loads(line)
        return said


def measure(space: Workspace, *, rounds: int, peers: str, seconds: float) -> list[Table]:
    """Measure rates at 1, 8 and 32 clients, then single large objects."""
    notes: list[str] = []
    with TemporaryDirectory(prefix="deid-bench-http-") as name:
        folder = Path(name)
        with _entrants(folder, peers, notes) as entrants, Client() as client:
            files = space.files("ct")[:DISTINCT_OBJECTS]
            for clients in CLIENTS:
                for turn in range(min(rounds, MAX_ROUNDS)):
                    for entrant in _rotated(entrants, turn):
                        done = client.run(entrant.server, _job(entrant, clients, seconds, files))
                        entrant.turns.setdefault(clients, []).append(done)
            rates = _rates(entrants, files, notes, folder)
        with _entrants(folder, peers, []) as entrants, Client() as client:
            large = _large(space, client, entrants[:2])
    return [rates, large]


def _rotated(entrants: Sequence[Entrant], by: int) -> list[Entrant]:
    shift = by % len(entrants)
    return [*entrants[shift:], *entrants[:shift]]


@contextmanager
def _entrants(folder: Path, peers: str, notes: list[str]) -> Iterator[list[Entrant]]:
    with ExitStack() as running, TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        ours = running.enter_context(gateway(place))
        entrants = [Entrant(ours, "gateway", ours.name)]
        try:
            if peers != "none":
                theirs = running.enter_context(orthanc(place))
                entrants += [
                    Entrant(theirs, "orthanc", f"{theirs.name}: upload, anonymise"),
                    Entrant(theirs, "orthanc-delete", f"{theirs.name}: the same, then delete"),
                ]
        except PackageUnavailable as error:
            notes.append(f"Not measured - Orthanc: {error}")
        yield entrants


def _job(
    entrant: Entrant, clients: int, seconds: float, files: Sequence[Path], *, objects: int = 0
) -> Job:
    return Job(
        kind=entrant.kind,
        port=entrant.server.port,
        token=entrant.server.token,
        clients=clients,
        seconds=seconds,
        warm_up_s=0.0 if objects else WARM_UP_S,
        files=[str(file) for file in files],
        serial=next(_serials) * 10_000_000,
        count=objects,
    )


def _rates(
    entrants: Sequence[Entrant], files: Sequence[Path], notes: list[str], folder: Path
) -> Table:
    size = sum(f.stat().st_size for f in files) / len(files)
    table = Table(f"HTTP, one worker, objects of {size / 1e6:.2f} MB", COLUMNS)
    beside = next((e for e in entrants if e.kind == "orthanc"), None)
    for clients in CLIENTS:
        for entrant in entrants:
            _add_rate(table, entrant, clients, size, beside)
    for entrant in entrants[1:]:
        steps = entrant.turns[1][-1].figures["steps_ms"]
        said = ", ".join(f"{name} {ms:.2f} ms" for name, ms in steps.items())
        table.notes.append(f"{entrant.name}, one client: {said}.")
    table.notes += [
        "Every object is a new SOP Instance of one study; mapping and audit are committed "
        f"before the answer. Data on {_filesystem(folder)}, fsync on.",
        "Client, servers and database share the processors; the database of Orthanc is in its "
        "own process.",
        *_failures(entrants),
        *notes,
    ]
    return table


def _add_rate(
    table: Table, entrant: Entrant, clients: int, size: float, beside: Entrant | None
) -> None:
    turns = entrant.turns[clients]
    rate = Spread.of(t.figures["rate"] for t in turns)
    done = sum(t.figures["objects"] for t in turns) or 1
    ratio = "-"
    factor = None
    if beside is not None:
        pairs = zip(turns, beside.turns[clients], strict=True)
        ratios = Spread.of(a.figures["rate"] / max(b.figures["rate"], 1e-9) for a, b in pairs)
        ratio, factor = ratios.text(), ratios.median
    cpu = [
        sum(values) / done * 1e3
        for values in (
            [t.server_cpu_s for t in turns],
            [t.database_cpu_s for t in turns],
            [t.figures["client_cpu_s"] for t in turns],
        )
    ]
    p50, p99 = (Spread.of(t.figures[key] for t in turns) for key in ("p50_ms", "p99_ms"))
    peak = max(t.peak_mib for t in turns)
    table.add(
        [
            entrant.name,
            str(clients),
            rate.text(0),
            ratio,
            f"{rate.median * size / 1e6:.0f}",
            f"{p50.median:.1f}",
            f"{p99.median:.1f}",
            f"{cpu[0]:.2f}",
            f"{cpu[1]:.2f}" if entrant.server.database_mark else "-",
            f"{cpu[2]:.2f}",
            f"{peak:.0f}",
        ],
        server=entrant.name,
        clients=clients,
        rate=rate.median,
        rates=[t.figures["rate"] for t in turns],
        against_orthanc=factor,
        p50_ms=p50.median,
        p99_ms=p99.median,
        server_cpu_ms=cpu[0],
        database_cpu_ms=cpu[1],
        client_cpu_ms=cpu[2],
        peak_mib=peak,
    )


def _failures(entrants: Sequence[Entrant]) -> Iterator[str]:
    for entrant in entrants:
        failed: dict[str, int] = {}
        for turn in (t for turns in entrant.turns.values() for t in turns):
            for name, number in turn.figures["failures"].items():
                failed[name] = failed.get(name, 0) + number
        if failed:
            yield f"**Failures of {entrant.name}: {failed}**"


def _large(space: Workspace, client: Client, entrants: Sequence[Entrant]) -> Table:
    """Send one large object after the other to fresh servers."""
    table = Table("Large objects over HTTP, one client", LARGE_COLUMNS)
    for what in ("multiframe", "multiframe-1g"):
        files = space.files(what)
        size = files[0].stat().st_size
        for entrant in entrants if what == "multiframe" else entrants[:1]:
            turn = client.run(entrant.server, _job(entrant, 1, 0, files, objects=1))
            seconds = turn.figures["seconds"]
            if not turn.figures["objects"]:
                table.notes.append(f"**{entrant.name} failed: {turn.figures['failures']}**")
            table.add(
                [
                    entrant.name,
                    f"{size / 1e6:,.0f} MB",
                    f"{seconds:.2f}",
                    f"{size / seconds / 1e6:.0f}",
                    f"{turn.peak_mib:.0f}",
                ],
                server=entrant.name,
                bytes=size,
                seconds=seconds,
                peak_mib=turn.peak_mib,
            )
        space.drop(what)
    table.notes.append(
        "Fresh servers, one object after the other; the spool is on the same disk. "
        "Orthanc is not given the largest: it would need several times its size in memory."
    )
    return table


def _filesystem(folder: Path) -> str:
    command = ["df", "--output=fstype", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.split()[-1]
