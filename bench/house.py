"""A gateway of its own for the measurements of batches: database with fsync, workers, scratch.

The parts are the program's own; only what is measured is started, and everything is stopped and
removed at the end.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from app import bootstrap, telemetry
from app.db.embedded import EmbeddedPostgres
from app.db.migrate import upgrade
from app.settings import Settings, load
from app.settings.service import LogLevel
from bench.contestants import ROOT
from bench.servers import cpu_of, family_of
from bench.spent import place_apart, put_by
from bench.startup import command_line
from bench.worker import peak_kib

GIB = 1 << 30
ORGANIZATION = "DEMO"
_READY_S = 60.0
_STOP_S = 60.0
_LOOK_S = 0.05


class NoSpace(Exception):
    """The scratch directory has not enough room for what is to be measured."""


@contextmanager
def scratch(base: Path | None, *, needed_bytes: int) -> Iterator[Path]:
    """Make a private directory for one measurement, and put it by with all that is in it.

    Args:
        base: where; the system's temporary directory if None.
        needed_bytes: what the measurement will write at most.

    Raises:
        NoSpace: the file system has less than that and a tenth more.
    """
    place = base or Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes * 1.1:
        raise NoSpace(
            f"{needed_bytes / GIB:.1f} GiB are needed below {place}, {free / GIB:.1f} GiB are free"
        )
    made = Path(tempfile.mkdtemp(prefix="deid-bench-", dir=place))
    place_apart(made)
    made.chmod(0o711)  # the server's unprivileged user has to pass when this runs as root
    try:
        yield made
    finally:
        put_by(made)


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time that was used so far, in seconds."""

    workers_s: float
    database_s: float

    def since(self, earlier: "Usage") -> "Usage":
        """Return what was used between two looks."""
        return Usage(
            self.workers_s - earlier.workers_s,
            self.database_s - earlier.database_s,
        )


class House:
    """One data directory with its database, which runs for as long as the house is open.

    Attributes:
        data: the data directory.
        url: of the database.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        data.mkdir(mode=0o711)
        self._server = EmbeddedPostgres(data / "postgres")
        self.url = ""
        self._workers: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start the database and make its tables."""
        self.url = self._server.start()
        asyncio.run(upgrade(self.url))

    def close(self) -> None:
        """Stop workers and database."""
        self.stop_workers()
        self._server.stop()

    def start_workers(self, count: int, **settings: object) -> None:
        """Start ``deid-gateway worker`` and wait until all its processes have joined."""
        log = (self.data / "workers.log").open("ab")
        with log:
            self._workers = subprocess.Popen(
                [*self._command("worker"), "--concurrency", str(count)],
                cwd=ROOT,
                env=_environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for(
            lambda: self.query("SELECT count(*) AS n FROM batch_workers")[0]["n"] >= count
        )

    def stop_workers(self) -> None:
        """Let the workers end."""
        process, self._workers = self._workers, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def hand_in(self, source: Path, destination: str, *options: str) -> str:
        """Hand a batch to whoever works on this data directory and return its id."""
        words = [str(source), "--to", destination, "--no-watch", *options]
        before = {str(found["id"]) for found in self.query("SELECT id FROM batches")}
        subprocess.run(
            [*self._command("batch"), *words],
            check=True,
            cwd=ROOT,
            env=_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        after = {str(found["id"]) for found in self.query("SELECT id FROM batches")}
        return (after - before).pop()

    def watch(self, batch: str, *, timeout_s: float = 3600.0) -> dict[str, Any]:
        """Wait for the end of a batch and return its row, with ``seconds`` from its submission.

        Raises:
            ChildProcessError: it did not succeed.
        """
        self.wait_for(
            lambda: self._row(batch)["finished_at"] is not None, timeout_s=timeout_s, every_s=0.2
        )
        found = self._row(batch)
        if found["state"] != "succeeded":
            raise ChildProcessError(f"the batch is {found['state']} ({found['code']})")
        return found

    def usage(self) -> Usage:
        """Return the processor time of the workers and of the database so far."""
        workers = family_of(pid=self._workers.pid) if self._workers is not None else set()
        database = family_of(mark=f"{self.data}/") - workers
        return Usage(sum(map(cpu_of, workers)), sum(map(cpu_of, database)))

    def peak_mib(self) -> float:
        """Return the most memory that one worker process ever had resident."""
        workers = family_of(pid=self._workers.pid) if self._workers is not None else set()
        return max((peak_kib(pid) for pid in workers), default=0) / 1024

    def query(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Ask the database."""
        with psycopg.connect(self.url, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def run(self, statement: str, **values: object) -> float:
        """Change the database past all rules, and return the seconds that it took."""
        started = time.perf_counter()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values)
        return time.perf_counter() - started

    def wait_for(
        self,
        check: Callable[[], bool],
        *,
        timeout_s: float = _READY_S,
        every_s: float = _LOOK_S,
    ) -> None:
        """Ask until the answer is yes.

        Raises:
            TimeoutError: it never was.
        """
        ends = time.monotonic() + timeout_s
        while not check():
            if time.monotonic() > ends:
                raise TimeoutError
            if self._workers is not None and self._workers.poll() is not None:
                raise ChildProcessError(f"the workers ended with {self._workers.returncode}")
            time.sleep(every_s)

    @asynccontextmanager
    async def gateway(self, **settings: object) -> AsyncIterator[bootstrap.Gateway]:
        """Open the program's parts in this process."""
        async with bootstrap.opened(self.settings(**settings)) as opened:
            yield opened

    def settings(self, **given: object) -> Settings:
        """Return the settings of a process of this house."""
        return load(
            data_dir=self.data,
            database_url=SecretStr(self.url),
            log_level=LogLevel.ERROR,
            **given,
        )

    def _row(self, batch: str) -> dict[str, Any]:
        return self.query(
            "SELECT *, extract(epoch FROM finished_at - submitted_at)::float8 AS seconds"
            " FROM batches WHERE id = %(batch)s::uuid",
            batch=batch,
        )[0]

    def _command(self, verb: str) -> Sequence[str]:
        return [*command_line(), verb, "--data-dir", str(self.data)]


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Open a house in a new directory of its own."""
    telemetry.configure(LogLevel.ERROR)
    made = House(Path(tempfile.mkdtemp(prefix="house-", dir=folder)) / "data")
    made.data.parent.chmod(0o711)
    try:
        made.open()
        yield made
    finally:
        made.close()
        put_by(made.data.parent)


def _environment(settings: dict[str, object]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DEID_")}
    own.pop("DATABASE_URL", None)
    return own | {f"DEID_{name.upper()}": str(value) for name, value in settings.items()}
