"""What the audit costs: the same gateway over HTTP with its audit rows and without them."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.client import Job
from bench.over_http import MAX_ROUNDS, WARM_UP_S, Client, Turn
from bench.report import Spread, Table
from bench.servers import Server, gateway
from bench.workspace import Workspace

CLIENTS = (1, 8, 32)
DISTINCT_OBJECTS = 64
COLUMNS = (
    "objects",
    "clients",
    "objects/s with audit",
    "objects/s without",
    "cost in throughput",
    "CPU ms per object with",
    "CPU ms without",
    "cost in CPU",
)
_serials = count(1)


def measure(space: Workspace, *, rounds: int, seconds: float) -> Table:
    """Measure rates of both by turns."""
    table = Table("What the audit costs: POST /anonymize-stream with and without its rows", COLUMNS)
    with TemporaryDirectory(prefix="deid-bench-audit-") as name:
        with_rows, without = Path(name) / "with", Path(name) / "without"
        with_rows.mkdir()
        without.mkdir()
        with (
            gateway(with_rows) as audited,
            gateway(without, "bench.unaudited") as bare,
            Client() as client,
        ):
            for what in ("ct", "mr"):
                files = space.files(what)[:DISTINCT_OBJECTS]
                for clients in CLIENTS:
                    turns = _turns(client, (audited, bare), files, clients, (rounds, seconds))
                    _add(table, what, clients, turns)
    table.notes.append(
        "Both gateways write the mapping before they answer (fsync on); the second one leaves the "
        "audit rows out, and so is none. Client, servers and databases share the processors: what "
        "else runs on the machine moves the rates, and hardly the CPU time of server and database."
    )
    return table


def _turns(
    client: Client,
    servers: tuple[Server, Server],
    files: list[Path],
    clients: int,
    length: tuple[int, float],
) -> tuple[list[Turn], list[Turn]]:
    """Let both work in turns, the one that begins changing."""
    rounds, seconds = length
    done: tuple[list[Turn], list[Turn]] = ([], [])
    for number in range(min(rounds, MAX_ROUNDS)):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            job = _job(servers[which], files, clients, seconds)
            done[which].append(client.run(servers[which], job))
    return done


def _job(server: Server, files: list[Path], clients: int, seconds: float) -> Job:
    return Job(
        kind="gateway",
        port=server.port,
        token=server.token,
        clients=clients,
        seconds=seconds,
        warm_up_s=WARM_UP_S,
        files=[str(file) for file in files],
        serial=next(_serials) * 10_000_000,
    )


def _add(table: Table, what: str, clients: int, turns: tuple[list[Turn], list[Turn]]) -> None:
    rates = [Spread.of(turn.figures["rate"] for turn in of_one) for of_one in turns]
    spent = [Spread.of(map(_cpu_ms, of_one)) for of_one in turns]
    costs = Spread.of(
        1 - a.figures["rate"] / max(b.figures["rate"], 1e-9) for a, b in zip(*turns, strict=True)
    )
    share = 1 - spent[1].median / spent[0].median
    table.add(
        [
            what.upper(),
            str(clients),
            *[rate.text(0) for rate in rates],
            f"{costs.median:.0%} ({costs.low:.0%} to {costs.high:.0%})",
            *[one.text(2) for one in spent],
            f"{share:.0%}",
        ],
        what=what,
        clients=clients,
        with_audit=rates[0].median,
        without=rates[1].median,
        cost=costs.median,
        cpu_cost=share,
        failures=sum(sum(turn.figures["failures"].values()) for of_one in turns for turn in of_one),
    )


def _cpu_ms(turn: Turn) -> float:
    """Return the processor time of server and database per object."""
    return (turn.server_cpu_s + turn.database_cpu_s) / max(turn.figures["objects"], 1) * 1e3
